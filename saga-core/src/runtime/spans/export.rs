//! The export of spans: a bounded queue, batches, and an exporter that can fail.
//!
//! Queue and batches are those of the SDK. This module adds what a service must know about them: how many spans were exported, how many
//! were dropped and why, and whether the collector can be reached. No delivery waits for any of this.

use std::{
    fmt,
    str::FromStr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use opentelemetry::{
    InstrumentationScope, KeyValue,
    trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState},
};
use opentelemetry_sdk::{
    Resource,
    error::{OTelSdkError, OTelSdkResult},
    trace::{
        BatchConfigBuilder, BatchSpanProcessor, Sampler, SamplingDecision, ShouldSample, SpanData, SpanEvents, SpanExporter,
        SpanLinks, SpanProcessor,
    },
};
use tokio::{sync::watch, time::Instant};

use super::{Kind, Span, Value};
use crate::{
    message::TraceContext,
    runtime::metrics::{Counter, Metrics},
};

/// The most links of a span, which is OpenTelemetry's limit.
const MAX_LINKS: usize = 128;
/// The longest text of an attribute, in bytes.
const MAX_TEXT: usize = 1_024;

/// A type-erased exporter.
pub(super) trait Exporter: Send + Sync + fmt::Debug {
    fn export(&self, batch: Vec<SpanData>) -> BoxFuture<'_, OTelSdkResult>;
    fn force_flush(&self) -> OTelSdkResult;
    fn shutdown(&self, within: Duration) -> OTelSdkResult;
    fn set_resource(&mut self, resource: &Resource);
}

impl<E: SpanExporter> Exporter for E {
    fn export(&self, batch: Vec<SpanData>) -> BoxFuture<'_, OTelSdkResult> {
        Box::pin(SpanExporter::export(self, batch))
    }

    fn force_flush(&self) -> OTelSdkResult {
        SpanExporter::force_flush(self)
    }

    fn shutdown(&self, within: Duration) -> OTelSdkResult {
        SpanExporter::shutdown_with_timeout(self, within)
    }

    fn set_resource(&mut self, resource: &Resource) {
        SpanExporter::set_resource(self, resource);
    }
}

/// How traces are sampled: a ratio of those that begin here and, if `follows_parent` is set, the others as their parent decides.
#[derive(Debug, Clone)]
pub(super) struct Sampling {
    pub(super) root: Sampler,
    pub(super) follows_parent: bool,
}

/// The export of one service's spans.
pub(crate) struct Pipeline {
    processor: Arc<BatchSpanProcessor>,
    sampling: Sampling,
    scope: InstrumentationScope,
    queue: Arc<Queue>,
    failure: watch::Receiver<Option<String>>,
}

/// The spans that wait for export.
#[derive(Debug)]
struct Queue {
    waiting: AtomicUsize,
    limit: usize,
    exported: Counter,
    full: Counter,
    failed: Counter,
    closed: Counter,
    /// When the stop ends; unset until a stop begins.
    ends: OnceLock<Instant>,
}

impl Queue {
    /// Whether a stop has begun. Spans that end afterwards are dropped.
    fn is_closed(&self) -> bool {
        self.ends.get().is_some()
    }

    /// Reserves room for one more span, if there is room.
    fn admits(&self) -> bool {
        let one_more = |waiting| (waiting < self.limit).then_some(waiting + 1);
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).is_ok()
    }

    /// Removes a batch from the count. Returns `false` if a stop has given it up already.
    fn leaves(&self, count: usize) -> bool {
        self.waiting.fetch_update(Ordering::AcqRel, Ordering::Acquire, |waiting| waiting.checked_sub(count)).is_ok()
    }

    /// Returns the time that is left for the stop.
    fn left(&self) -> Duration {
        self.ends.get().map_or(Duration::MAX, |ends| ends.saturating_duration_since(Instant::now()))
    }
}

impl Pipeline {
    pub(super) fn new(
        mut exporter: Box<dyn Exporter>,
        resource: &Resource,
        sampling: Sampling,
        (limit, every): (usize, Option<Duration>),
        metrics: &Metrics,
    ) -> Self {
        exporter.set_resource(resource);
        let dropped = |reason| metrics.counter(DROPPED, &[("reason", reason)]);
        metrics.describe_counter(EXPORTED, "Spans that the collector has taken.");
        metrics.describe_counter(
            DROPPED,
            "Spans that were not given to the collector, by reason: queue_full, export_failed, closed.",
        );
        let queue = Arc::new(Queue {
            waiting: AtomicUsize::new(0),
            limit,
            exported: metrics.counter(EXPORTED, &[]),
            full: dropped("queue_full"),
            failed: dropped("export_failed"),
            closed: dropped("closed"),
            ends: OnceLock::new(),
        });
        let (tell, failure) = watch::channel(None);
        let watched = Watched {
            inner: Arc::from(exporter),
            runtime: tokio::runtime::Handle::current(),
            queue: queue.clone(),
            failure: tell,
        };
        let config = BatchConfigBuilder::default().with_max_queue_size(limit);
        let config = if let Some(every) = every { config.with_scheduled_delay(every) } else { config };
        let processor = BatchSpanProcessor::builder(watched).with_batch_config(config.build()).build();
        let scope = InstrumentationScope::builder("sagas").with_version(env!("CARGO_PKG_VERSION")).build();
        Self { processor: Arc::new(processor), sampling, scope, queue, failure }
    }

    /// Whether spans of this trace are exported; `parent` is the decision of the parent span.
    pub(crate) fn samples(&self, trace_id: u128, parent: Option<bool>) -> bool {
        if let Some(sampled) = parent.filter(|_| self.sampling.follows_parent) {
            return sampled;
        }
        let id = TraceId::from(trace_id);
        let result = self.sampling.root.should_sample(None, id, "", &SpanKind::Internal, &[], &[]);
        matches!(result.decision, SamplingDecision::RecordAndSample)
    }

    /// Returns a receiver of the current error of the export.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.clone()
    }

    pub(crate) fn take(&self, span: Span) {
        if self.queue.is_closed() {
            self.queue.closed.increment();
        } else if self.queue.admits() {
            self.processor.on_end(data(span, &self.scope));
        } else {
            self.queue.full.increment();
        }
    }

    /// Exports the spans in the queue. Those that are not exported `within` this time are dropped.
    pub(crate) async fn close(&self, within: Duration) {
        if self.queue.ends.set(Instant::now() + within).is_err() {
            return;
        }
        let processor = self.processor.clone();
        // The SDK blocks until its thread has ended.
        let closing = tokio::task::spawn_blocking(move || processor.shutdown_with_timeout(within));
        let closed = tokio::time::timeout(within, closing).await;
        let spans = self.queue.waiting.swap(0, Ordering::AcqRel);
        self.queue.closed.add(spans as u64);
        if !matches!(closed, Ok(Ok(Ok(())))) {
            tracing::warn!(spans, "the collector of traces did not take all spans before the stop; they are dropped");
        }
    }
}

const EXPORTED: &str = "sagas_spans_exported_total";
const DROPPED: &str = "sagas_spans_dropped_total";

/// Counts the results of an exporter, and runs it on the tokio runtime of the app, because the SDK calls it from a thread of its own.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn Exporter>,
    runtime: tokio::runtime::Handle,
    queue: Arc<Queue>,
    failure: watch::Sender<Option<String>>,
}

impl SpanExporter for Watched {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let (count, inner) = (batch.len(), self.inner.clone());
        let exported = self.runtime.spawn(async move { inner.export(batch).await }).await;
        let exported = exported.unwrap_or_else(|error| Err(OTelSdkError::InternalFailure(error.to_string())));
        match &exported {
            // The stop has given this batch up and counted it as dropped.
            _ if !self.queue.leaves(count) => {}
            Ok(()) => self.queue.exported.add(count as u64),
            Err(_) => self.queue.failed.add(count as u64),
        }
        let failure = exported.as_ref().err().map(ToString::to_string);
        self.failure.send_if_modified(|known| {
            let changed = known.is_some() != failure.is_some();
            *known = failure;
            changed
        });
        exported
    }

    fn force_flush(&self) -> OTelSdkResult {
        let _entered = self.runtime.enter();
        self.inner.force_flush()
    }

    /// Called by the SDK at the end, without a time limit.
    fn shutdown(&self) -> OTelSdkResult {
        self.shutdown_with_timeout(Duration::MAX)
    }

    /// Flushes first, because an exporter can keep spans in a queue of its own.
    fn shutdown_with_timeout(&self, within: Duration) -> OTelSdkResult {
        let _entered = self.runtime.enter();
        let flushed = self.inner.force_flush();
        let ended = self.inner.shutdown(within.min(self.queue.left()));
        let both = flushed.and(ended);
        if let Err(error) = &both {
            tracing::warn!(%error, "the exporter of traces did not end well; spans that it kept may be lost");
        }
        both
    }
}

fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let (parent, remote) = span.parent.unwrap_or_default();
    let mut links = SpanLinks::default();
    links.dropped_count = u32::try_from(span.links.len().saturating_sub(MAX_LINKS)).unwrap_or(u32::MAX);
    links.links = span.links.iter().take(MAX_LINKS).map(|to| Link::new(context(to), Vec::new(), 0)).collect();
    let mut attributes: Vec<_> = span.attributes.into_iter().map(|(name, value)| attribute(name, value)).collect();
    let status = match span.error {
        Some((kind, text)) => {
            attributes.push(KeyValue::new("error.type", kind));
            Status::error(cut(text))
        }
        None => Status::Unset,
    };
    SpanData {
        span_context: context(&span.context),
        parent_span_id: SpanId::from(parent),
        parent_span_is_remote: remote,
        span_kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        },
        name: span.name.into(),
        start_time: span.began.time(),
        end_time: span.ended.time(),
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status,
        instrumentation_scope: scope.clone(),
    }
}

fn context(of: &TraceContext) -> SpanContext {
    let state = of.tracestate().and_then(|state| TraceState::from_str(state).ok()).unwrap_or_default();
    SpanContext::new(TraceId::from(of.trace_id()), SpanId::from(of.span_id()), TraceFlags::new(of.flags()), false, state)
}

/// Cuts a text. Its length can depend on other programs, and the queue must be bounded in bytes as well.
fn cut(mut text: String) -> String {
    let end = text.floor_char_boundary(MAX_TEXT);
    text.truncate(end);
    text
}

fn attribute(name: &'static str, value: Value) -> KeyValue {
    match value {
        Value::Text(text) => KeyValue::new(name, cut(text)),
        Value::Word(word) => KeyValue::new(name, word),
        Value::Number(number) => KeyValue::new(name, number),
    }
}

#[cfg(test)]
mod tests;
