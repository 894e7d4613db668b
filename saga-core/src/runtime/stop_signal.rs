//! The signals that stop a process.

use std::{future::Future, io};

/// Waits until the process is asked to stop: by SIGTERM, which supervisors and containers send, or by SIGINT, which is Ctrl-C. On other
/// systems than Unix, by Ctrl-C only.
///
/// [`App::run`](super::App::run) uses it. A program with its own main loop calls this function before it starts anything. From then on,
/// these signals no longer end the process, and a signal that arrives before the future is awaited is not missed. Futures of several calls
/// all end with the first signal after their call, so a call after that signal waits for the second one.
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
/// It can also be passed to axum: `axum::serve(listener, router).with_graceful_shutdown(stop)`. Limit the time of that, because axum waits
/// for every client; the guide's page on an existing service shows how.
///
/// # Panics
/// If it is called outside a tokio runtime with I/O enabled. `#[tokio::main]` enables it.
pub fn stop_signal() -> impl Future<Output = ()> + Send + 'static {
    let told = listen();
    async move {
        match told {
            Ok(told) => told.await,
            Err(error) => {
                tracing::warn!(%error, "signals cannot be received: a signal that stops the process ends it at once, which loses nothing");
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
        // Without a console, Ctrl-C can never arrive.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
