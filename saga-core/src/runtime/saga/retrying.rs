//! A participant's answer to an operator of a flow who wants a dead letter tried again.

use crate::{
    extract::{On, Work},
    failure::Failure,
    handler::{Handler, HandlerOptions},
    id::MessageId,
    runtime::ServiceHandle,
    saga::RetryDeadLetter,
};

/// The handler that gives dead letters of this service back to their handlers. Asked twice, it finds nothing to do.
pub(crate) fn retry_dead_letters() -> Handler {
    Handler::new(HandlerOptions::new("retry_dead_letters", "saga"), retry)
}

/// It takes `Work` so that no transaction is held: giving a dead letter back takes one of its own.
async fn retry(On(wanted): On<RetryDeadLetter>, _work: Work, service: ServiceHandle) -> Result<(), Failure> {
    if wanted.service == service.name() {
        service.retry_dead_letter(&MessageId::new(wanted.dead_letter)).await?;
    }
    Ok(())
}
