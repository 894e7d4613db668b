//! What one transaction has to do with sagas: the barrier's records, read before the handlers are called and written after them.
//! What the tracker sees of it is in [`tracking`](super::tracking).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{core::Core, item::Item},
    tracking::Sighting,
};
use crate::{
    engine::saga::{
        Answer, Instance, Known, Mark,
        barrier::{self, Reason},
    },
    id::MessageId,
    message::Outgoing,
    saga::{InstanceKey, Role, RoleKind, StepRecord, StepState},
    store::{StoreError, StoreTx},
    time::Timestamp,
};

/// What happens to a message of a saga before its handler would be called.
#[derive(Debug)]
pub(crate) enum Before {
    /// The handler is called with the message.
    Call,
    /// The compensation is called with what the step left behind.
    Undo(Option<String>),
    /// Not now.
    Wait(Timestamp),
    /// It has no effect.
    Nothing(Reason),
}

/// The sagas of one transaction.
#[derive(Default)]
pub(crate) struct Scope {
    records: BTreeMap<InstanceKey, Vec<StepRecord>>,
    changed: BTreeSet<(InstanceKey, String)>,
    pub(super) sightings: Vec<Sighting>,
    /// Instances that were read, and changed, before their events are taken in.
    pub(super) instances: BTreeMap<InstanceKey, Instance>,
    /// Those of the last write: when the earliest timer ends that was set.
    pub(super) earliest: Option<Timestamp>,
}

impl Scope {
    /// Reads what is known of the instances of `items`, and keeps other transactions from them.
    pub(crate) async fn load(
        &mut self,
        core: &Core,
        tx: &mut dyn StoreTx,
        items: impl Iterator<Item = &Item>,
    ) -> Result<(), StoreError> {
        let mut keys = BTreeSet::new();
        for item in items {
            keys.extend(item.role(core).and_then(|role| instance(role, item)));
            // Those that are only followed too: what is kept from others is kept in one step, so that two transactions never wait
            // for each other.
            if let (false, Some(event), Some(id)) = (core.sagas.tracked.is_empty(), item.event_type(core), item.saga_id()) {
                let followed = core.sagas.tracked.iter().filter(|tracked| tracked.definition.has_event(&event));
                keys.extend(followed.map(|tracked| InstanceKey { saga: tracked.definition.name.clone(), id: id.to_owned() }));
            }
        }
        self.load_keys(core, tx, keys).await
    }

    /// Reads what is known of one instance.
    pub(crate) async fn load_instance(&mut self, core: &Core, tx: &mut dyn StoreTx, key: &InstanceKey) -> Result<(), StoreError> {
        self.load_keys(core, tx, BTreeSet::from([key.clone()])).await
    }

    /// Takes `instance` as what the database holds: it was read in this transaction, and is written with what it sees.
    pub(crate) fn adopt(&mut self, instance: Instance) {
        self.instances.insert(instance.key.clone(), instance);
    }

    async fn load_keys(&mut self, core: &Core, tx: &mut dyn StoreTx, keys: BTreeSet<InstanceKey>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = keys.into_iter().collect();
        for record in tx.load_steps(&core.name, &keys).await? {
            self.records.entry(record.instance.clone()).or_default().push(record);
        }
        // A record from a time that is still to come was written by a clock that was ahead: its attempt ends as much earlier.
        let now = core.clock.now();
        for record in self.records.values_mut().flatten() {
            if barrier::bring_back(record, now) {
                self.changed.insert((record.instance.clone(), record.step.clone()));
            }
        }
        if core.store().sharing().is_none() {
            // Whoever had begun before this process did is gone.
            let began = core.sagas.began;
            for record in self.records.values_mut().flatten().filter(|record| record.at < began) {
                record.until = None;
            }
        }
        Ok(())
    }

    /// What happens to `item`, and what of that is written down in any case.
    pub(crate) fn before(&mut self, core: &Core, role: &Role, item: &Item, now: Timestamp) -> Before {
        let Some(key) = instance(role, item) else { return Before::Call };
        let event = item.event_type(core);
        self.answer(role, &key, event.as_deref(), &item.envelope.id, now)
    }

    pub(crate) fn answer(
        &mut self,
        role: &Role,
        key: &InstanceKey,
        event: Option<&str>,
        message_id: &MessageId,
        now: Timestamp,
    ) -> Before {
        // What this very message has begun before, it tries again: it waits for no attempt but others'.
        if let Some(record) = self.record_mut(key, role.step).filter(|record| record.message_id == *message_id) {
            record.until = None;
        }
        let records = self.records.get(key).map_or(&[][..], Vec::as_slice);
        let (answer, marks) = Known { saga: &role.saga, records }.answer(role.kind, role.step, event, now);
        for Mark { step, state } in marks {
            self.mark(key, &step, state, None, message_id, now);
        }
        match answer {
            Answer::Call => Before::Call,
            Answer::Undo(record) => Before::Undo(record),
            Answer::Wait(until) => Before::Wait(until),
            Answer::Nothing(reason) => Before::Nothing(reason),
        }
    }

    /// Notes that an attempt of the step, or of its compensation, runs outside a transaction until then at the longest.
    pub(crate) fn begin(&mut self, role: &Role, item: &Item, until: Timestamp, now: Timestamp) {
        let Some(key) = instance(role, item) else { return };
        let present = self.record(&key, role.step).map(|record| (record.state, record.record.clone()));
        let (state, record) = present.unwrap_or((StepState::Begun, None));
        self.mark(&key, role.step, state, record, &item.envelope.id, now);
        if let Some(record) = self.record_mut(&key, role.step) {
            record.until = Some(until);
        }
    }

    /// Notes that the attempt that was begun runs no more.
    pub(crate) fn release(&mut self, role: &Role, item: &Item, now: Timestamp) {
        let Some(key) = instance(role, item) else { return };
        if let Some(record) = self.record_mut(&key, role.step).filter(|record| record.until.is_some()) {
            (record.until, record.at) = (None, now);
            self.changed.insert((key, role.step.to_owned()));
        }
    }

    /// Whether the attempt of `item` that was begun is still the one that may go on: nobody has settled the step since.
    pub(crate) fn goes_on(&self, role: &Role, item: &Item) -> bool {
        instance(role, item).is_some_and(|key| self.goes_on_with(role, &key))
    }

    /// As [`goes_on`](Self::goes_on), of this instance.
    pub(crate) fn goes_on_with(&self, role: &Role, key: &InstanceKey) -> bool {
        let state = self.record(key, role.step).map(|record| record.state);
        match role.kind {
            RoleKind::Undo => matches!(state, Some(StepState::Begun | StepState::Done)),
            _ => state == Some(StepState::Begun),
        }
    }

    /// Writes down what the handler of `item` did, by the events that it published.
    pub(crate) fn concluded(
        &mut self,
        role: &Role,
        item: &Item,
        refused: bool,
        events: &[(MessageId, Outgoing)],
        now: Timestamp,
    ) {
        if let Some(key) = instance(role, item) {
            self.conclude(role, &key, &item.envelope.id, refused, events, now);
        }
    }

    pub(crate) fn conclude(
        &mut self,
        role: &Role,
        key: &InstanceKey,
        message_id: &MessageId,
        refused: bool,
        events: &[(MessageId, Outgoing)],
        now: Timestamp,
    ) {
        let said = |name: &str| events.iter().find(|(_, event)| event.name == name).map(|(_, event)| &event.value);
        let step = role.saga.step(role.step);
        let rejected = step.and_then(|step| step.rejects.as_ref()).is_some_and(|event| said(&event.name).is_some());
        let (state, record) = match role.kind {
            RoleKind::Undo => (StepState::Undone, self.record(key, role.step).and_then(|record| record.record.clone())),
            _ if refused || rejected => (StepState::Rejected, None),
            _ => {
                let value = step.and_then(|step| said(&step.emits.name));
                (StepState::Done, value.map(|value| String::from_utf8_lossy(value).into_owned()))
            }
        };
        self.mark(key, role.step, state, record, message_id, now);
    }

    /// Notes that the flow is given up by this transaction.
    pub(crate) fn aborted(&mut self, role: &Role, key: &InstanceKey, message_id: &MessageId, now: Timestamp) {
        self.mark(key, &role.saga.abort.name, StepState::Done, None, message_id, now);
    }

    fn mark(
        &mut self,
        key: &InstanceKey,
        step: &str,
        state: StepState,
        record: Option<String>,
        message_id: &MessageId,
        now: Timestamp,
    ) {
        let new = StepRecord {
            instance: key.clone(),
            step: step.to_owned(),
            state,
            record,
            message_id: message_id.clone(),
            until: None,
            at: now,
        };
        match self.record_mut(key, step) {
            Some(present) => *present = new,
            None => self.records.entry(key.clone()).or_default().push(new),
        }
        self.changed.insert((key.clone(), step.to_owned()));
    }

    fn record(&self, key: &InstanceKey, step: &str) -> Option<&StepRecord> {
        self.records.get(key)?.iter().find(|record| record.step == step)
    }

    fn record_mut(&mut self, key: &InstanceKey, step: &str) -> Option<&mut StepRecord> {
        self.records.get_mut(key)?.iter_mut().find(|record| record.step == step)
    }

    /// Writes what has changed. Said again, it writes nothing.
    pub(crate) async fn write(&mut self, core: &Arc<Core>, tx: &mut dyn StoreTx, now: Timestamp) -> Result<(), StoreError> {
        let changed: Vec<_> =
            std::mem::take(&mut self.changed).iter().filter_map(|(key, step)| self.record(key, step).cloned()).collect();
        if !changed.is_empty() {
            tx.save_steps(&core.name, &changed).await?;
        }
        self.track(core, tx, now).await
    }

    /// Carries out what follows from the commit.
    pub(crate) fn committed(&self, core: &Core) {
        core.sagas.plan(self.earliest);
    }
}

/// The instance that `item` is of, to a handler with this role.
fn instance(role: &Role, item: &Item) -> Option<InstanceKey> {
    Some(InstanceKey { saga: role.saga.name.clone(), id: item.saga_id()?.to_owned() })
}
