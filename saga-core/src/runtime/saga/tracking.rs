//! The tracker: moves instances by the events that a transaction has seen, with a statement of each kind for all of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::core::Core,
    Tracked,
    scope::{Scope, Sighting, is_start},
};
use crate::{
    engine::saga::{GivenUp, Instance, Taken, instance},
    saga::{InstanceKey, InstanceRecord},
    store::{HistoryEntry, StoreError, StoreTx},
    time::Timestamp,
};

impl Scope {
    /// Moves the instances whose events were seen.
    pub(super) async fn track(&mut self, core: &Arc<Core>, tx: &mut dyn StoreTx, now: Timestamp) -> Result<(), StoreError> {
        let sightings = std::mem::take(&mut self.sightings);
        if sightings.is_empty() {
            return Ok(());
        }
        let keys: BTreeSet<_> = sightings.iter().map(|sighting| key(core, sighting)).collect();
        let mut instances = std::mem::take(&mut self.instances);
        let keys: Vec<_> = keys.into_iter().filter(|key| !instances.contains_key(key)).collect();
        for record in read(core, tx, &keys).await? {
            let read = Instance::read(record).map_err(|error| {
                StoreError::Incompatible(format!(
                    "an instance of a saga cannot be read, was it written by a newer program? {error}"
                ))
            })?;
            instances.insert(read.key.clone(), read);
        }
        let mut history = Vec::with_capacity(sightings.len());
        let mut moved = BTreeSet::new();
        for sighting in sightings {
            let (key, tracked) = (key(core, &sighting), &core.sagas.tracked[sighting.flow]);
            if let Some(entry) = take(core, tracked, &key, &mut instances, sighting, now) {
                history.push(entry);
                moved.insert(key);
            }
        }
        let records: Vec<_> = moved.iter().filter_map(|key| Some(instances.get(key)?.record())).collect();
        if !records.is_empty() {
            tx.save_instances(&core.name, &records).await?;
            tx.append_history(&core.name, &history).await?;
        }
        self.earliest = records.iter().filter_map(|record| record.due).chain(self.earliest).min();
        Ok(())
    }
}

async fn read(core: &Core, tx: &mut dyn StoreTx, keys: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
    if keys.is_empty() { Ok(Vec::new()) } else { tx.load_instances(&core.name, keys).await }
}

fn key(core: &Core, sighting: &Sighting) -> InstanceKey {
    InstanceKey { saga: core.sagas.tracked[sighting.flow].definition.name.clone(), id: sighting.id.clone() }
}

/// Takes one event in, and gives what is to be written down of it.
fn take(
    core: &Core,
    tracked: &Tracked,
    key: &InstanceKey,
    instances: &mut BTreeMap<InstanceKey, Instance>,
    sighting: Sighting,
    now: Timestamp,
) -> Option<HistoryEntry> {
    let saga = &*tracked.definition;
    let seen = instance::Sighting { event: &sighting.event, id: &sighting.message_id, at: sighting.at };
    let mut note = sighting.note.clone();
    match instances.get_mut(key) {
        Some(instance) => match &sighting.given_up {
            Some(given_up) => {
                let what = if given_up.undo { "the compensation of " } else { "" };
                let reason = format!(
                    "{} gave {what}{} up after {} attempts: {}",
                    given_up.service, given_up.step, given_up.attempts, given_up.error
                );
                note = Some(reason.clone());
                let (service, dead_letter) = (given_up.service.clone(), given_up.dead_letter.clone());
                let (step, undo) = (given_up.step.clone(), given_up.undo);
                instance.stop(saga, GivenUp { step, undo, service, dead_letter, reason }, now);
            }
            None => match instance.take(saga, seen, now, tracked.deadline) {
                Taken::Moved => {}
                Taken::Known => return None,
                Taken::NotAllowed(reason) => {
                    tracked.series.not_allowed.increment();
                    tracing::warn!(
                        service = &*core.name,
                        saga = saga.name,
                        instance = key.id,
                        event = sighting.event,
                        reason,
                        "the flow does not allow this event"
                    );
                    note = Some(format!("not allowed: {reason}"));
                }
            },
        },
        None if is_start(saga.published_as(&sighting.event)) => {
            let begun = Instance::begin(saga, &key.id, seen, &sighting.correlation_id, tracked.deadline);
            instances.insert(key.clone(), begun);
        }
        None => {
            tracked.series.unknown.increment();
            tracing::warn!(
                service = &*core.name,
                saga = saga.name,
                instance = key.id,
                event = sighting.event,
                "an event of an instance that was not begun here"
            );
            return None;
        }
    }
    Some(HistoryEntry {
        instance: key.clone(),
        event: sighting.event,
        message_id: sighting.message_id,
        causation_id: sighting.causation_id,
        source: sighting.source,
        at: sighting.at,
        seen_at: now,
        note,
    })
}
