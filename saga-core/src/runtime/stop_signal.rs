//! How a process is told to stop.

use std::{future::Future, io};

/// Waits until the process is told to stop: by SIGTERM, as supervisors and containers do, or by SIGINT, which is Ctrl-C. Elsewhere than
/// on Unix, by Ctrl-C.
///
/// [`App::run`](super::App::run) waits for it. A program with a loop of its own calls this first, before it starts anything: from then on
/// these signals no longer end the process by themselves, and none that comes before the wait is missed. A second call waits for the next
/// signal.
///
/// ```
/// # use std::sync::Arc;
/// # use saga_core::{runtime::{App, stop_signal}, transport::Transport};
/// # async fn program(app: App, transport: Arc<dyn Transport>) -> Result<(), Box<dyn std::error::Error>> {
/// let stop = stop_signal();
/// let handle = app.start(transport).await?;
/// stop.await;
/// handle.stop().await;
/// # Ok(())
/// # }
/// ```
///
/// It is also what a server of axum takes: `axum::serve(listener, router).with_graceful_shutdown(stop_signal())`.
///
/// # Panics
/// Outside a runtime of tokio whose I/O is enabled, as `#[tokio::main]` does.
pub fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    let told = listen();
    async move {
        match told {
            Ok(told) => told.await,
            Err(error) => {
                tracing::warn!(%error, "signals cannot be listened to: what stops the process ends it at once, which loses nothing");
                std::future::pending().await
            }
        }
    }
}

#[cfg(unix)]
fn listen() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn listen() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        // Without a console there is nobody to press Ctrl-C.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
