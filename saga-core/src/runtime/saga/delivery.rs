//! The barrier in a delivery.

use std::any::Any;

use super::super::{core::Core, item::Item, spans::CreateSpans};
use crate::{
    engine::batch::OutcomeKind,
    extract::Meta,
    id::MessageId,
    message::{Context, NotYet, Outgoing, Record},
    saga::{LeftBehind, RoleKind, StepGivenUp},
    time::Timestamp,
};

/// The reason of a message that waits for another attempt of its step.
pub(crate) const IN_PROGRESS: &str = "an attempt of the step may be running; waiting for its result";
/// The longest wait before the message is tried again, in milliseconds.
const LOOK: u64 = 1_000;

/// Returns the outcome of a message that waits for an attempt which can run until `until`.
pub(crate) fn wait(until: Timestamp, now: Timestamp) -> OutcomeKind {
    let left = u64::try_from(until.since(now).as_millis()).unwrap_or(LOOK);
    OutcomeKind::Later { after_ms: left.clamp(1, LOOK) }
}

/// Replaces the message that called for a compensation by the record that the step left behind. Fails with the outcome and the reason if
/// the record cannot be read.
pub(crate) fn left_behind(
    core: &Core,
    handler: usize,
    record: Option<&LeftBehind>,
    messages: &mut [(Box<dyn Any + Send>, Meta)],
) -> Result<(), (OutcomeKind, String)> {
    let undo = core.handlers[handler].requirements().undo;
    let undo = undo.ok_or_else(|| (OutcomeKind::Dead, "the handler undoes a step and takes no `Undo<..>`".to_owned()))?;
    let value = (undo.read)(record).map_err(|fault| {
        let ended = match fault.error().downcast_ref::<NotYet>() {
            Some(not_yet) => OutcomeKind::Later { after_ms: u64::try_from(not_yet.after.as_millis()).unwrap_or(LOOK) },
            None => OutcomeKind::Dead,
        };
        (ended, format!("what the step left behind cannot be read: {fault}"))
    })?;
    if let Some(message) = messages.first_mut() {
        message.0 = value;
    }
    Ok(())
}

/// Returns the records that inform the tracker that `item` was given up, one for each step that it is for; none for a message without a
/// saga.
pub(crate) fn given_up(
    core: &Core,
    item: &Item,
    dead_letter: &MessageId,
    attempts: u32,
    error: &str,
    create_spans: &mut CreateSpans,
    now: Timestamp,
) -> Vec<Record> {
    // A message that is given up before it reaches its handlers stops their steps as well.
    let roles = item.intended_handlers(core).into_iter().filter_map(|handler| core.handlers[handler].role());
    let told = roles.filter_map(|role| {
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
        Some(create_spans.record(core, &MessageId::from(core.ids.uuid(now)), event, &context, now))
    });
    told.collect()
}
