//! The part of one transaction that concerns sagas: the step records, read before the handlers are called and written after them. The
//! tracker's part is [`Tracking`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    super::{core::Core, item::Item},
    tracking::Tracking,
};
use crate::{
    engine::saga::{
        BarrierDecision, Mark, StepRecords,
        barrier::{self, NoEffect},
    },
    id::MessageId,
    message::Outgoing,
    saga::{InstanceKey, LeftBehind, Role, RoleKind, StepRecord, StepState},
    store::{PublishTx, StoreError, StoreTx},
    time::Timestamp,
};

/// What the barrier decides about a message of a saga before its handler is called.
#[derive(Debug)]
pub(crate) enum Decision {
    /// Call the handler with the message.
    RunHandler,
    /// Call the compensation with the record that the step left behind.
    Undo(Option<LeftBehind>),
    /// Try the message again at this time.
    Wait(Timestamp),
    /// Do nothing: the message has no effect.
    Nothing(NoEffect),
}

/// The sagas of one transaction.
#[derive(Default)]
pub(crate) struct Scope {
    records: BTreeMap<InstanceKey, Vec<StepRecord>>,
    changed: BTreeSet<(InstanceKey, String)>,
    /// The part of the tracker.
    pub(crate) tracking: Tracking,
}

impl Scope {
    /// Locks the instances of `items` and reads their step records.
    pub(crate) async fn load(
        &mut self,
        core: &Core,
        tx: &mut dyn StoreTx,
        items: impl Iterator<Item = &Item>,
    ) -> Result<(), StoreError> {
        let mut keys = BTreeSet::new();
        for item in items {
            keys.extend(item.role(core).and_then(|role| instance(role, item)));
            // Instances that are only tracked are locked by the same statement, so that two transactions that need the same instances
            // cannot deadlock.
            if let (false, Some(event), Some(id)) = (core.sagas.tracked.is_empty(), item.event_type(core), item.saga_id()) {
                let followed = core.sagas.tracked.iter().filter(|tracked| tracked.definition.has_event(&event));
                keys.extend(followed.map(|tracked| InstanceKey { saga: tracked.definition.name.clone(), id: id.to_owned() }));
            }
        }
        self.load_keys(core, tx, keys).await
    }

    /// Locks one instance and reads its step records.
    pub(crate) async fn load_instance(&mut self, core: &Core, tx: &mut dyn StoreTx, key: &InstanceKey) -> Result<(), StoreError> {
        self.load_keys(core, tx, BTreeSet::from([key.clone()])).await
    }

    async fn load_keys(&mut self, core: &Core, tx: &mut dyn StoreTx, keys: BTreeSet<InstanceKey>) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let keys: Vec<_> = keys.into_iter().collect();
        for record in tx.load_steps(&core.name, &keys).await? {
            self.records.entry(record.instance.clone()).or_default().push(record);
        }
        // A record with a time in the future was written by a clock that was ahead. The end of its attempt is moved back by the same
        // amount.
        let now = core.clock.now();
        for record in self.records.values_mut().flatten() {
            if barrier::bring_back(record, now) {
                self.changed.insert((record.instance.clone(), record.step.clone()));
            }
        }
        if core.store().sharing().is_none() {
            // This is the only process: attempts that began before it was started are no longer running.
            let began = core.sagas.began;
            for record in self.records.values_mut().flatten().filter(|record| record.at < began) {
                record.until = None;
            }
        }
        Ok(())
    }

    /// Returns what happens to `item`, and notes the step records that are written in any case.
    pub(crate) fn decide_item(&mut self, core: &Core, role: &Role, item: &Item, now: Timestamp) -> Decision {
        let Some(key) = instance(role, item) else { return Decision::RunHandler };
        let event = item.event_type(core);
        self.decide(role, &key, event.as_deref(), &item.envelope.id, now)
    }

    pub(crate) fn decide(
        &mut self,
        role: &Role,
        key: &InstanceKey,
        event: Option<&str>,
        message_id: &MessageId,
        now: Timestamp,
    ) -> Decision {
        // An interrupted attempt of this message does not make the message itself wait; only attempts of other messages do.
        if let Some(record) = self.record_mut(key, role.step).filter(|record| record.message_id == *message_id) {
            record.until = None;
        }
        let records = self.records.get(key).map_or(&[][..], Vec::as_slice);
        let (answer, marks) = StepRecords { saga: &role.saga, records }.decide(role.kind, role.step, event, now);
        for Mark { step, state } in marks {
            self.mark(key, &step, state, None, message_id, now);
        }
        match answer {
            BarrierDecision::Call => Decision::RunHandler,
            BarrierDecision::Undo(record) => Decision::Undo(record),
            BarrierDecision::Wait(until) => Decision::Wait(until),
            BarrierDecision::Nothing(reason) => Decision::Nothing(reason),
        }
    }

    /// Records that an attempt of the step, or of its compensation, runs outside a transaction, until `until` at the latest.
    pub(crate) fn begin(&mut self, role: &Role, item: &Item, until: Timestamp, now: Timestamp) {
        let Some(key) = instance(role, item) else { return };
        let present = self.record(&key, role.step).map(|record| (record.state, record.record.clone()));
        let (state, record) = present.unwrap_or((StepState::Begun, None));
        self.mark(&key, role.step, state, record, &item.envelope.id, now);
        if let Some(record) = self.record_mut(&key, role.step) {
            record.until = Some(until);
        }
    }

    /// Records that this attempt is no longer running.
    pub(crate) fn release(&mut self, role: &Role, item: &Item, now: Timestamp) {
        let Some(key) = instance(role, item) else { return };
        if let Some(record) = self.record_mut(&key, role.step).filter(|record| record.until.is_some()) {
            (record.until, record.at) = (None, now);
            self.changed.insert((key, role.step.to_owned()));
        }
    }

    /// Whether the attempt of `item` can continue: the step was not settled since it began.
    pub(crate) fn goes_on(&self, role: &Role, item: &Item) -> bool {
        instance(role, item).is_some_and(|key| self.goes_on_with(role, &key))
    }

    /// Like [`goes_on`](Self::goes_on), for the instance `key`.
    pub(crate) fn goes_on_with(&self, role: &Role, key: &InstanceKey) -> bool {
        let state = self.record(key, role.step).map(|record| record.state);
        match role.kind {
            RoleKind::Undo => matches!(state, Some(StepState::Begun | StepState::Done)),
            _ => state == Some(StepState::Begun),
        }
    }

    /// Records the result of the handler of `item`, which its published events show.
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
        let said = |name: &str| events.iter().find(|(_, event)| event.name == name).map(|(_, event)| event);
        let step = role.saga.step(role.step);
        let rejected = step.and_then(|step| step.rejects.as_ref()).is_some_and(|event| said(&event.name).is_some());
        let (state, record) = match role.kind {
            RoleKind::Undo => (StepState::Undone, self.record(key, role.step).and_then(|record| record.record.clone())),
            _ if refused || rejected => (StepState::Rejected, None),
            _ => {
                let event = step.and_then(|step| said(&step.emits.name));
                (StepState::Done, event.map(|event: &Outgoing| LeftBehind::new(&event.value, event.version)))
            }
        };
        self.mark(key, role.step, state, record, message_id, now);
    }

    /// Records that this transaction aborts the instance.
    pub(crate) fn aborted(&mut self, role: &Role, key: &InstanceKey, message_id: &MessageId, now: Timestamp) {
        self.mark(key, &role.saga.abort.name, StepState::Done, None, message_id, now);
    }

    fn mark(
        &mut self,
        key: &InstanceKey,
        step: &str,
        state: StepState,
        record: Option<LeftBehind>,
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

    /// Writes the changed step records and the instances. A second call writes nothing.
    pub(crate) async fn write(&mut self, core: &Arc<Core>, tx: &mut dyn PublishTx, now: Timestamp) -> Result<(), StoreError> {
        let changed: Vec<_> =
            std::mem::take(&mut self.changed).iter().filter_map(|(key, step)| self.record(key, step).cloned()).collect();
        if !changed.is_empty() {
            tx.save_steps(&core.name, &changed).await?;
        }
        self.tracking.write(core, tx, now).await
    }

    /// Wakes the timers as needed, after the commit.
    pub(crate) fn committed(&self, core: &Core) {
        self.tracking.committed(core);
    }
}

/// Returns the instance of `item` for a handler with this role.
fn instance(role: &Role, item: &Item) -> Option<InstanceKey> {
    Some(InstanceKey { saga: role.saga.name.clone(), id: item.saga_id()?.to_owned() })
}
