//! The span of a request, by OpenTelemetry's conventions for HTTP.

use axum::{
    extract::Request,
    http::{Method, StatusCode},
};
use saga_core::{
    id::IdSource,
    message::TraceContext,
    runtime::{RequestSpan as Exported, ServiceHandle, SpanValue},
};

use super::{CorrelationId, RequestTrace, health, metrics::METRICS, operators::surface};

/// The span of a running request. If it is dropped before the response, for example because the client has disconnected, it is exported as
/// cancelled.
pub(super) enum RequestSpan {
    /// It belongs to a service, which exports it if its trace is sampled.
    Of(Exported),
    /// It is not exported.
    Alone(TraceContext),
}

impl RequestSpan {
    pub(super) fn begin(
        service: Option<&ServiceHandle>,
        ids: &IdSource,
        request: &Request,
        (route, id): (&str, &CorrelationId),
    ) -> Self {
        let caller = RequestTrace::caller(request.headers());
        let Some(service) = service else {
            let root = || TraceContext::root(ids).with_sampled(false);
            return Self::Alone(caller.map_or_else(root, |caller| caller.child(ids)));
        };
        let mut span = service.begin_request_span(caller.as_ref(), is_probed(service, route));
        if span.is_recorded() {
            let method = known(request.method());
            span.set("http.request.method", SpanValue::Word(method.unwrap_or("_OTHER")));
            span.set("url.path", request.uri().path());
            span.set("url.scheme", SpanValue::Word("http"));
            span.set("messaging.message.conversation_id", id.as_str());
            match route {
                "" => span.set_name(method.unwrap_or("HTTP")),
                route => {
                    span.set("http.route", route);
                    span.set_name(format!("{} {route}", method.unwrap_or("HTTP")));
                }
            }
        }
        Self::Of(span)
    }

    /// Returns its trace.
    pub(super) fn context(&self) -> &TraceContext {
        match self {
            Self::Of(span) => span.context(),
            Self::Alone(context) => context,
        }
    }

    /// Returns the trace for the handler.
    pub(super) fn trace(&self) -> RequestTrace {
        RequestTrace::own(self.context().clone())
    }

    /// Ends the span with the status of the response, without waiting for its body.
    pub(super) fn answered(self, status: StatusCode) {
        if let Self::Of(mut span) = self {
            span.set("http.response.status_code", i64::from(status.as_u16()));
            // The status is the error type.
            span.end(status.is_server_error().then_some(status.as_str()));
        }
    }
}

/// Returns the method if it is one that the conventions name. A client can send any word.
fn known(method: &Method) -> Option<&'static str> {
    const KNOWN: [&str; 10] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "QUERY"];
    KNOWN.into_iter().find(|known| *known == method.as_str())
}

/// Whether `route` of `service` is one that probes request all the time. The route can be on the service's own listener, on a listener for
/// operators, or on a listener that several services share, where each is under its name.
fn is_probed(service: &ServiceHandle, route: &str) -> bool {
    let surface = surface(service);
    let under_its_name = route.strip_prefix('/').and_then(|route| route.strip_prefix(service.name()));
    let also_under = surface.also_under.as_deref().and_then(|place| route.strip_prefix(place));
    let mut places = [Some(route), under_its_name, also_under].into_iter().flatten();
    let moved = |path: &str| surface.prefix.as_deref().and_then(|prefix| path.strip_prefix(prefix)).is_some_and(is_shown);
    places.any(|path| is_shown(path) || moved(path))
}

/// Whether this is a path of the framework for health or metrics.
fn is_shown(path: &str) -> bool {
    path == METRICS || health::PATHS.contains(&path)
}

#[cfg(test)]
mod tests;
