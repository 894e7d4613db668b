//! The connection of a request, for responses that take long.

use std::{convert::Infallible, sync::Arc};

use axum::{extract::FromRequestParts, http::request::Parts};
use tokio::sync::{Notify, watch};

/// The connection of a request, for a handler whose response takes long, such as a stream of events.
///
/// [`serve`](super::serve) provides it. Under another server, [`stopping`](Self::stopping) never completes and [`close`](Self::close) does
/// nothing.
///
/// ```
/// # use saga_http::Connection;
/// # use axum::{body::{Body, Bytes}, response::Response};
/// # use futures_util::{StreamExt, stream};
/// async fn ticks(connection: Connection) -> Response {
///     let ticks = stream::repeat(Ok::<_, std::convert::Infallible>(Bytes::from_static(b"tick\n")));
///     // Without this, the stop of the server waits for the stream until its timeout.
///     Response::new(Body::from_stream(ticks.take_until(connection.stopping())))
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Connection(Option<Served>);

#[derive(Debug, Clone)]
struct Served {
    stopping: watch::Receiver<bool>,
    close: Arc<Notify>,
}

impl Connection {
    pub(super) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self(Some(Served { stopping, close: Arc::default() }))
    }

    /// Completes when the server stops. The server then accepts no more connections and waits for the responses that are not finished, so a
    /// response without an end should end now.
    pub fn stopping(&self) -> impl Future<Output = ()> + Send + 'static {
        let served = self.0.clone();
        async move {
            match served {
                // A server that no longer exists has stopped.
                Some(mut served) => drop(served.stopping.wait_for(|stopping| *stopping).await),
                None => std::future::pending().await,
            }
        }
    }

    /// Closes the connection at once, without waiting until the client has read the response. The client sees a truncated response.
    pub fn close(&self) {
        if let Some(served) = &self.0 {
            served.close.notify_one();
        }
    }

    /// Completes when [`close`](Self::close) is called.
    pub(super) async fn closing(&self) {
        match &self.0 {
            Some(served) => served.close.notified().await,
            None => std::future::pending().await,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Connection {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self(None)))
    }
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn under_another_server_it_never_stops() {
        let (mut parts, ()) = Request::new(()).into_parts();
        let Ok(connection) = Connection::from_request_parts(&mut parts, &()).await;
        connection.close();
        assert_eq!(connection.stopping().now_or_never(), None);
        assert_eq!(connection.closing().now_or_never(), None);
    }

    #[tokio::test]
    async fn a_server_that_is_gone_has_stopped() {
        let (server, stopping) = watch::channel(false);
        let connection = Connection::new(stopping);
        assert_eq!(connection.stopping().now_or_never(), None);
        drop(server);
        assert_eq!(connection.stopping().now_or_never(), Some(()));
    }
}
