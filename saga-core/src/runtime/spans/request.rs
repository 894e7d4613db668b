//! The span of a request that a server handles.

use std::sync::Arc;

use super::{Kind, Moment, Span, Value};
use crate::{message::TraceContext, runtime::core::Core};

/// The error type of a request whose client no longer waits for the response.
const CANCELLED: &str = "cancelled";
const UNANSWERED: &str = "dropped before it was answered: its client has left, or the server has stopped";

/// The span of a running request, from [`ServiceHandle::begin_request_span`](crate::runtime::ServiceHandle::begin_request_span).
///
/// It is exported with the spans of the service, if its trace is sampled. If it is dropped before [`end`](Self::end), for example because
/// the client has disconnected, it is exported as cancelled.
pub struct RequestSpan {
    context: TraceContext,
    parent: Option<u64>,
    recorded: Option<Recorded>,
}

/// The data of a span that is exported.
struct Recorded {
    core: Arc<Core>,
    began: Moment,
    name: String,
    attributes: Vec<(&'static str, Value)>,
}

impl RequestSpan {
    pub(crate) fn begin(core: &Arc<Core>, caller: Option<&TraceContext>, is_probe: bool) -> Self {
        let spans = &core.spans;
        let context = spans.follow(caller, &core.ids);
        let begins_no_trace = is_probe && caller.is_none() && spans.is_on();
        let context = if begins_no_trace { context.with_sampled(false) } else { context };
        let began = spans.begin(&context);
        let recorded = || Recorded { core: core.clone(), began, name: "request".to_owned(), attributes: Vec::new() };
        Self { parent: caller.map(TraceContext::span_id), recorded: began.is_recorded().then(recorded), context }
    }

    /// Returns the trace, which what the request leads to continues.
    pub fn context(&self) -> &TraceContext {
        &self.context
    }

    /// Whether the span is exported. Its name and attributes have no effect otherwise.
    pub fn is_recorded(&self) -> bool {
        self.recorded.is_some()
    }

    /// Sets the name. It has few values: a route and not a path, for example. The default is `request`.
    pub fn set_name(&mut self, name: impl Into<String>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.name = name.into();
        }
    }

    /// Adds an attribute, by the semantic conventions of OpenTelemetry.
    pub fn set(&mut self, attribute: &'static str, value: impl Into<Value>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.attributes.push((attribute, value.into()));
        }
    }

    /// Ends the span when the request is answered, with the type of the error if it failed because of the service.
    pub fn end(mut self, error_type: Option<&str>) {
        self.export(error_type.map(|error| (error, "")));
    }

    /// Exports the span. Later calls do nothing.
    fn export(&mut self, error: Option<(&str, &str)>) {
        let Some(Recorded { core, began, name, attributes }) = self.recorded.take() else { return };
        core.spans.end(began, || {
            Span::new(&self.context, name, Kind::Server).within_remote(self.parent).with(attributes).failed(error)
        });
    }
}

impl Drop for RequestSpan {
    fn drop(&mut self) {
        self.export(Some((CANCELLED, UNANSWERED)));
    }
}

impl std::fmt::Debug for RequestSpan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RequestSpan").field("context", &self.context).field("parent", &self.parent).finish_non_exhaustive()
    }
}
