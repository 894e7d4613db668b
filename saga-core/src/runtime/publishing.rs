//! Publishing in an open transaction outside a delivery.

use std::sync::Arc;

use super::{
    core::{Core, Staged},
    saga::Scope,
    spans::CreateSpans,
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
    create_spans: &mut CreateSpans,
    now: Timestamp,
) -> Result<Staged, StoreError> {
    if let Some(error) = oversized(core, &events) {
        return Err(StoreError::Refused(error));
    }
    if let Some(bad) = context.unreadable().filter(|_| !events.is_empty()) {
        return Err(StoreError::Refused(format!("no service could handle these events: {bad}")));
    }
    sagas.tracking.see_published(core, &events, context, now);
    sagas.write(core, tx, now).await?;
    let records: Vec<_> = events.into_iter().map(|(id, event)| create_spans.record(core, &id, event, context, now)).collect();
    core.stage(tx, &records).await
}

/// Returns an error if an event is too large to be published.
pub(crate) fn oversized(core: &Core, events: &[(MessageId, Outgoing)]) -> Option<String> {
    let limit = core.settings.max_record_bytes;
    let (_, event) = events.iter().find(|(_, event)| event.value.len() > limit)?;
    Some(format!(
        "event {} has {} bytes; at most {limit} are published (setting `max_record_bytes`)",
        event.name,
        event.value.len()
    ))
}
