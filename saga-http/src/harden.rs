//! A layer around all routes: limits, a correlation id, and one format for all error responses.

use std::{panic::AssertUnwindSafe, sync::Arc};

use axum::{
    Router,
    body::{Body, HttpBody},
    extract::{DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
};
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::Instrument;

use saga_core::{id::IdSource, runtime::ServiceHandle, time::Clock};

use super::{CorrelationId, Problem, RequestLimits, correlation, span::RequestSpan};

/// How far beyond the limit a body is read before the response. A client that is still sending does not see a response that is followed by
/// a closed connection.
const DISCARDED_BYTES: usize = 16 << 20;

/// Adds to `router` what every service needs on HTTP:
///
/// - A handler gets a complete body or is not called. A body larger than 1 MiB is answered 413, even if its length was not announced. One
///   that takes longer than 30 seconds is answered 408. All bodies together take at most 64 MiB; beyond that, requests are answered 503.
/// - The correlation id is taken from `X-Correlation-Id`, if that is 1 to 128 visible ASCII characters, or generated. Handlers get it as
///   [`CorrelationId`]. The response and the tracing span of the request carry it.
/// - A handler that panics is answered 500; the connection and the service continue. A handler that takes longer than 4.8 seconds, for
///   example because a database hangs, is dropped and answered 503.
/// - An unknown path (404) and a wrong method (405, with `Allow`) are answered with a [`Problem`].
///
/// `clock` and `ids` are those of the app. A service takes them from its [`ServiceHandle`](saga_core::runtime::ServiceHandle).
///
/// ```
/// # use saga_core::{id::IdSource, time::Clock};
/// # use saga_http as http;
/// # use axum::{Router, routing::get};
/// let router = Router::new().route("/hello", get(|| async { "hello" }));
/// let router: Router = http::harden(router, Clock::system(), IdSource::random());
/// ```
pub fn harden(router: Router, clock: Clock, ids: IdSource) -> Router {
    harden_with(router, clock, ids, RequestLimits::default())
}

/// Does what [`harden`] does, with other limits.
pub fn harden_with(router: Router, clock: Clock, ids: IdSource, limits: RequestLimits) -> Router {
    layered(router, clock, ids, limits, None)
}

/// Does what [`harden_with`] does, for the routes of `service`, with its clock and ids. In addition, the span of each sampled request is
/// exported with the spans of the service. A request for health or metrics is only exported as part of its caller's trace.
pub fn harden_service(router: Router, service: &ServiceHandle, limits: RequestLimits) -> Router {
    layered(router, service.clock().clone(), service.ids().clone(), limits, Some(service.clone()))
}

fn layered(router: Router, clock: Clock, ids: IdSource, limits: RequestLimits, service: Option<ServiceHandle>) -> Router {
    // This layer reads the body and limits it. The limit of the extractors would be a second one.
    let router = router.layer(DefaultBodyLimit::disable());
    let room = Arc::new(Semaphore::new(limits.bodies_bytes));
    router.layer(middleware::from_fn_with_state(Guard { clock, ids, limits, room, service }, guard))
}

#[derive(Clone)]
struct Guard {
    clock: Clock,
    ids: IdSource,
    limits: RequestLimits,
    /// One permit for each byte of body that can still be accepted.
    room: Arc<Semaphore>,
    /// The service that the spans belong to.
    service: Option<ServiceHandle>,
}

async fn guard(State(guard): State<Guard>, mut request: Request, next: Next) -> Response {
    let id = CorrelationId::take_or_make(request.headers(), &guard.clock, &guard.ids);
    let route = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    // ERROR level, so that the span is never filtered out while events inside it are logged.
    let traced = RequestSpan::begin(guard.service.as_ref(), &guard.ids, &request, (route, &id));
    let span = tracing::error_span!(
        "http",
        method = %request.method(),
        route,
        correlation_id = %id,
        trace_id = %format_args!("{:032x}", traced.context().trace_id()),
        span_id = %format_args!("{:016x}", traced.context().span_id()),
    );
    request.extensions_mut().insert(id.clone());
    request.extensions_mut().insert(traced.trace());

    let answer = async {
        let started = guard.clock.now();
        let answer = AssertUnwindSafe(answer(request, next, guard.limits, &guard.room)).catch_unwind().await;
        let answer = answer.unwrap_or_else(|_| Problem::internal("the handler panicked").into_response());
        let (status, elapsed_ms) = (answer.status().as_u16(), guard.clock.now().since(started).as_millis());
        tracing::debug!(status, elapsed_ms, "answered");
        answer
    };
    let mut response = answer.instrument(span).await;
    traced.answered(response.status());
    if let Ok(id) = HeaderValue::from_str(id.as_str()) {
        response.headers_mut().insert(correlation::HEADER, id);
    }
    response
}

async fn answer(request: Request, next: Next, limits: RequestLimits, room: &Arc<Semaphore>) -> Response {
    let (parts, body) = request.into_parts();
    let expects_continue = parts.headers.contains_key(header::EXPECT);
    let received = receive(body, limits.body_bytes, expects_continue, room);
    // The permits are held until the handler has finished.
    let (body, _taken) = match tokio::time::timeout(limits.body_timeout, received).await {
        Ok(Ok(received)) => received,
        Ok(Err(problem)) => return problem.into_response(),
        Err(_) => {
            let mut response = Problem::request_timeout("the body did not arrive in time").into_response();
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return response;
        }
    };
    let handling = next.run(Request::from_parts(parts, Body::from(body)));
    match tokio::time::timeout(limits.answer_timeout, handling).await {
        Ok(response) => in_our_form(response),
        Err(_) => Problem::unavailable(format!("no answer within {:?}", limits.answer_timeout)).into_response(),
    }
}

/// Reads the whole body. Returns it with the permits for its bytes.
async fn receive(
    mut body: Body,
    limit: usize,
    expects_continue: bool,
    room: &Arc<Semaphore>,
) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Problem> {
    // A client that waits for "100 Continue" has not sent the body yet, and need not send it.
    if expects_continue && body.size_hint().lower() > limit as u64 {
        return Err(Problem::payload_too_large(limit));
    }
    let (mut received, mut total, mut taken) = (Pieces::None, 0_usize, None::<OwnedSemaphorePermit>);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "BAD_REQUEST", "the body broke off"))?;
        let Ok(data) = frame.into_data() else { continue };
        total = total.saturating_add(data.len());
        if total > limit {
            (received, taken) = (Pieces::None, None);
            if total - limit > DISCARDED_BYTES {
                break;
            }
            continue;
        }
        let more = u32::try_from(data.len()).ok().and_then(|bytes| room.clone().try_acquire_many_owned(bytes).ok());
        let more = more.ok_or_else(|| Problem::unavailable("the bodies of the requests that are running leave no room"))?;
        match &mut taken {
            Some(taken) => taken.merge(more),
            None => taken = Some(more),
        }
        received.push(data);
    }
    if total > limit { Err(Problem::payload_too_large(limit)) } else { Ok((received.into_bytes(), taken)) }
}

/// The received part of a body. A body usually arrives in one piece, which is not copied.
enum Pieces {
    None,
    One(Bytes),
    Many(BytesMut),
}

impl Pieces {
    fn push(&mut self, data: Bytes) {
        *self = match std::mem::replace(self, Self::None) {
            Self::None => Self::One(data),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(first.len() + data.len());
                all.extend_from_slice(&first);
                all.extend_from_slice(&data);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&data);
                Self::Many(all)
            }
        };
    }

    fn into_bytes(self) -> Bytes {
        match self {
            Self::None => Bytes::new(),
            Self::One(data) => data,
            Self::Many(all) => all.freeze(),
        }
    }
}

/// Replaces the empty bodies of the router's responses to an unknown path and a wrong method.
fn in_our_form(response: Response) -> Response {
    if response.body().size_hint().exact() != Some(0) {
        return response;
    }
    let problem = match response.status() {
        StatusCode::NOT_FOUND => Problem::not_found("there is nothing at this path"),
        StatusCode::METHOD_NOT_ALLOWED => Problem::method_not_allowed(),
        _ => return response,
    };
    let mut ours = problem.into_response();
    if let Some(allow) = response.headers().get(header::ALLOW) {
        ours.headers_mut().insert(header::ALLOW, allow.clone());
    }
    ours
}

#[cfg(test)]
mod tests;
