//! Publishing in an open transaction outside a delivery.

use std::sync::Arc;

use super::{
    core::{Core, Staged},
    judge::oversized,
    saga::Scope,
    spans::Making,
};
use crate::{
    id::MessageId,
    message::{Context, Outgoing},
    store::{PublishTx, StoreError},
    time::Timestamp,
};

/// Writes `events` to the outbox, and the changes in `sagas`, which include what the trackers see of the events.
pub(super) async fn write(
    core: &Arc<Core>,
    tx: &mut dyn PublishTx,
    sagas: &mut Scope,
    events: Vec<(MessageId, Outgoing)>,
    context: &Context,
    making: &mut Making,
    now: Timestamp,
) -> Result<Staged, StoreError> {
    if let Some(error) = oversized(core, &events) {
        return Err(StoreError::Refused(error));
    }
    if let Some(bad) = context.unreadable().filter(|_| !events.is_empty()) {
        return Err(StoreError::Refused(format!("no service could handle these events: {bad}")));
    }
    sagas.see_published(core, &events, context, now);
    sagas.write(core, tx, now).await?;
    let records: Vec<_> = events.into_iter().map(|(id, event)| making.record(core, &id, event, context, now)).collect();
    core.stage(tx, &records).await
}
