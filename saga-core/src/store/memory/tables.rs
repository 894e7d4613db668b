//! The data of the store, and the changes of a transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry};

use super::{
    super::{
        DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterState, HELD, HistoryEntry, InboxKey, InstanceRecord, KeptClock,
        LetterHead, LetterSummary, OutboxId, Ownership, ParkedId, ParkedKey, ParkedMessage, PrunedLetters, Replay, StepRecord,
        Taker, migrations::Applied,
    },
    sagas::SagaTables,
};
use crate::{
    message::{Received, Record, TopicPartition},
    time::Timestamp,
};

/// All committed data. The first part of a key or a value is the service that it belongs to.
#[derive(Debug, Default)]
pub(super) struct Tables {
    pub(super) inbox: HashMap<String, HashMap<InboxKey, Timestamp>>,
    pub(super) outbox: BTreeMap<OutboxId, (String, Record)>,
    pub(super) parked: BTreeMap<ParkedId, (String, ParkedMessage)>,
    pub(super) sagas: HashMap<String, SagaTables>,
    /// In the order in which they were inserted.
    pub(super) letters: Vec<(String, DeadLetter)>,
    /// When each settled dead letter was settled.
    settled: HashMap<(String, DeadLetterId), Timestamp>,
    /// The epoch and the applied offset of each partition.
    pub(super) partitions: HashMap<String, HashMap<TopicPartition, Ownership>>,
    pub(super) replays: HashMap<String, Vec<Replay>>,
    /// The number of partitions of each topic of a service, and whether another number was ever recorded.
    pub(super) topics: HashMap<(String, String), (i32, bool)>,
    /// The service, the topic and the name of each event that was handled.
    pub(super) handled: BTreeSet<(String, String, String)>,
    /// Which handlers of each service take its events.
    pub(super) takers: HashMap<String, Vec<Taker>>,
    pub(super) clocks: HashMap<String, KeptClock>,
    pub(super) migrations: HashMap<String, Vec<Applied>>,
    pub(super) last_id: i64,
}

/// A change that a transaction has staged.
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
    Release(ParkedId, Timestamp),
    Unpark(ParkedId),
    Bury(String, DeadLetter),
    Settle(String, DeadLetterId, DeadLetterState, Timestamp),
    Replace(ParkedId, Received, Timestamp),
    Unpublished(String, DeadLetterId, String),
}

impl Tables {
    /// Returns a new id for an outbox row or a parked message. An id is never used twice, even after a rollback.
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
            Change::Release(id, due) => {
                if let Some((_, message)) = self.parked.get_mut(&id) {
                    (message.attempts, message.due, message.seen) = (0, due, due);
                    message.error.clear();
                }
            }
            Change::Unpark(id) => {
                self.parked.remove(&id);
            }
            Change::Bury(service, letter) => {
                self.letters.retain(|(owner, present)| *owner != service || present.id != letter.id);
                self.settled.remove(&(service.clone(), letter.id.clone()));
                self.letters.push((service, letter));
            }
            Change::Settle(service, id, state, now) => {
                let found = self.letters.iter_mut().find(|(owner, letter)| *owner == service && letter.id == id);
                if let Some((_, letter)) = found {
                    letter.state = state;
                    self.settled.insert((service, id), now);
                }
            }
            Change::Replace(id, received, due) => {
                if let Some((_, message)) = self.parked.get_mut(&id) {
                    *message = ParkedMessage { id, received, attempts: 0, due, error: String::new(), seen: due };
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

    /// Returns the dead letters of `service`, in the order in which they were inserted.
    pub(super) fn letters_of<'t>(&'t self, service: &str) -> impl DoubleEndedIterator<Item = &'t DeadLetter> {
        self.letters.iter().filter(move |(owner, _)| owner == service).map(|(_, letter)| letter)
    }

    pub(super) fn find_letters(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        offset: u64,
        limit: u32,
    ) -> (Vec<LetterSummary>, u64) {
        let found = || self.letters_of(service).rev().filter(|letter| filter.wants(letter));
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        (found().skip(offset).take(limit).map(LetterSummary::of).collect(), found().count() as u64)
    }

    pub(super) fn letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Vec<LetterHead> {
        let mut heads: Vec<_> = self.letters_of(service).filter(|letter| filter.wants(letter)).map(LetterHead::of).collect();
        heads.retain(|head| after.is_none_or(|after| head.by_position() > after.by_position()));
        heads.sort_by(|one, other| one.by_position().cmp(&other.by_position()));
        heads.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        heads
    }

    /// Returns the parked message by which `letter` holds its key.
    pub(super) fn held_by(&self, service: &str, letter: &LetterHead) -> Option<ParkedId> {
        let mut held = self.held_at(service, letter);
        held.find_map(|(id, message)| letter.is_of_handler_in(&message.received.record.headers).then_some(id))
    }

    /// Returns the messages at the position of `letter` that hold its key.
    fn held_at(&self, service: &str, letter: &LetterHead) -> impl Iterator<Item = (ParkedId, &ParkedMessage)> {
        self.parked.iter().filter_map(move |(id, (owner, message))| {
            let received = &message.received;
            let is_there = owner == service
                && message.due == HELD
                && received.record.topic == letter.partition.topic
                && (received.partition, received.offset) == (letter.partition.partition, letter.offset)
                && message.key() == letter.parking_key();
            is_there.then_some((*id, message))
        })
    }

    pub(super) fn prune_letters(
        &mut self,
        service: &str,
        open: Option<Timestamp>,
        settled: Option<Timestamp>,
        limit: u32,
    ) -> PrunedLetters {
        let old = |letter: &&DeadLetter| {
            letter.state == DeadLetterState::Open
                && open.is_some_and(|open| letter.at < open)
                && self.held_at(service, &LetterHead::of(letter)).next().is_none()
        };
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let expired: HashSet<_> = self.letters_of(service).filter(old).map(|letter| letter.id.clone()).take(limit).collect();
        let done = |letter: &&DeadLetter| {
            let at = self.settled.get(&(service.to_owned(), letter.id.clone()));
            at.zip(settled).is_some_and(|(at, before)| *at < before)
        };
        let done: HashSet<_> = self.letters_of(service).filter(done).map(|letter| letter.id.clone()).take(limit).collect();
        self.letters.retain(|(owner, letter)| owner != service || !(expired.contains(&letter.id) || done.contains(&letter.id)));
        self.settled.retain(|(owner, id), _| owner != service || !done.contains(id));
        PrunedLetters { open: expired.len() as u64, settled: done.len() as u64 }
    }

    pub(super) fn own(&mut self, service: &str, partitions: &[TopicPartition]) -> Vec<Ownership> {
        let known = self.partitions.entry(service.to_owned()).or_default();
        let take = |partition: &TopicPartition| {
            let fresh = || Ownership { partition: partition.clone(), epoch: 0, applied: None, log: None };
            let owned = known.entry(partition.clone()).or_insert_with(fresh);
            owned.epoch += 1;
            owned.clone()
        };
        partitions.iter().map(take).collect()
    }

    /// Whether `epoch` is the current epoch of `partition`.
    pub(super) fn stands(&self, service: &str, partition: &TopicPartition, epoch: i64) -> bool {
        self.partitions.get(service).and_then(|known| known.get(partition)).is_some_and(|last| last.epoch == epoch)
    }

    /// Stores applied offsets. `merge` computes each from the stored offset and the new one.
    pub(super) fn apply_offsets(
        &mut self,
        service: &str,
        owned: &[Ownership],
        merge: impl Fn(Option<i64>, i64) -> i64,
    ) -> Vec<bool> {
        let mut set = |owned: &Ownership| {
            let known = self.partitions.get_mut(service).and_then(|known| known.get_mut(&owned.partition));
            let Some(known) = known.filter(|known| known.epoch == owned.epoch) else { return false };
            if let Some(offset) = owned.applied {
                known.applied = Some(merge(known.applied, offset));
            }
            if owned.log.is_some() {
                known.log.clone_from(&owned.log);
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
