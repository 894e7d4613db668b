//! One call of a handler: in its span, within its time, and with its panics caught.

use std::{any::Any, panic::AssertUnwindSafe, time::Duration};

use futures_util::FutureExt;
use tracing::Instrument;

use super::{core::Core, item::Item};
use crate::{
    engine::{admission::Admission, batch::Ended},
    failure::Fault,
    handler::{CallFn, Invocation, Outcome},
    message::EventType,
};

/// What a call came to.
pub(crate) struct Called {
    pub(crate) outcome: Outcome,
    /// It was broken off where it was.
    pub(crate) timed_out: bool,
}

/// Calls `function` with `invocation`, on behalf of `item`.
pub(crate) async fn call(core: &Core, item: &Item, handler: usize, function: &CallFn, invocation: Invocation) -> Called {
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
    );
    let series = &core.handler_series[handler];
    let began = tokio::time::Instant::now();
    let running = AssertUnwindSafe(async { function(invocation).await }).catch_unwind();
    let called = async {
        tokio::select! {
            biased;
            ended = running => {
                let outcome = ended.unwrap_or_else(|panic| {
                    series.panics.increment();
                    Outcome::Retry(Fault::new(format!("handler `{}` panicked: {}", options.name, panic_text(&*panic))))
                });
                Called { outcome, timed_out: false }
            }
            () = core.clock.sleep(options.timeout) => {
                let fault = format!("handler `{}` took longer than its timeout of {:?}", options.name, options.timeout);
                Called { outcome: Outcome::Retry(Fault::new(fault)), timed_out: true }
            }
        }
    }
    .instrument(span)
    .await;
    series.duration.record_duration(began.elapsed());
    called
}

/// Decodes the value of `item` for its handler.
pub(crate) fn decode(core: &Core, item: &Item) -> Result<Box<dyn Any + Send>, Fault> {
    let Admission::Handle { handler, event } = item.admission else {
        return Err(Fault::new("the message has no handler"));
    };
    let event_type = &core.handlers[handler].accepts()[event];
    let value = item.received.record.value.as_deref().unwrap_or_default();
    // `Deserialize` is user code, and panics like any other.
    let decoded = std::panic::catch_unwind(AssertUnwindSafe(|| (event_type.decode)(value)))
        .unwrap_or_else(|panic| Err(Fault::new(format!("reading it panicked: {}", panic_text(&*panic)))));
    let decoded = decoded.map_err(|fault| {
        Fault::new(format!("the value is no {} of version {} or below: {fault}", event_type.name, event_type.version))
    })?;
    if item.role(core).is_some() || core.sagas.follow(event_type.name) {
        same_key(event_type, item, value)?;
    }
    Ok(decoded)
}

/// That an event of a saga comes under the key that it says itself: what is locked, and what is told of the instance, goes by the one,
/// and what its handler does by the other.
fn same_key(event_type: &EventType, item: &Item, value: &[u8]) -> Result<(), Fault> {
    let own = std::panic::catch_unwind(AssertUnwindSafe(|| (event_type.key)(value))).ok().flatten();
    let own = own.ok_or_else(|| Fault::new(format!("the key of {} cannot be read", event_type.name)))?;
    match item.saga_id() {
        Some(key) if key == own => Ok(()),
        Some(key) => {
            Err(Fault::new(format!("the record's key is `{key}`, and the key of the {} in it `{own}`", event_type.name)))
        }
        None => {
            Err(Fault::new(format!("the record has no key in text, and the key of the {} in it is `{own}`", event_type.name)))
        }
    }
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

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
