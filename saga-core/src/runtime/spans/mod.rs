//! Spans: what this process tells of the traces that run through it.
//!
//! Every delivery, request and unit of work has a [`TraceContext`], which its log lines and the records it leads to carry, whether or not
//! anything is told of it. Told it is with the feature `otel`, when the app was given [`Traces`](super::Traces) and the trace is sampled. A
//! [`Moment`] is empty otherwise, and whatever is begun with an empty one costs no more than the question: no name is written, no attribute
//! gathered. Without the feature all of this has no size.
//!
//! The names and attributes are those of OpenTelemetry's conventions for messaging and HTTP:
//!
//! | span | of | within |
//! |---|---|---|
//! | `process <topic>` | a delivery, from the first call of its handler to its commit | the span that made the record |
//! | `handle <handler>` | a call of a handler | the delivery |
//! | `call <handler>` | what a handler with `Work` does before it begins its transaction | the call of the handler |
//! | `commit` | the commit of a transaction | the delivery; of several deliveries none, with links to them |
//! | `create <topic>` | a record that goes into the outbox; the record's `traceparent` names it | the delivery, unit of work or deadline |
//! | `send <topic>` | the relay gives a record to the log | what made the record |
//! | `<method> <route>` | an HTTP request | the caller's span |
//! | `unit of work`, `deadline <saga>` | a transaction outside a delivery | the request; the start of the instance |

mod delivery;
#[cfg(feature = "otel")]
mod export;
mod making;
mod messaging;
#[cfg(feature = "otel")]
mod settings;
mod span;

pub(crate) use delivery::{Commit, Delivery, brief};
pub(crate) use making::Making;
pub(crate) use messaging::Sending;
#[cfg(feature = "otel")]
pub use settings::{TraceProtocol, TraceSettings, Traces, TracesError};
pub(crate) use span::{Kind, Moment, Span, Value};

use std::sync::Arc;

use super::{core::Core, metrics::Metrics};
use crate::{id::IdSource, message::TraceContext};

/// The collector of traces takes nothing.
#[cfg(feature = "otel")]
const TRACES_NOT_TAKEN: &str = "traces_not_taken";

/// Where the spans of an app go, whatever is built in.
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
    /// The same, of the app called `name`.
    pub(crate) fn of(&self, name: &str) -> Self {
        Self { traces: self.traces.as_ref().map(|(traces, _)| (traces.clone(), name.to_owned())) }
    }

    /// The spans of a service of the app.
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

/// Shows as a condition that the collector takes nothing, for ever.
pub(crate) async fn watch(core: Arc<Core>) {
    #[cfg(feature = "otel")]
    if let Some(pipeline) = &core.spans.pipeline {
        let mut trouble = pipeline.trouble();
        loop {
            let known = trouble.borrow_and_update().clone();
            let now = core.clock.now();
            match known {
                Some(why) => {
                    let detail = format!(
                        "spans are dropped, and nothing else: the collector of traces takes none: {why}; see that it runs and can be reached \
                         from here at the address that was given"
                    );
                    core.conditions.raise(TRACES_NOT_TAKEN, "", super::conditions::Severity::Warning, detail, now);
                }
                None => core.conditions.clear(TRACES_NOT_TAKEN, "", now),
            }
            if trouble.changed().await.is_err() {
                return;
            }
        }
    }
    #[cfg(not(feature = "otel"))]
    drop(core);
}

/// Where the spans of one service go.
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

    /// Whether anything is told here at all.
    pub(crate) fn is_on(&self) -> bool {
        self.pipeline.is_some()
    }

    /// The first span of a new trace: whether it is told is decided here, for all of the trace. Where nothing is told, it is not.
    pub(crate) fn root(&self, ids: &IdSource) -> TraceContext {
        self.begins(TraceContext::root(ids))
    }

    /// `root` is the first span of a trace here.
    pub(crate) fn begins(&self, root: TraceContext) -> TraceContext {
        let sampled = self.pipeline.as_ref().is_some_and(|pipeline| pipeline.samples(root.trace_id(), None));
        root.with_sampled(sampled)
    }

    /// A span within `parent`, told if that is; of a trace of its own without one. What another has decided is passed on where nothing
    /// is told.
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

    /// Now, if spans of this trace are told.
    pub(crate) fn begin(&self, context: &TraceContext) -> Moment {
        if self.pipeline.is_some() && context.is_sampled() { Moment::now() } else { Moment::default() }
    }

    /// Tells a span that ends now, if it has a beginning.
    pub(crate) fn end(&self, began: Moment, span: impl FnOnce() -> Span) {
        if began.is_recorded() {
            self.tell(span().from(began, Moment::now()));
        }
    }

    /// Tells a span whose beginning and end are known. It never waits; what does not fit is dropped and counted.
    pub(crate) fn tell(&self, span: Span) {
        if let Some(pipeline) = &self.pipeline {
            pipeline.take(span);
        }
    }

    /// Gives what waits to the collector, within a bound, and ends.
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
    pub(crate) fn tell(&self, _: Span) {}

    #[inline]
    pub(crate) async fn close(&self, _: std::time::Duration) {}
}

/// How log lines name a trace and a span.
pub(crate) struct Ids<'c>(pub(crate) &'c TraceContext);

impl Ids<'_> {
    pub(crate) fn trace(&self) -> impl std::fmt::Display {
        Hexadecimal::<32>(self.0.trace_id())
    }

    pub(crate) fn span(&self) -> impl std::fmt::Display {
        Hexadecimal::<16>(u128::from(self.0.span_id()))
    }
}

/// A number in this many digits. It is written only where a line is.
struct Hexadecimal<const DIGITS: usize>(u128);

impl<const DIGITS: usize> std::fmt::Display for Hexadecimal<DIGITS> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:0width$x}", self.0, width = DIGITS)
    }
}
