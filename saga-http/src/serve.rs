//! Serves a router on a listener, with limits on what a client can hold open.

mod stalled;

use std::{future::Future, io, sync::Arc, time::Duration};

use axum::Router;
use hyper::{
    Request,
    body::Incoming,
    server::conn::http1,
    service::{Service, service_fn},
};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::GracefulShutdown,
    service::TowerToHyperService,
};
use saga_core::time::doubling;
use tokio::{
    net::TcpListener,
    pin, select,
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use self::stalled::GiveUpStalledWrites;
use super::Connection;

/// The maximum size of the head of a request, in bytes.
const MAX_HEAD_BYTES: usize = 64 << 10;

/// The first and the longest pause of accepting when the process has no free file descriptor.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The limits of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServeLimits {
    /// The maximum number of open connections. Further ones wait to be accepted. Default: 10,000.
    pub connections: usize,
    /// The time for the head of a request, counted from the end of the previous request. An idle connection is closed after this time too.
    /// Default: 30 seconds.
    pub head_timeout: Duration,
    /// The time after which a client that reads nothing of its response is disconnected. Default: 30 seconds.
    pub write_timeout: Duration,
    /// The time that a stop waits for running requests. Default: 10 seconds.
    pub stop_timeout: Duration,
}

impl Default for ServeLimits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(30),
            stop_timeout: Duration::from_secs(10),
        }
    }
}

/// Serves `router` over HTTP/1.1 on `listener` until `stop` completes.
///
/// Then it accepts no more connections, closes idle ones, and waits for running requests for at most [`ServeLimits::stop_timeout`]. Returns
/// whether all of them finished. A response without an end learns of the stop from its [`Connection`].
///
/// The limits here apply to connections and to the heads of requests. Bodies are limited by [`harden`](super::harden), which belongs around
/// `router`.
///
/// # Errors
/// Returns an error if `listener` cannot be used. After that, neither a client nor a lack of file descriptors ends the server: it continues
/// when there are free ones again.
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    limits: ServeLimits,
    stop: impl Future<Output = ()>,
) -> io::Result<bool> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let stopping = watch::Sender::new(false);
    accept(listener, router, limits, &graceful, &stopping, &mut connections, stop).await;
    stopping.send_replace(true);
    let finished = timeout(limits.stop_timeout, graceful.shutdown()).await.is_ok();
    connections.shutdown().await;
    Ok(finished)
}

/// Accepts connections until `stop` completes.
async fn accept(
    listener: TcpListener,
    router: Router,
    limits: ServeLimits,
    graceful: &GracefulShutdown,
    stopping: &watch::Sender<bool>,
    connections: &mut JoinSet<()>,
    stop: impl Future<Output = ()>,
) {
    let free = Arc::new(Semaphore::new(limits.connections));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head_timeout).max_buf_size(MAX_HEAD_BYTES);
    let mut failures = 0_u32;
    pin!(stop);
    loop {
        let next = async {
            // The semaphore is never closed, so a permit will be available.
            let permit = free.clone().acquire_owned().await.ok();
            (permit, listener.accept().await)
        };
        let (permit, accepted) = select! {
            biased;
            () = &mut stop => return,
            Some(_) = connections.join_next() => continue,
            next = next => next,
        };
        match accepted {
            Ok((stream, _)) => {
                failures = 0;
                // The connection also works without it, with more latency.
                let _ = stream.set_nodelay(true);
                let io = TokioIo::new(GiveUpStalledWrites::new(stream, limits.write_timeout));
                let (own, router) = (Connection::new(stopping.subscribe()), TowerToHyperService::new(router.clone()));
                let told = own.clone();
                let service = service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(told.clone());
                    router.call(request)
                });
                let connection = graceful.watch(http.serve_connection(io, service));
                connections.spawn(async move {
                    select! {
                        ended = connection => {
                            if let Err(error) = ended {
                                tracing::debug!(%error, "connection ended");
                            }
                        }
                        () = own.closing() => tracing::debug!("connection closed; its client may not have received the whole answer"),
                    }
                    drop(permit);
                });
            }
            Err(error) if is_of_one_client(&error) => {}
            Err(error) => {
                let pause = doubling(SHORTEST_PAUSE, LONGEST_PAUSE, failures);
                tracing::warn!(%error, pause_ms = pause.as_millis(), "no connection can be accepted; trying again");
                select! {
                    () = &mut stop => return,
                    () = sleep(pause) => failures = failures.saturating_add(1),
                }
            }
        }
    }
}

/// Whether accepting failed because the client has already disconnected.
fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
