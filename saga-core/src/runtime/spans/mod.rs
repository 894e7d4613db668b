//! Spans: what this process exports of the traces that pass through it.
//!
//! Every delivery, request and unit of work has a [`TraceContext`]. Its log lines and the records that it leads to carry this context even
//! if no span is exported. Spans are exported with the feature `otel`, if the app was given [`Traces`](super::Traces) and the trace is
//! sampled. Otherwise a [`Moment`] is empty, and a span that begins with an empty one costs one check: no name and no attribute is built.
//! Without the feature, these types have no size.
//!
//! Names and attributes follow the semantic conventions of OpenTelemetry for messaging and HTTP:
//!
//! | span | of | within |
//! |---|---|---|
//! | `process <topic>` | a delivery, from the first call of its handler to its commit | the span that created the record |
//! | `handle <handler>` | a call of a handler | the delivery |
//! | `call <handler>` | the part of a handler with `Work` before its transaction begins | the call of the handler |
//! | `commit` | the commit of a transaction | the delivery; for several deliveries no span, but links to theirs |
//! | `create <topic>` | a record written to the outbox; its `traceparent` names this span | the delivery, unit of work or deadline |
//! | `send <topic>` | the call of the relay that sends a record to the log | the span that created the record |
//! | named by the server, `<method> <route>` over HTTP | a request | the caller's span |
//! | `unit of work`, `deadline <saga>` | a transaction outside a delivery | the request; the start of the instance |

mod create_spans;
mod delivery;
#[cfg(feature = "otel")]
mod export;
mod messaging;
mod request;
#[cfg(feature = "otel")]
mod settings;
mod span;

pub(crate) use create_spans::CreateSpans;
pub(crate) use delivery::{Commit, Delivery, brief};
pub(crate) use messaging::Sending;
pub use request::RequestSpan;
#[cfg(feature = "otel")]
pub use settings::{TraceProtocol, TraceSettings, Traces, TracesError};
pub use span::Value;
pub(crate) use span::{Kind, Moment, Span};

use std::sync::Arc;

use super::{core::Core, metrics::Metrics};
use crate::{id::IdSource, message::TraceContext};

/// The condition that the trace collector accepts no spans.
#[cfg(feature = "otel")]
const TRACES_NOT_TAKEN: &str = "traces_not_taken";

/// Where the spans of an app are exported to; without the feature `otel`, nowhere.
#[derive(Default)]
pub(crate) struct Destination {
    #[cfg(feature = "otel")]
    traces: Option<(Traces, String)>,
}

#[cfg(feature = "otel")]
impl From<Traces> for Destination {
    fn from(traces: Traces) -> Self {
        Self { traces: Some((traces, String::new())) }
    }
}

#[cfg(feature = "otel")]
impl Destination {
    /// Returns the same destination for the app `name`.
    pub(crate) fn of(&self, name: &str) -> Self {
        Self { traces: self.traces.as_ref().map(|(traces, _)| (traces.clone(), name.to_owned())) }
    }

    /// Opens the destination for the spans of one service.
    pub(crate) fn open(&self, service: &str, instance: String, metrics: &Metrics) -> Result<Spans, String> {
        match &self.traces {
            Some((traces, app)) => traces.open(app, service, instance, metrics),
            None => Ok(Spans::default()),
        }
    }
}

#[cfg(not(feature = "otel"))]
impl Destination {
    pub(crate) fn of(&self, _: &str) -> Self {
        Self::default()
    }

    pub(crate) fn open(&self, _: &str, _: String, _: &Metrics) -> Result<Spans, String> {
        Ok(Spans::default())
    }
}

/// Raises a condition while the trace collector accepts no spans, and clears it afterwards; runs forever.
pub(crate) async fn watch(core: Arc<Core>) {
    #[cfg(feature = "otel")]
    if let Some(pipeline) = &core.spans.pipeline {
        let mut failure = pipeline.failure();
        loop {
            let known = failure.borrow_and_update().clone();
            let now = core.clock.now();
            match known {
                Some(why) => {
                    let detail = format!(
                        "only spans are dropped: the collector of traces takes none: {why}; see that it runs and can be reached from here \
                         at the configured address"
                    );
                    core.conditions.raise(TRACES_NOT_TAKEN, "", super::conditions::Severity::Warning, detail, now);
                }
                None => core.conditions.clear(TRACES_NOT_TAKEN, "", now),
            }
            if failure.changed().await.is_err() {
                return;
            }
        }
    }
    #[cfg(not(feature = "otel"))]
    drop(core);
}

/// The spans of one service.
#[derive(Default)]
pub(crate) struct Spans {
    #[cfg(feature = "otel")]
    pipeline: Option<export::Pipeline>,
}

#[cfg(feature = "otel")]
impl Spans {
    pub(crate) fn to(pipeline: Option<export::Pipeline>) -> Self {
        Self { pipeline }
    }

    /// Whether spans are exported at all.
    pub(crate) fn is_on(&self) -> bool {
        self.pipeline.is_some()
    }

    /// Returns the context of the first span of a new trace. It decides whether the whole trace is sampled; if nothing is exported, it is
    /// not.
    pub(crate) fn root(&self, ids: &IdSource) -> TraceContext {
        self.begins(TraceContext::root(ids))
    }

    /// Decides whether the trace that begins with `root` is sampled.
    pub(crate) fn begins(&self, root: TraceContext) -> TraceContext {
        let sampled = self.pipeline.as_ref().is_some_and(|pipeline| pipeline.samples(root.trace_id(), None));
        root.with_sampled(sampled)
    }

    /// Returns the context of a span within `parent`, or of a new trace without a parent. It is sampled as `parent` is, unless the sampler
    /// ignores parents. If nothing is exported here, the parent's decision is passed on.
    pub(crate) fn follow(&self, parent: Option<&TraceContext>, ids: &IdSource) -> TraceContext {
        let Some(parent) = parent else { return self.root(ids) };
        let child = parent.child(ids);
        match &self.pipeline {
            Some(pipeline) => {
                let sampled = pipeline.samples(parent.trace_id(), Some(parent.is_sampled()));
                child.with_sampled(sampled)
            }
            None => child,
        }
    }

    /// Returns the current time if this trace is sampled, otherwise an empty moment.
    pub(crate) fn begin(&self, context: &TraceContext) -> Moment {
        if self.pipeline.is_some() && context.is_sampled() { Moment::now() } else { Moment::default() }
    }

    /// Exports a span that ends now, unless `began` is empty.
    pub(crate) fn end(&self, began: Moment, span: impl FnOnce() -> Span) {
        if began.is_recorded() {
            self.export(span().from(began, Moment::now()));
        }
    }

    /// Exports a finished span. It never waits: a span for which the queue has no room is dropped and counted.
    pub(crate) fn export(&self, span: Span) {
        if let Some(pipeline) = &self.pipeline {
            pipeline.take(span);
        }
    }

    /// Exports the spans in the queue, within a time limit, and closes the exporter.
    pub(crate) async fn close(&self, within: std::time::Duration) {
        if let Some(pipeline) = &self.pipeline {
            pipeline.close(within).await;
        }
    }
}

#[cfg(not(feature = "otel"))]
impl Spans {
    #[inline]
    pub(crate) fn is_on(&self) -> bool {
        false
    }

    #[inline]
    pub(crate) fn root(&self, ids: &IdSource) -> TraceContext {
        self.begins(TraceContext::root(ids))
    }

    #[inline]
    pub(crate) fn begins(&self, root: TraceContext) -> TraceContext {
        root.with_sampled(false)
    }

    #[inline]
    pub(crate) fn follow(&self, parent: Option<&TraceContext>, ids: &IdSource) -> TraceContext {
        parent.map_or_else(|| self.root(ids), |parent| parent.child(ids))
    }

    #[inline]
    pub(crate) fn begin(&self, _: &TraceContext) -> Moment {
        Moment::default()
    }

    #[inline]
    pub(crate) fn end(&self, _: Moment, _: impl FnOnce() -> Span) {}

    #[inline]
    pub(crate) fn export(&self, _: Span) {}

    #[inline]
    pub(crate) async fn close(&self, _: std::time::Duration) {}
}

/// Formats the ids of a trace and a span for log lines.
pub(crate) struct Ids<'c>(pub(crate) &'c TraceContext);

impl Ids<'_> {
    pub(crate) fn trace(&self) -> impl std::fmt::Display {
        Hexadecimal::<32>(self.0.trace_id())
    }

    pub(crate) fn span(&self) -> impl std::fmt::Display {
        Hexadecimal::<16>(u128::from(self.0.span_id()))
    }
}

/// A number with this many hexadecimal digits, formatted only when a log line is written.
struct Hexadecimal<const DIGITS: usize>(u128);

impl<const DIGITS: usize> std::fmt::Display for Hexadecimal<DIGITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:0width$x}", self.0, width = DIGITS)
    }
}
