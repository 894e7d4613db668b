//! What the store holds, and the changes a transaction makes to it.

use std::collections::{BTreeMap, HashMap, hash_map::Entry};

use super::{
    super::{
        DeadLetter, DeadLetterId, DeadLetterState, HistoryEntry, InboxKey, InstanceRecord, KeptClock, OutboxId, Ownership,
        ParkedId, ParkedKey, ParkedMessage, Replay, StepRecord, migrations::Applied,
    },
    sagas::SagaTables,
};
use crate::{
    message::{Record, TopicPartition},
    time::Timestamp,
};

/// Everything that is committed. The first part of a value is the service it belongs to.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) inbox: HashMap<String, HashMap<InboxKey, Timestamp>>,
    pub(super) outbox: BTreeMap<OutboxId, (String, Record)>,
    pub(super) parked: BTreeMap<ParkedId, (String, ParkedMessage)>,
    pub(super) sagas: HashMap<String, SagaTables>,
    /// In the order in which they were buried.
    pub(super) letters: Vec<(String, DeadLetter)>,
    /// Epoch, and how far it is applied.
    pub(super) partitions: HashMap<String, HashMap<TopicPartition, (i64, Option<i64>)>>,
    pub(super) replays: HashMap<String, Vec<Replay>>,
    /// Of a service's topics: how many partitions, and whether it has been another number.
    pub(super) topics: HashMap<(String, String), (i32, bool)>,
    pub(super) clocks: HashMap<String, KeptClock>,
    pub(super) migrations: HashMap<String, Vec<Applied>>,
    pub(super) last_id: i64,
}

/// One change that a transaction has staged.
#[derive(Debug, Clone)]
pub(super) enum Change {
    Claim(String, InboxKey, Timestamp),
    Forget(String, InboxKey),
    Send(OutboxId, String, Record),
    Sent(OutboxId),
    Step(String, StepRecord),
    Instance(String, InstanceRecord),
    History(String, HistoryEntry),
    Park(ParkedId, String, ParkedMessage),
    Repark(ParkedId, u32, Timestamp, String),
    Unpark(ParkedId),
    Bury(String, DeadLetter),
    Settle(String, DeadLetterId, DeadLetterState),
    Unpublished(String, DeadLetterId, String),
}

impl Tables {
    /// A new identity for a row of the outbox or a parked message. It is never given twice, even when it was rolled back.
    pub(super) fn next_id(&mut self) -> i64 {
        self.last_id += 1;
        self.last_id
    }

    pub(super) fn apply(&mut self, change: Change) {
        match change {
            Change::Claim(service, key, at) => {
                self.inbox.entry(service).or_default().insert(key, at);
            }
            Change::Forget(service, key) => {
                self.inbox.entry(service).or_default().remove(&key);
            }
            Change::Send(id, service, record) => {
                self.outbox.insert(id, (service, record));
            }
            Change::Sent(id) => {
                self.outbox.remove(&id);
            }
            Change::Step(service, step) => {
                let steps = &mut self.sagas.entry(service).or_default().steps;
                steps.entry(step.instance.clone()).or_default().insert(step.step.clone(), step);
            }
            Change::Instance(service, record) => {
                self.sagas.entry(service).or_default().instances.insert(record.instance.clone(), record);
            }
            Change::History(service, entry) => {
                self.sagas.entry(service).or_default().history.entry(entry.instance.clone()).or_default().push(entry);
            }
            Change::Park(id, service, message) => {
                self.parked.insert(id, (service, message));
            }
            Change::Repark(id, attempts, due, error) => {
                if let Some((_, message)) = self.parked.get_mut(&id) {
                    (message.attempts, message.due, message.error) = (attempts, due, error);
                }
            }
            Change::Unpark(id) => {
                self.parked.remove(&id);
            }
            Change::Bury(service, letter) => {
                self.letters.retain(|(owner, present)| *owner != service || present.id != letter.id);
                self.letters.push((service, letter));
            }
            Change::Settle(service, id, state) => {
                let found = self.letters.iter_mut().find(|(owner, letter)| *owner == service && letter.id == id);
                if let Some((_, letter)) = found {
                    letter.state = state;
                }
            }
            Change::Unpublished(service, id, why) => {
                let found = self.letters.iter_mut().find(|(owner, letter)| *owner == service && letter.id == id);
                if let Some((_, letter)) = found {
                    letter.unpublished = Some(why);
                }
            }
        }
    }

    pub(super) fn parked_keys(&self, service: &str) -> Vec<ParkedKey> {
        let mut places: HashMap<_, usize> = HashMap::new();
        let mut keys: Vec<ParkedKey> = Vec::new();
        for (_, message) in self.parked.values().filter(|(owner, _)| owner == service) {
            let received = &message.received;
            match places.entry((received.record.topic.clone(), message.key())) {
                Entry::Occupied(place) => keys[*place.get()].count += 1,
                Entry::Vacant(place) => {
                    let (topic, key) = place.key().clone();
                    place.insert(keys.len());
                    keys.push(ParkedKey { topic, partition: received.partition, key, count: 1, due: message.due });
                }
            }
        }
        keys
    }

    pub(super) fn open_letters(&self, service: &str, offset: u64, limit: u32) -> (Vec<DeadLetter>, u64) {
        let open = || self.letters.iter().rev().filter(|(owner, l)| owner == service && l.state == DeadLetterState::Open);
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        (open().skip(offset).take(limit).map(|(_, letter)| letter.clone()).collect(), open().count() as u64)
    }

    pub(super) fn own(&mut self, service: &str, partitions: &[TopicPartition]) -> Vec<Ownership> {
        let known = self.partitions.entry(service.to_owned()).or_default();
        let take = |partition: &TopicPartition| {
            let (epoch, applied) = known.entry(partition.clone()).or_default();
            *epoch += 1;
            Ownership { partition: partition.clone(), epoch: *epoch, applied: *applied }
        };
        partitions.iter().map(take).collect()
    }

    /// Whether `epoch` is the last in which `partition` was taken over.
    pub(super) fn stands(&self, service: &str, partition: &TopicPartition, epoch: i64) -> bool {
        self.partitions.get(service).and_then(|known| known.get(partition)).is_some_and(|(last, _)| *last == epoch)
    }

    /// Sets how far partitions are applied by what `merge` makes of that and of what is given.
    pub(super) fn apply_offsets(
        &mut self,
        service: &str,
        owned: &[Ownership],
        merge: impl Fn(Option<i64>, i64) -> i64,
    ) -> Vec<bool> {
        let mut set = |owned: &Ownership| {
            let known = self.partitions.get_mut(service).and_then(|known| known.get_mut(&owned.partition));
            let Some((_, applied)) = known.filter(|(epoch, _)| *epoch == owned.epoch) else { return false };
            if let Some(offset) = owned.applied {
                *applied = Some(merge(*applied, offset));
            }
            true
        };
        owned.iter().map(&mut set).collect()
    }

    pub(super) fn note_partitions(&mut self, service: &str, topics: &[(String, i32)]) -> Vec<bool> {
        let note = |(topic, partitions): &(String, i32)| {
            let (known, moved) = self.topics.entry((service.to_owned(), topic.clone())).or_insert((*partitions, false));
            *moved |= *known != *partitions;
            *known = *partitions;
            *moved
        };
        topics.iter().map(note).collect()
    }

    pub(super) fn prune_inbox(&mut self, service: &str, before: Timestamp, limit: u32) -> u64 {
        let mut pruned = 0;
        if let Some(inbox) = self.inbox.get_mut(service) {
            inbox.retain(|_, at| {
                let forget = *at < before && pruned < u64::from(limit);
                pruned += u64::from(forget);
                !forget
            });
        }
        pruned
    }
}
