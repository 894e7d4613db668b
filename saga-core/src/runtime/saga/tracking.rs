//! The tracker: collects the events of tracked sagas that occur in a transaction, and updates their instances, with one statement of each
//! kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{core::Core, item::Item},
    Tracked, brief, ignored, unreadable, unsent,
};
use crate::{
    engine::saga::{
        GivenUp, Instance, Observation, Unsent,
        instance::{self, Remark},
    },
    id::MessageId,
    message::{Context, Event, Outgoing, TraceContext},
    saga::{InstanceKey, Publishes, StepGivenUp},
    store::{HistoryEntry, PublishTx, StoreError},
    time::Timestamp,
};

/// An event of a tracked saga, to be applied to its instance.
#[derive(Debug, Clone)]
struct Sighting {
    /// The index of the tracked saga.
    saga: usize,
    id: String,
    event: String,
    message_id: String,
    causation_id: Option<String>,
    correlation_id: String,
    source: String,
    at: Timestamp,
    /// A note for the history.
    note: Option<String>,
    /// Set if a participant cannot continue.
    given_up: Option<StepGivenUp>,
    /// The span that the event belongs to.
    trace: Option<TraceContext>,
}

impl Sighting {
    /// Returns the sighting of `item`, an event of the instance `id`.
    fn received(saga: usize, id: &str, event: &str, item: &Item) -> Self {
        let envelope = &item.envelope;
        Self {
            saga,
            id: id.to_owned(),
            event: event.to_owned(),
            message_id: envelope.id.to_string(),
            causation_id: envelope.causation_id.clone(),
            correlation_id: envelope.correlation_id.clone(),
            source: envelope.source.clone(),
            at: envelope.time,
            note: None,
            given_up: None,
            trace: envelope.trace.clone(),
        }
    }
}

/// The tracked sagas of one transaction.
#[derive(Default)]
pub(crate) struct Tracking {
    sightings: Vec<Sighting>,
    /// Instances that were read and changed in this transaction, before their events are applied.
    instances: BTreeMap<InstanceKey, Instance>,
    /// The earliest timer that the last write has set.
    earliest: Option<Timestamp>,
}

impl Tracking {
    /// Adopts `instance`, which was read in this transaction. It is written together with the events that it sees.
    pub(crate) fn adopt(&mut self, instance: Instance) {
        self.instances.insert(instance.key.clone(), instance);
    }

    /// Records that a message of a tracked saga was handled.
    pub(crate) fn see_received(&mut self, core: &Core, item: &Item, note: Option<&str>) {
        if core.sagas.tracked.is_empty() {
            return;
        }
        let (Some(event), Some(id)) = (item.event_type(core), item.saga_id()) else { return };
        if event == StepGivenUp::NAME {
            return self.see_given_up(core, item);
        }
        // Events of this service were recorded when they were published.
        if item.envelope.source == *core.name && item.envelope.event_type.is_some() {
            return;
        }
        for (saga, tracked) in core.sagas.tracked.iter().enumerate() {
            if tracked.definition.has_event(&event) {
                let note = note.map(str::to_owned);
                self.sightings.push(Sighting { note, ..Sighting::received(saga, id, &event, item) });
            }
        }
    }

    fn see_given_up(&mut self, core: &Core, item: &Item) {
        let value = item.received.record.value.as_deref().unwrap_or_default();
        // A value that cannot be decoded has become a dead letter earlier.
        let Ok(given_up) = serde_json::from_slice::<StepGivenUp>(value) else { return };
        let Some(saga) = core.sagas.tracked.iter().position(|tracked| tracked.definition.name == given_up.saga) else { return };
        if let Some(why) = ignored::step_given_up_error(&given_up, &core.sagas.tracked[saga].definition, item.saga_id()) {
            return core.sagas.ignored.note(core, StepGivenUp::TOPIC, why);
        }
        let seen = Sighting::received(saga, &given_up.id, StepGivenUp::NAME, item);
        self.sightings.push(Sighting { given_up: Some(given_up), ..seen });
    }

    /// Records events of tracked sagas that this service publishes in this transaction.
    pub(crate) fn see_published(&mut self, core: &Core, events: &[(MessageId, Outgoing)], within: &Context, now: Timestamp) {
        for (saga, tracked) in core.sagas.tracked.iter().enumerate() {
            for (id, event) in events.iter().filter(|(_, event)| tracked.definition.has_event(event.name)) {
                self.sightings.push(Sighting {
                    saga,
                    id: event.key.clone(),
                    event: event.name.to_owned(),
                    message_id: id.to_string(),
                    causation_id: within.causation_id.clone(),
                    correlation_id: within.correlation_id.clone(),
                    source: core.name.to_string(),
                    at: now,
                    note: None,
                    given_up: None,
                    trace: Some(within.trace.clone()),
                });
            }
        }
    }

    /// Applies the recorded events to their instances, and writes these. A second call writes nothing.
    pub(super) async fn write(&mut self, core: &Arc<Core>, tx: &mut dyn PublishTx, now: Timestamp) -> Result<(), StoreError> {
        let sightings = std::mem::take(&mut self.sightings);
        if sightings.is_empty() {
            return Ok(());
        }
        let keys: BTreeSet<_> = sightings.iter().map(|sighting| key(core, sighting)).collect();
        let mut instances = std::mem::take(&mut self.instances);
        let keys: Vec<_> = keys.into_iter().filter(|key| !instances.contains_key(key)).collect();
        if !keys.is_empty() {
            for instance in unreadable::load(core, tx, &keys).await? {
                instances.insert(instance.key.clone(), instance);
            }
        }
        let mut history = Vec::with_capacity(sightings.len());
        let mut moved = BTreeSet::new();
        for sighting in sightings {
            let (key, tracked) = (key(core, &sighting), &core.sagas.tracked[sighting.saga]);
            match take(core, tracked, &key, &mut instances, sighting, now) {
                Seen::Nothing => continue,
                Seen::Counted => {}
                Seen::Entry(entry) => history.push(entry),
            }
            moved.insert(key);
        }
        let records: Vec<_> = moved.iter().filter_map(|key| Some(instances.get(key)?.record())).collect();
        if !records.is_empty() {
            tx.save_instances(&core.name, &records).await?;
            if !history.is_empty() {
                tx.append_history(&core.name, &history).await?;
            }
        }
        self.earliest = records.iter().filter_map(|record| record.due).chain(self.earliest).min();
        Ok(())
    }

    /// Wakes the timers as needed, after the commit.
    pub(super) fn committed(&self, core: &Core) {
        core.sagas.plan(self.earliest);
    }
}

fn key(core: &Core, sighting: &Sighting) -> InstanceKey {
    InstanceKey { saga: core.sagas.tracked[sighting.saga].definition.name.clone(), id: sighting.id.clone() }
}

/// What an event changes in the database.
enum Seen {
    /// Nothing.
    Nothing,
    /// Only the instance, which has counted the event.
    Counted,
    /// The instance, and this entry of its history.
    Entry(HistoryEntry),
}

/// Returns what `event` reports as blocking the instance, and the reason as a text.
pub(crate) fn stopped(event: &StepGivenUp) -> (GivenUp, String) {
    let StepGivenUp { service, dead_letter, error, step, undo, attempts, .. } = event;
    let what = if *undo { "the compensation of " } else { "" };
    let reason = match &event.event {
        Some(name) => unsent::reason(service, name, dead_letter, error),
        None => format!("{service} gave {what}{step} up after {attempts} attempts: {error}"),
    };
    let given_up = GivenUp {
        step: step.clone(),
        undo: *undo,
        service: service.clone(),
        dead_letter: dead_letter.clone(),
        reason: reason.clone(),
        event: event.event.clone().map(|name| Unsent { name, row: None }),
    };
    (given_up, reason)
}

/// Applies one event to its instance and returns what is to be written.
fn take(
    core: &Core,
    tracked: &Tracked,
    key: &InstanceKey,
    instances: &mut BTreeMap<InstanceKey, Instance>,
    sighting: Sighting,
    now: Timestamp,
) -> Seen {
    let saga = &*tracked.definition;
    let seen = instance::EventSeen { event: &sighting.event, id: &sighting.message_id, at: sighting.at };
    let mut note = sighting.note.clone();
    let mut remark = None;
    match instances.get_mut(key) {
        Some(instance) => match &sighting.given_up {
            Some(given_up) => {
                let (given_up, reason) = stopped(given_up);
                note = Some(reason);
                instance.record_given_up(saga, given_up, now);
                remark = Some(instance.remark());
            }
            None => match instance.observe(saga, seen, now, tracked.deadline) {
                Observation::Moved => {}
                Observation::Known => return Seen::Nothing,
                Observation::NotAllowed(reason) => {
                    tracked.series.not_allowed.increment();
                    tracing::warn!(
                        service = &*core.name,
                        saga = saga.name,
                        instance = brief(&key.id),
                        event = sighting.event,
                        reason,
                        "the saga does not allow this event"
                    );
                    note = Some(format!("not allowed: {reason}"));
                    remark = Some(instance.remark());
                }
            },
        },
        None if matches!(saga.published_as(&sighting.event), Some(Publishes::Starts)) => {
            let mut begun = Instance::begin(saga, &key.id, seen, &sighting.correlation_id, now, tracked.deadline);
            begun.body.trace = sighting.trace;
            instances.insert(key.clone(), begun);
        }
        None => {
            tracked.series.unknown.increment();
            tracing::warn!(
                service = &*core.name,
                saga = saga.name,
                instance = brief(&key.id),
                event = sighting.event,
                "an event of an instance that was not begun here"
            );
            return Seen::Nothing;
        }
    }
    match (remark, &mut note) {
        (Some(Remark::Dropped), _) => return Seen::Counted,
        (Some(Remark::Last), Some(note)) => note.push_str("; further events that do not change the instance are only counted"),
        _ => {}
    }
    Seen::Entry(HistoryEntry {
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
