//! The span of a request, by OpenTelemetry's conventions for HTTP.

use axum::{
    extract::Request,
    http::{Method, StatusCode},
};

use super::{CorrelationId, RequestTrace, routes::is_probed};
use crate::{
    id::IdSource,
    message::TraceContext,
    runtime::{
        ServiceHandle,
        spans::{Ids, Kind, Moment, Span, Spans, Value},
    },
};

/// The error type of a request whose client no longer waits for the response.
const CANCELLED: &str = "cancelled";
const UNANSWERED: &str = "dropped before it was answered: its client has left, or the server has stopped";

/// The span of a running request. If it is dropped before the response, for example because the client has disconnected, it is exported as
/// cancelled.
pub(super) struct RequestSpan {
    context: TraceContext,
    parent: Option<u64>,
    told: Option<Told>,
}

/// The data of a span that is exported.
struct Told {
    service: ServiceHandle,
    began: Moment,
    name: String,
    said: Vec<(&'static str, Value)>,
}

impl RequestSpan {
    pub(super) fn begin(
        service: Option<&ServiceHandle>,
        ids: &IdSource,
        request: &Request,
        (route, id): (&str, &CorrelationId),
    ) -> Self {
        let caller = RequestTrace::caller(request.headers());
        let parent = caller.as_ref().map(TraceContext::span_id);
        let Some(service) = service else {
            let context = Spans::default().follow(caller.as_ref(), ids);
            return Self { context, parent, told: None };
        };
        let spans = &service.core().spans;
        let context = spans.follow(caller.as_ref(), ids);
        // Probes are frequent, so they do not begin a trace.
        let probe = caller.is_none() && is_probed(service, route);
        let context = if probe && spans.is_on() { context.with_sampled(false) } else { context };
        let began = spans.begin(&context);
        let told = began.is_recorded().then(|| {
            let method = known(request.method());
            let mut said = vec![
                ("http.request.method", Value::Word(method.unwrap_or("_OTHER"))),
                ("url.path", request.uri().path().into()),
                ("url.scheme", Value::Word("http")),
                ("messaging.message.conversation_id", id.as_str().into()),
            ];
            let name = match route {
                "" => method.unwrap_or("HTTP").to_owned(),
                route => {
                    said.push(("http.route", route.into()));
                    format!("{} {route}", method.unwrap_or("HTTP"))
                }
            };
            Told { service: service.clone(), began, name, said }
        });
        Self { context, parent, told }
    }

    /// Returns the ids for log lines.
    pub(super) fn ids(&self) -> Ids<'_> {
        Ids(&self.context)
    }

    /// Returns the trace for the handler.
    pub(super) fn trace(&self) -> RequestTrace {
        RequestTrace::own(self.context.clone())
    }

    /// Ends the span with the status of the response, without waiting for its body.
    pub(super) fn answered(mut self, status: StatusCode) {
        self.export(Some(status));
    }

    /// Ends the span. Later calls do nothing.
    fn export(&mut self, status: Option<StatusCode>) {
        let Some(Told { service, began, name, said }) = self.told.take() else { return };
        service.core().spans.end(began, || {
            let error = match status {
                // The status is the error type; a message would add nothing.
                Some(status) => status.is_server_error().then(|| (status.as_str().to_owned(), String::new())),
                None => Some((CANCELLED.to_owned(), UNANSWERED.to_owned())),
            };
            Span::new(&self.context, name, Kind::Server)
                .within_remote(self.parent)
                .with(said)
                .with(status.map(|status| ("http.response.status_code", i64::from(status.as_u16()).into())))
                .failed(error)
        });
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.export(None);
    }
}

/// Returns the method if it is one that the conventions name. A client can send any word.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

#[cfg(all(test, feature = "otel", feature = "test-util"))]
mod tests;
