//! The correlation id and the trace of a request, which its events and log lines carry.

use std::{convert::Infallible, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, HeaderName, HeaderValue, request::Parts},
};

use saga_core::{id::IdSource, message::TraceContext, runtime::Correlation, time::Clock};

use super::Problem;

pub(super) const HEADER: HeaderName = HeaderName::from_static("x-correlation-id");

const MAX_LENGTH: usize = 128;

/// The correlation id of a request: the value of `X-Correlation-Id`, if that is 1 to 128 visible ASCII characters, and otherwise a new
/// UUID. [`harden`](super::harden) determines it and adds it to the response.
///
/// Pass it to [`UnitOfWork::correlate`](saga_core::runtime::UnitOfWork::correlate), so that the published events carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CorrelationId(Arc<str>);

impl CorrelationId {
    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn take_or_make(headers: &HeaderMap, clock: &Clock, ids: &IdSource) -> Self {
        Self::taken(headers).unwrap_or_else(|| Self(ids.uuid(clock.now()).to_string().into()))
    }

    fn taken(headers: &HeaderMap) -> Option<Self> {
        let taken = headers.get(HEADER).filter(|id| is_acceptable(id)).and_then(|id| id.to_str().ok());
        taken.map(|id| Self(id.into()))
    }
}

fn is_acceptable(id: &HeaderValue) -> bool {
    (1..=MAX_LENGTH).contains(&id.len()) && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

impl std::fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<CorrelationId> for String {
    fn from(id: CorrelationId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for CorrelationId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let id = parts.extensions.get::<Self>().cloned();
        id.ok_or_else(|| Problem::internal("no correlation id: put `sagas::http::harden` around the router"))
    }
}

/// The trace that a request is part of (W3C Trace Context).
///
/// It is the span of the request itself. [`harden`](super::harden) begins this span as a child of the one in the headers `traceparent` and
/// `tracestate`, or in a new trace if the headers are not valid. Without `harden` it is the span in the headers, if there is one.
///
/// Pass it to [`UnitOfWork::trace`](saga_core::runtime::UnitOfWork::trace), so that the published events carry it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestTrace(Option<TraceContext>);

impl RequestTrace {
    /// Returns the trace of the request's own span.
    pub(super) fn own(context: TraceContext) -> Self {
        Self(Some(context))
    }

    /// Returns the span of the caller, from the headers.
    pub(super) fn caller(headers: &HeaderMap) -> Option<TraceContext> {
        Self::of(headers).0
    }

    fn of(headers: &HeaderMap) -> Self {
        let mut parents = headers.get_all("traceparent").iter();
        let (Some(parent), None) = (parents.next(), parents.next()) else { return Self(None) };
        // One header that is not text makes the whole list invalid.
        let states: Result<Vec<_>, _> = headers.get_all("tracestate").iter().map(HeaderValue::to_str).collect();
        let states = states.map(|states| states.join(",")).unwrap_or_default();
        Self(parent.to_str().ok().and_then(|parent| TraceContext::parse(parent, &states)))
    }
}

impl From<RequestTrace> for Option<TraceContext> {
    fn from(trace: RequestTrace) -> Self {
        trace.0
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestTrace {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or_else(|| Self::of(&parts.headers)))
    }
}

/// The [`CorrelationId`] and the [`RequestTrace`] of a request, for [`ServiceHandle::begin_for`](saga_core::runtime::ServiceHandle::begin_for), or for `Publisher::for_request` in a
/// transaction of your own. Without [`harden`](super::harden) around the router, it has what the headers contain.
///
/// ```
/// use axum::{extract::State, http::StatusCode};
/// use saga_core::runtime::ServiceHandle;
/// use saga_http::{Problem, RequestContext};
///
/// async fn place(State(service): State<ServiceHandle>, request: RequestContext) -> Result<StatusCode, Problem> {
///     let work = service.begin_for(&request).await?;
///     // Rows are written and events are published here; the events carry the correlation id and the trace of the request.
///     work.commit().await?;
///     Ok(StatusCode::ACCEPTED)
/// }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestContext {
    correlation_id: Option<CorrelationId>,
    trace: RequestTrace,
}

impl<S: Send + Sync> FromRequestParts<S> for RequestContext {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let correlation_id = parts.extensions.get().cloned().or_else(|| CorrelationId::taken(&parts.headers));
        Ok(Self { correlation_id, trace: RequestTrace::from_request_parts(parts, state).await? })
    }
}

impl From<&RequestContext> for Correlation {
    fn from(request: &RequestContext) -> Self {
        Self { id: request.correlation_id.clone().map(Into::into), trace: request.trace.clone().into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use saga_core::time::Timestamp;

    #[test]
    fn a_good_id_is_taken_and_any_other_replaced() {
        let (clock, ids) = (Clock::manual(Timestamp::from_millis(1_700_000_000_000)), IdSource::seeded(1));
        let long = "x".repeat(128);
        let longer = "x".repeat(129);
        for (given, taken) in [
            (&b"abc-123"[..], true),
            (b"~!/", true),
            (long.as_bytes(), true),
            (longer.as_bytes(), false),
            (b"", false),
            (b"two words", false),
            (b"caf\xc3\xa9", false),
        ] {
            let headers = HeaderMap::from_iter([(HEADER, HeaderValue::from_bytes(given).expect("a header"))]);
            let id = CorrelationId::take_or_make(&headers, &clock, &ids);
            assert_eq!(id.as_str().as_bytes() == given, taken, "{given:?}");
            assert!(taken || uuid::Uuid::parse_str(id.as_str()).is_ok(), "{id}");
        }
        assert!(uuid::Uuid::parse_str(CorrelationId::take_or_make(&HeaderMap::new(), &clock, &ids).as_str()).is_ok());
    }

    #[test]
    fn a_valid_trace_is_taken_with_all_of_its_state() {
        let trace = |headers: &[(&'static str, &[u8])]| {
            let header = |(name, value): &(&'static str, &[u8])| {
                (HeaderName::from_static(name), HeaderValue::from_bytes(value).expect("a header"))
            };
            let mut all = HeaderMap::new();
            for (name, value) in headers.iter().map(header) {
                all.append(name, value);
            }
            let trace: Option<TraceContext> = RequestTrace::of(&all).into();
            trace.map(|trace| (trace.traceparent(), trace.tracestate().map(str::to_owned)))
        };
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let taken = |state: Option<&str>| Some((parent.to_owned(), state.map(str::to_owned)));
        let valid = ("traceparent", parent.as_bytes());
        assert_eq!(trace(&[valid]), taken(None));
        assert_eq!(trace(&[valid, ("tracestate", b"a=1"), ("tracestate", b"b=2")]), taken(Some("a=1,b=2")));
        assert_eq!(trace(&[valid, ("tracestate", b"a=1"), ("tracestate", b"\xff")]), taken(None));
        assert_eq!(trace(&[valid, valid]), None);
        assert_eq!(trace(&[("traceparent", b"00-\xff"), ("tracestate", b"a=1")]), None);
        assert_eq!(trace(&[("tracestate", b"a=1")]), None);
    }
}
