//! How a participant handles an operator's request to retry a dead letter of a saga.

use super::ignored;
use crate::{
    extract::{On, Work},
    failure::Failure,
    handler::{Handler, HandlerOptions},
    id::MessageId,
    message::Event,
    runtime::ServiceHandle,
    saga::RetryDeadLetter,
};

/// Returns the handler that retries dead letters of this service. A repeated request has no effect.
pub(crate) fn retry_dead_letters() -> Handler {
    Handler::new(HandlerOptions::new("retry_dead_letters", "saga"), retry).of_the_framework()
}

/// Takes `Work`, so that no transaction is open: retrying a dead letter needs a transaction of its own.
///
/// Anyone who can write to the topic can do what an operator can: have an open dead letter of this instance retried, and nothing else.
async fn retry(On(wanted): On<RetryDeadLetter>, _work: Work, service: ServiceHandle) -> Result<(), Failure> {
    if wanted.service != service.name() {
        return Ok(());
    }
    let core = service.core();
    if let Some(why) = ignored::retry_dead_letter_error(&wanted) {
        core.sagas.ignored.note(core, RetryDeadLetter::TOPIC, why);
        return Ok(());
    }
    let id = MessageId::new(wanted.dead_letter);
    match service.dead_letter(&id).await? {
        Some(letter) if letter.received.record.key.as_deref() == Some(wanted.id.as_bytes()) => {
            service.retry_dead_letter(&id).await?;
        }
        Some(_) => core.sagas.ignored.note(core, RetryDeadLetter::TOPIC, "the dead letter is of another instance"),
        None => core.sagas.ignored.note(core, RetryDeadLetter::TOPIC, "there is no such dead letter here"),
    }
    Ok(())
}
