//! One call of a handler: in its span, within its time, and with its panics caught.

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
    engine::{admission::Admission, batch::Ended},
    failure::Fault,
    handler::{CallFn, Invocation, Outcome},
    message::TraceContext,
};

/// What a call came to.
pub(crate) struct Called {
    pub(crate) outcome: Outcome,
    /// It was broken off where it was.
    pub(crate) timed_out: bool,
    /// Its span, if it is told.
    pub(crate) span: Option<TraceContext>,
}

/// Calls `function` with `invocation`, on behalf of `item` and, in a batch, of `others`.
pub(crate) async fn call(
    core: &Core,
    item: &Item,
    others: &[&Item],
    handler: usize,
    function: &CallFn,
    invocation: Invocation,
) -> Called {
    let options = core.handlers[handler].options();
    // A span that the log level shuts out is not there at all, for the lines of any level. This one is there whenever a line is.
    let span = tracing::error_span!(
        "deliver",
        service = &*core.name,
        handler = options.name,
        event = item.envelope.event_type.as_deref().unwrap_or_default(),
        topic = item.received.record.topic,
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

/// Decodes the value of `item` for its handler.
pub(crate) fn decode(core: &Core, item: &Item) -> Result<Box<dyn Any + Send>, Fault> {
    let Admission::Handle { handler, event } = item.admission else {
        return Err(Fault::new("the message has no handler"));
    };
    let event_type = &core.handlers[handler].accepts()[event];
    let value = item.received.record.value.as_deref().unwrap_or_default();
    // What is locked, and what is told of the instance, goes by the record's key, and what its handler does by the event's own.
    let key = match item.role(core).is_some() || core.sagas.follow(event_type.name) {
        true => Some(item.saga_id().ok_or_else(|| {
            Fault::new(format!("the record has no key in text; that of {} is the key of its saga's instance", event_type.name))
        })?),
        false => None,
    };
    // `Deserialize` is user code, and panics like any other.
    std::panic::catch_unwind(AssertUnwindSafe(|| (event_type.decode)(value, key)))
        .unwrap_or_else(|panic| Err(Fault::new(format!("reading the {} panicked: {}", event_type.name, text(&*panic)))))
}

/// The outcome, as far as the engine cares.
pub(crate) fn ended(outcome: &Outcome) -> Ended {
    match outcome {
        Outcome::Done(_) => Ended::Done,
        Outcome::Rejected(_) => Ended::Rejected,
        Outcome::Retry(_) => Ended::Retry,
        Outcome::Later(after) => Ended::Later { after_ms: millis(*after) },
        Outcome::Dead(_) => Ended::Dead,
    }
}

fn millis(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX)
}
