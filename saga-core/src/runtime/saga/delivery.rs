//! The barrier in a delivery.

use std::any::Any;

use super::super::{core::Core, item::Item, spans::Making};
use crate::{
    engine::batch::Ended,
    extract::Meta,
    failure::Fault,
    id::MessageId,
    message::{Context, Outgoing, Record},
    saga::{RoleKind, StepGivenUp},
    time::Timestamp,
};

/// Why a message waits for an attempt that may be running.
pub(crate) const IN_PROGRESS: &str = "an attempt of the step may be running; waiting for what comes of it";
/// The longest wait before that is looked at again, in milliseconds.
const LOOK: u64 = 1_000;

/// How a message has ended that waits for an attempt which may be running until then.
pub(crate) fn wait(until: Timestamp, now: Timestamp) -> Ended {
    let left = u64::try_from(until.since(now).as_millis()).unwrap_or(LOOK);
    Ended::Later { after_ms: left.clamp(1, LOOK) }
}

/// Puts what the step left behind in the place of the message that called for its compensation.
pub(crate) fn left_behind(
    core: &Core,
    handler: usize,
    record: Option<&str>,
    messages: &mut [(Box<dyn Any + Send>, Meta)],
) -> Result<(), Fault> {
    let undo = core.handlers[handler].requirements().undo;
    let undo = undo.ok_or_else(|| Fault::new("the handler undoes a step and takes no `Undo<..>`"))?;
    let value = (undo.read)(record).map_err(|fault| Fault::new(format!("what the step left behind cannot be read: {fault}")))?;
    if let Some(message) = messages.first_mut() {
        message.0 = value;
    }
    Ok(())
}

/// What tells the tracker that `item`, of a flow, was given up here; `None` for a message of no flow.
pub(crate) fn given_up(
    core: &Core,
    item: &Item,
    dead_letter: &MessageId,
    attempts: u32,
    error: &str,
    making: &mut Making,
    now: Timestamp,
) -> Option<Record> {
    // One that is given up before its handler sees it stops its step too.
    let unfit = || core.handlers[core.directory.handler(&item.place.topic, item.envelope.event_type.as_deref())?].role();
    let role = item.role(core).or_else(unfit)?;
    let event = StepGivenUp {
        saga: role.saga.name.clone(),
        id: item.saga_id()?.to_owned(),
        step: role.step.to_owned(),
        undo: role.kind == RoleKind::Undo,
        service: core.name.to_string(),
        dead_letter: dead_letter.to_string(),
        error: error.to_owned(),
        attempts,
        event: None,
    };
    let event = Outgoing::of(&event).ok()?;
    let context = Context::caused_by(&item.envelope, item.span.context.clone());
    Some(making.record(core, &MessageId::from(core.ids.uuid(now)), event, &context, now))
}
