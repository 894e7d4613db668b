//! One call of a handler: in its span, with its timeout, and with its panics caught.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tracing::Instrument;

use super::{
    core::Core,
    item::Item,
    panics::text,
    spans::{Ids, Kind, Span, brief},
};
use crate::{
    engine::{
        admission::{Admission, Inadmissible},
        batch::OutcomeKind,
    },
    extract::Invocation,
    failure::Fault,
    handler::{CallFn, Outcome},
    message::{Encoded, NotYet, Raw, TraceContext},
};

/// The result of a call.
pub(crate) struct Called {
    pub(crate) outcome: Outcome,
    /// Whether the call was cancelled because it exceeded the handler's timeout.
    pub(crate) timed_out: bool,
    /// The span of the call, if it is exported.
    pub(crate) span: Option<TraceContext>,
}

/// Calls `function` with `invocation`, for `item` and, in a batch, for `others`.
pub(crate) async fn call(
    core: &Core,
    item: &Item,
    others: &[&Item],
    handler: usize,
    function: &CallFn,
    invocation: Invocation,
) -> Called {
    let options = core.handlers[handler].options();
    // ERROR level, so that no filter disables the span while events within it are still logged.
    let span = tracing::error_span!(
        "deliver",
        service = &*core.name,
        handler = options.name,
        event = item.envelope.event_type.as_deref().unwrap_or_default(),
        topic = &*core.name_in_log(&item.received.record.topic),
        partition = item.received.partition,
        offset = item.received.offset,
        message_id = item.envelope.id.as_str(),
        correlation_id = item.envelope.correlation_id,
        causation_id = item.envelope.causation_id.as_deref().unwrap_or_default(),
        attempt = item.origin.attempts() + 1,
        trace_id = %Ids(&item.span.context).trace(),
        span_id = %Ids(&item.span.context).span(),
    );
    let telling = core.spans.begin(&item.span.context);
    let series = &core.handler_series[handler];
    let began = tokio::time::Instant::now();
    let running = AssertUnwindSafe(async { function(invocation).await }).catch_unwind();
    let own = telling.is_recorded().then(|| item.span.context.child(&core.ids));
    let (outcome, timed_out) = async {
        tokio::select! {
            biased;
            ended = running => {
                let outcome = ended.unwrap_or_else(|panic| {
                    series.panics.increment();
                    Outcome::Retry(Fault::new(format!("handler `{}` panicked: {}", options.name, text(&*panic))))
                });
                (outcome, false)
            }
            () = core.clock.sleep(options.timeout) => {
                let fault = format!("handler `{}` took longer than its timeout of {:?}", options.name, options.timeout);
                (Outcome::Retry(Fault::new(fault)), true)
            }
        }
    }
    .instrument(span)
    .await;
    series.duration.record_duration(began.elapsed());
    core.spans.end(telling, || {
        let error = match &outcome {
            _ if timed_out => Some(("timeout", String::new())),
            Outcome::Retry(fault) => Some(("retry", brief(&fault.to_string()))),
            Outcome::Dead(fault) => Some(("dead", brief(&fault.to_string()))),
            Outcome::Done(_) | Outcome::Rejected(_) | Outcome::Later(_) => None,
        };
        Span::new(own.as_ref().unwrap_or(&item.span.context), format!("handle {}", options.name), Kind::Internal)
            .within(&item.span.context)
            .with([
                ("sagas.handler", options.name.into()),
                ("sagas.attempt", i64::from(item.origin.attempts().saturating_add(1)).into()),
            ])
            .linked(others.iter().map(|other| other.span.context.clone()).collect())
            .failed(error)
    });
    Called { outcome, timed_out, span: own }
}

/// The reason why a message could not be decoded.
pub(crate) enum Unread {
    /// It can be decoded later: a newer program wrote it, or its codec waits for something. Contains the wait in milliseconds, and the
    /// reason.
    NotNow(u64, String),
    /// It can never be decoded.
    Never(Fault),
}

impl From<Fault> for Unread {
    fn from(fault: Fault) -> Self {
        Self::Never(fault)
    }
}

/// How long a message waits, in milliseconds, before the next attempt, when a newer version of the program is needed to decode it.
const NEWER_MS: u64 = 15_000;

impl Unread {
    /// Returns how the delivery ends, with the reason, or the fault of a message that can never be decoded.
    pub(crate) fn ended(self) -> Result<(OutcomeKind, String), Fault> {
        match self {
            Self::NotNow(after_ms, why) => Ok((OutcomeKind::Later { after_ms }, why)),
            Self::Never(fault) => Err(fault),
        }
    }
}

/// Decodes the value of `item` for its handler.
pub(crate) fn decode(core: &Core, item: &Item) -> Result<Box<dyn Any + Send>, Unread> {
    let Admission::Handle { handler, event } = item.admission else {
        return Err(Fault::new("the message has no handler").into());
    };
    let event_type = &core.handlers[handler].accepts()[event];
    if event_type.is_any() {
        return Ok(Box::new(Raw::of(&item.received.record)));
    }
    let (version, known) = (item.envelope.version, event_type.version);
    if version > known {
        return Err(Unread::NotNow(NEWER_MS, Inadmissible::NewerVersion { version, known }.to_string()));
    }
    let value = item.received.record.value.as_deref().unwrap_or_default();
    // The instance is locked and tracked by the record's key, but the handler uses the event's own key. The decoder checks that they are
    // equal.
    let key = match item.role(core).is_some() || core.sagas.follow(event_type.name) {
        true => Some(item.saga_id().ok_or_else(|| {
            Fault::new(format!("the record has no text key; the key of {} must be that of its saga's instance", event_type.name))
        })?),
        false => None,
    };
    let encoded = Encoded { value, version, key };
    // `Deserialize` is user code and can panic.
    let read = std::panic::catch_unwind(AssertUnwindSafe(|| (event_type.decode)(encoded)))
        .unwrap_or_else(|panic| Err(Fault::new(format!("reading the {} panicked: {}", event_type.name, text(&*panic)))));
    read.map_err(|fault| match fault.error().downcast_ref::<NotYet>() {
        Some(not_yet) => Unread::NotNow(millis(not_yet.after), not_yet.why.clone()),
        None => Fault::new(format!("{fault}; it was published by `{}`", item.envelope.source)).into(),
    })
}

/// Converts the outcome to what the engine needs of it.
pub(crate) fn ended(outcome: &Outcome) -> OutcomeKind {
    match outcome {
        Outcome::Done(_) => OutcomeKind::Done,
        Outcome::Rejected(_) => OutcomeKind::Rejected,
        Outcome::Retry(_) => OutcomeKind::Retry,
        Outcome::Later(after) => OutcomeKind::Later { after_ms: millis(*after) },
        Outcome::Dead(_) => OutcomeKind::Dead,
    }
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}
