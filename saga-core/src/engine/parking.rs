//! The index of the parked keys.
//!
//! A message that failed is parked in the database, and its key with it: later messages of the key are parked behind it, so the order of
//! the key is kept while other keys continue. The index contains what is parked for the partitions that this process owns; the messages
//! themselves are in the database.
//!
//! Other processes also change the parked messages, for example when an operator retries a dead letter there. So the index is compared with
//! the database regularly ([`ParkedIndex::begin_audit`]).
//!
//! A key belongs to one partition only as long as its topic keeps its number of partitions. After a change, messages of a key can be parked
//! for several partitions. They stay one queue, in the order in which they were parked, and each is retried by the owner of its partition:
//! a message behind the first one of another owner waits for that owner ([`ParkedIndex::behind`]). Messages that are parked for a partition
//! that no longer exists belong to its guardian ([`ParkedIndex::guardian`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use crate::{message::TopicPartition, time::Timestamp};

/// A topic and key under which messages are parked.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicKey {
    /// The topic.
    pub topic: String,
    /// The key, as bytes.
    pub key: Bytes,
}

/// The due time of a key that waits for an operator, or for another process, and not for a time.
pub const HELD: Timestamp = Timestamp::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queue {
    count: usize,
    due: Timestamp,
    partition: i32,
    run: Option<Run>,
    /// The due time is later than in the database, for a reason of this process.
    put_off: bool,
}

/// The messages of one key that were taken for a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    number: RunNumber,
    /// The number of these messages that are not settled; `None` until they are loaded.
    left: Option<usize>,
}

/// The number of the run that a message was taken for. When a message of a run fails, the remaining ones are void.
pub type RunNumber = u64;

/// The parked keys of a service in the partitions that this process owns.
#[derive(Debug, Default)]
pub struct ParkedIndex {
    queues: HashMap<TopicKey, Queue>,
    timeline: BTreeSet<(Timestamp, TopicKey)>,
    runs: RunNumber,
    /// The owned partitions and their epochs.
    owned: HashMap<TopicPartition, i64>,
    /// The number of partitions of each topic, as far as it is known.
    partitions: HashMap<String, i32>,
    /// The topics with a changed number of partitions.
    moved: HashSet<String>,
    /// During a comparison with the database: the keys that have changed here since it began.
    audit: Option<HashSet<TopicKey>>,
}

/// A parked key in the database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The topic and key.
    pub place: TopicKey,
    /// The partition of its first message.
    pub partition: i32,
    /// The number of its messages.
    pub count: usize,
    /// When its first message is due.
    pub due: Timestamp,
}

impl ParkedIndex {
    /// Returns whether `place` is parked, so that further messages must be parked behind it.
    pub fn is_parked(&self, place: &TopicKey) -> bool {
        self.queues.contains_key(place)
    }

    /// Records that `count` messages were parked at `place`. If they are its first ones, the queue is due at `due`.
    pub fn park(&mut self, place: TopicKey, partition: i32, count: usize, due: Timestamp) {
        if count == 0 {
            return;
        }
        self.touch(&place);
        let timeline = &mut self.timeline;
        let queue = self.queues.entry(place.clone()).or_insert_with(|| {
            timeline.insert((due, place));
            Queue { count: 0, due, partition, run: None, put_off: false }
        });
        queue.count += count;
    }

    /// Takes at most `most` places that have a first message due at `now`.
    ///
    /// Each is running until [`loaded`](Self::loaded) and [`settled`](Self::settled) report its result.
    pub fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<TopicKey> {
        let mut due = Vec::new();
        while due.len() < most
            && let Some((at, _)) = self.timeline.first()
            && *at <= now
            && *at < HELD
            && let Some((_, place)) = self.timeline.pop_first()
        {
            self.touch(&place);
            if let Some(queue) = self.queues.get_mut(&place) {
                self.runs += 1;
                queue.run = Some(Run { number: self.runs, left: None });
                due.push(place);
            }
        }
        due
    }

    /// Records that the first `messages` of `place` were read for a retry.
    ///
    /// Returns the number of the run; `None` if they must not be retried.
    pub fn loaded(&mut self, place: &TopicKey, messages: usize) -> Option<RunNumber> {
        let queue = self.queues.get_mut(place)?;
        let run = queue.run.as_mut()?;
        run.left = Some(messages);
        // The database can have more messages than are known here, such as a dead letter that another process retried.
        queue.count = queue.count.max(messages);
        Some(run.number)
    }

    /// Returns whether a message that was taken for `run` can still be retried.
    pub fn is_current(&self, place: &TopicKey, run: RunNumber) -> bool {
        self.queues.get(place).and_then(|queue| queue.run).is_some_and(|current| current.number == run)
    }

    /// Records that the first `done` messages of `place` are finished.
    ///
    /// With `failed`, the next one failed, is due at that time, and the run ends. Otherwise the run continues with its remaining messages;
    /// after the last one, the next message of the queue is due at `now`.
    pub fn settled(&mut self, place: &TopicKey, done: usize, failed: Option<Timestamp>, now: Timestamp) {
        self.touch(place);
        let Some(queue) = self.queues.get_mut(place) else { return };
        queue.count = queue.count.saturating_sub(done);
        if queue.count == 0 {
            self.timeline.remove(&(queue.due, place.clone()));
            self.queues.remove(place);
            return;
        }
        if let Some(left) = queue.run.as_mut().and_then(|run| run.left.as_mut()) {
            *left = left.saturating_sub(done);
            if *left > 0 && failed.is_none() {
                return;
            }
        }
        self.timeline.remove(&(queue.due, place.clone()));
        (queue.run, queue.due, queue.put_off) = (None, failed.unwrap_or(now), false);
        self.timeline.insert((queue.due, place.clone()));
    }

    /// Keeps `place` from being retried until `due`, even if it is due earlier in the database.
    pub fn put_off(&mut self, place: &TopicKey, due: Timestamp) {
        self.settled(place, 0, Some(due), due);
        if let Some(queue) = self.queues.get_mut(place) {
            queue.put_off = true;
        }
    }

    /// Returns whether `place` is kept from being retried at `now`, even if it is due in the database.
    pub fn is_put_off(&self, place: &TopicKey, now: Timestamp) -> bool {
        self.queues.get(place).is_some_and(|queue| queue.put_off && queue.due > now)
    }

    /// Replaces what is known of `place`: `count` messages are parked, and the first is due at `due`. Ends the run.
    pub fn correct(&mut self, place: &TopicKey, partition: i32, count: usize, due: Timestamp) {
        self.touch(place);
        if let Some(queue) = self.queues.remove(place) {
            self.timeline.remove(&(queue.due, place.clone()));
        }
        self.park(place.clone(), partition, count, due);
    }

    /// Returns when the next place is due; `None` if none waits for a time.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timeline.first().map(|(due, _)| *due).filter(|due| *due < HELD)
    }

    /// Returns whether a place is running, or could run at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.queues.values().any(|queue| queue.run.is_some()) || self.next_due().is_some_and(|due| due <= now)
    }

    /// Returns the number of messages parked at `place`.
    pub fn count(&self, place: &TopicKey) -> usize {
        self.queues.get(place).map_or(0, |queue| queue.count)
    }

    /// Returns the parked places, in no particular order.
    pub fn places(&self) -> impl Iterator<Item = &TopicKey> {
        self.queues.keys()
    }

    /// Returns the number of parked keys.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// Returns the numbers of parked keys and messages.
    pub fn totals(&self) -> (usize, usize) {
        (self.queues.len(), self.queues.values().map(|queue| queue.count).sum())
    }

    /// Records that this process owns `partition` under `epoch`, and adds those of `keys` that have their first message in it.
    ///
    /// Replaces what was known of the partition before.
    pub fn adopt(&mut self, partition: TopicPartition, epoch: i64, keys: impl IntoIterator<Item = Parked>) {
        self.forget(std::slice::from_ref(&partition));
        for key in keys {
            if self.guardian(&key.place.topic, key.partition) == partition {
                self.correct(&key.place, key.partition, key.count, key.due);
            }
        }
        self.owned.insert(partition, epoch);
    }

    /// Sets the number of partitions of `topic`, and whether it has changed.
    pub fn set_partitions(&mut self, topic: &str, count: i32, moved: bool) {
        self.partitions.insert(topic.to_owned(), count);
        if moved {
            self.moved.insert(topic.to_owned());
        }
    }

    /// Returns the number of partitions of `topic`, if it is known.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.partitions.get(topic).copied()
    }

    /// Returns whether messages of a key of `topic` can be parked for several partitions.
    ///
    /// The index, which covers owned partitions only, then does not decide whether a key is parked.
    pub fn has_moved(&self, topic: &str) -> bool {
        self.moved.contains(topic)
    }

    /// Returns the partition that is responsible for messages parked for `partition`: the same one, or another if it no longer exists.
    pub fn guardian(&self, topic: &str, partition: i32) -> TopicPartition {
        let number = match self.partitions.get(topic) {
            Some(count) if *count > 0 && partition >= *count => partition % count,
            _ => partition,
        };
        TopicPartition::new(topic, number)
    }

    /// Sets the partition of the first message parked at `place`.
    pub fn head(&mut self, place: &TopicKey, partition: i32) {
        if let Some(queue) = self.queues.get_mut(place) {
            queue.partition = partition;
        }
    }

    /// Records that the first message parked at `place` belongs to `partition` of another owner, so that the messages here wait for it.
    pub fn behind(&mut self, place: &TopicKey, partition: i32) {
        let count = self.count(place);
        self.correct(place, partition, count, HELD);
    }

    /// Forgets partitions that this process no longer owns, and what is parked for them.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.audit = None;
        for partition in partitions {
            self.owned.remove(partition);
        }
        let of = |place: &TopicKey, queue: &Queue| partitions.contains(&self.guardian(&place.topic, queue.partition));
        let gone: Vec<_> = self.queues.iter().filter(|(place, queue)| of(place, queue)).map(|(place, _)| place.clone()).collect();
        for place in &gone {
            self.queues.remove(place);
        }
        self.timeline.retain(|(_, place)| self.queues.contains_key(place));
    }

    /// Forgets all partitions and what is parked for them.
    pub fn forget_all(&mut self) {
        let owned: Vec<_> = self.owned.keys().cloned().collect();
        self.forget(&owned);
        self.queues.clear();
        self.timeline.clear();
    }

    /// Returns the epoch under which this process owns `partition`, if it does.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<i64> {
        self.owned.get(partition).copied()
    }

    /// Begins a comparison with the database. The caller reads the parked keys between this call and [`end_audit`](Self::end_audit).
    pub fn begin_audit(&mut self) {
        self.audit = Some(HashSet::new());
    }

    /// Corrects the index by `keys`, all parked keys in the database, where other processes have changed them: keys that are new, due
    /// earlier, or gone, or that have more messages.
    ///
    /// Returns whether anything was corrected. Keys that have changed here since the comparison began, or that are running, are skipped.
    /// A count that is too small would free the key before its last message is done. One that is too large is harmless: the next read of
    /// the key finds nothing and removes it.
    pub fn end_audit(&mut self, keys: Vec<Parked>, now: Timestamp) -> bool {
        let Some(touched) = self.audit.take() else { return false };
        let mut wrong = Vec::new();
        let mut known = HashSet::with_capacity(keys.len());
        for mut key in keys {
            let ours = self.owned.contains_key(&self.guardian(&key.place.topic, key.partition));
            let right = match self.queues.get(&key.place) {
                None if !ours => continue,
                None => false,
                Some(queue) if queue.run.is_some() => true,
                Some(queue) if !ours => (queue.partition, queue.count, queue.due) == (key.partition, key.count, HELD),
                Some(queue) => queue.partition == key.partition && (queue.put_off || queue.due <= now.max(key.due)),
            };
            if !ours {
                key.due = HELD;
            }
            known.insert(key.place.clone());
            if touched.contains(&key.place) {
                continue;
            }
            if !right {
                wrong.push(key);
            } else if let Some(queue) =
                self.queues.get_mut(&key.place).filter(|queue| queue.run.is_none() && queue.count < key.count)
            {
                queue.count = key.count;
            }
        }
        let idle = self.queues.iter().filter(|(_, queue)| queue.run.is_none());
        let gone = idle.filter(|(place, _)| !known.contains(*place) && !touched.contains(*place));
        wrong.extend(gone.map(|(place, queue)| Parked { place: place.clone(), partition: queue.partition, count: 0, due: now }));
        for Parked { place, partition, count, due } in &wrong {
            self.correct(place, *partition, *count, *due);
        }
        !wrong.is_empty()
    }

    fn touch(&mut self, place: &TopicKey) {
        if let Some(touched) = &mut self.audit {
            touched.insert(place.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &'static str) -> TopicKey {
        TopicKey { topic: "orders".into(), key: Bytes::from_static(key.as_bytes()) }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn heads_come_due_in_the_order_of_their_times() {
        let mut parked = ParkedIndex::default();
        parked.park(place("late"), 0, 1, at(20));
        parked.park(place("early"), 0, 1, at(10));
        assert_eq!(parked.next_due(), Some(at(10)));
        assert!(parked.take_due(at(9), 9).is_empty());
        assert_eq!(parked.take_due(at(20), 9), [place("early"), place("late")]);
        assert_eq!((parked.next_due(), parked.take_due(at(30), 9)), (None, vec![]));
    }

    #[test]
    fn a_key_is_parked_until_its_last_message_is_done() {
        let mut parked = ParkedIndex::default();
        parked.park(place("a"), 0, 1, at(10));
        parked.park(place("a"), 0, 2, at(5));
        assert_eq!((parked.next_due(), parked.count(&place("a"))), (Some(at(10)), 3));
        assert_eq!(parked.take_due(at(10), 9), [place("a")]);
        parked.settled(&place("a"), 1, None, at(10));
        assert_eq!(parked.take_due(at(10), 9), [place("a")]);
        parked.settled(&place("a"), 2, None, at(10));
        assert!(!parked.is_parked(&place("a")));
        assert_eq!(parked.totals(), (0, 0));
    }

    #[test]
    fn a_failed_head_waits_for_its_new_time() {
        let mut parked = ParkedIndex::default();
        parked.park(place("a"), 0, 2, at(10));
        parked.take_due(at(10), 9);
        parked.settled(&place("a"), 0, Some(at(40)), at(11));
        assert_eq!((parked.next_due(), parked.count(&place("a"))), (Some(at(40)), 2));
    }

    #[test]
    fn a_run_ends_with_its_last_message_or_its_first_failure() {
        let mut parked = ParkedIndex::default();
        parked.park(place("a"), 0, 4, at(10));
        parked.take_due(at(10), 9);
        let first = parked.loaded(&place("a"), 3).expect("it runs");
        parked.settled(&place("a"), 1, None, at(11));
        assert!(parked.is_current(&place("a"), first));
        assert!(parked.take_due(at(99), 9).is_empty(), "what runs is not taken twice");
        parked.settled(&place("a"), 1, Some(at(20)), at(12));
        assert!(!parked.is_current(&place("a"), first), "what is left of the run is void");
        assert_eq!(parked.take_due(at(20), 9), [place("a")]);
        let second = parked.loaded(&place("a"), 2).expect("it runs");
        assert!(second > first);
        parked.settled(&place("a"), 2, None, at(21));
        assert!(!parked.is_parked(&place("a")));
    }

    #[test]
    fn what_is_known_can_be_put_right() {
        let mut parked = ParkedIndex::default();
        parked.correct(&place("a"), 0, 2, at(10));
        assert_eq!((parked.next_due(), parked.count(&place("a"))), (Some(at(10)), 2));
        parked.take_due(at(10), 9);
        parked.correct(&place("a"), 0, 3, at(20));
        assert_eq!((parked.next_due(), parked.count(&place("a"))), (Some(at(20)), 3));
        parked.correct(&place("a"), 0, 0, at(0));
        assert_eq!((parked.next_due(), parked.totals()), (None, (0, 0)));
    }

    #[test]
    fn a_held_key_is_never_due() {
        let mut parked = ParkedIndex::default();
        parked.park(place("a"), 0, 1, HELD);
        assert_eq!((parked.next_due(), parked.take_due(HELD, 9)), (None, vec![]));
        assert!(parked.is_parked(&place("a")));
        parked.settled(&place("a"), 0, Some(at(7)), at(1));
        assert_eq!(parked.take_due(at(7), 9), [place("a")]);
    }

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("orders", number)
    }

    fn key(name: &'static str, partition: i32, count: usize, due: i64) -> Parked {
        Parked { place: place(name), partition, count, due: at(due) }
    }

    #[test]
    fn partitions_that_are_gone_take_their_keys_along() {
        let mut parked = ParkedIndex::default();
        parked.adopt(partition(0), 1, [key("a", 0, 1, 1)]);
        parked.adopt(partition(1), 4, [key("b", 1, 1, 2)]);
        parked.forget(&[partition(0)]);
        assert_eq!((parked.epoch(&partition(0)), parked.epoch(&partition(1))), (None, Some(4)));
        assert_eq!((parked.is_parked(&place("a")), parked.take_due(at(9), 9)), (false, vec![place("b")]));
    }

    #[test]
    fn a_partition_taken_over_again_has_what_the_database_says() {
        let mut parked = ParkedIndex::default();
        parked.adopt(partition(0), 1, [key("a", 0, 2, 1), key("b", 0, 1, 1)]);
        parked.take_due(at(1), 9);
        parked.adopt(partition(0), 2, [key("a", 0, 1, 5)]);
        assert_eq!((parked.count(&place("a")), parked.is_parked(&place("b")), parked.next_due()), (1, false, Some(at(5))));
        assert_eq!(parked.loaded(&place("a"), 2), None, "what was taken before is void");
    }

    #[test]
    fn an_audit_puts_right_what_others_have_changed() {
        let mut parked = ParkedIndex::default();
        parked.adopt(partition(0), 1, [key("held", 0, 1, HELD.as_millis()), key("gone", 0, 1, 50), key("known", 0, 2, 50)]);
        parked.begin_audit();
        let found = vec![key("held", 0, 1, 7), key("known", 0, 2, 50), key("new", 0, 1, 7), key("another's", 1, 1, 7)];
        assert!(parked.end_audit(found.clone(), at(10)));
        assert_eq!(parked.take_due(at(10), 9), [place("held"), place("new")]);
        assert!(!parked.is_parked(&place("gone")) && !parked.is_parked(&place("another's")));
        parked.begin_audit();
        assert!(!parked.end_audit(found, at(10)), "what is being tried is left alone");
    }

    /// A dead letter was retried behind a parked message of its key, by another process or before the partition was adopted.
    #[test]
    fn an_audit_finds_what_was_parked_behind_a_known_message() {
        let mut parked = ParkedIndex::default();
        parked.adopt(partition(0), 1, [key("a", 0, 1, 20)]);
        parked.put_off(&place("a"), at(30));
        parked.begin_audit();
        assert!(!parked.end_audit(vec![key("a", 0, 2, 20)], at(10)), "the first message is due as before");
        assert_eq!((parked.count(&place("a")), parked.is_put_off(&place("a"), at(29))), (2, true));
        assert_eq!(parked.take_due(at(30), 9), [place("a")]);
        parked.settled(&place("a"), 1, None, at(30));
        assert!(parked.is_parked(&place("a")), "the second message is not done");
        assert_eq!(parked.take_due(at(30), 9), [place("a")]);
        parked.settled(&place("a"), 1, None, at(30));
        assert!(!parked.is_parked(&place("a")));
    }

    #[test]
    fn a_key_is_parked_until_the_last_message_that_was_read_is_done() {
        let mut parked = ParkedIndex::default();
        parked.park(place("a"), 0, 1, at(10));
        parked.take_due(at(10), 9);
        parked.loaded(&place("a"), 2).expect("it runs");
        parked.settled(&place("a"), 1, None, at(10));
        assert!(parked.is_parked(&place("a")), "the second message is not done");
        parked.settled(&place("a"), 1, None, at(10));
        assert!(!parked.is_parked(&place("a")));
    }

    #[test]
    fn an_audit_leaves_alone_what_changes_meanwhile() {
        let mut parked = ParkedIndex::default();
        parked.adopt(partition(0), 1, [key("done", 0, 1, 5), key("parked", 0, 1, 90)]);
        parked.take_due(at(5), 9);
        parked.begin_audit();
        parked.settled(&place("done"), 1, None, at(6));
        parked.park(place("new"), 0, 1, at(80));
        parked.put_off(&place("parked"), at(95));
        assert!(!parked.end_audit(vec![key("done", 0, 1, 5), key("parked", 0, 1, 6)], at(10)));
        assert!(!parked.is_parked(&place("done")) && parked.is_parked(&place("new")));
        parked.begin_audit();
        assert!(!parked.end_audit(vec![key("parked", 0, 1, 6), key("new", 0, 1, 80)], at(10)), "it was put off here");
        parked.begin_audit();
        parked.forget(&[partition(5)]);
        assert!(!parked.end_audit(vec![key("late", 0, 1, 5)], at(10)), "the read was of before");
    }

    /// Partitions were added, and a key has messages in the old partition and in the new one.
    #[test]
    fn the_owner_of_a_new_partition_waits_for_the_owner_of_the_old_one() {
        let mut parked = ParkedIndex::default();
        parked.set_partitions("orders", 6, false);
        parked.adopt(partition(9), 1, [key("a", 2, 1, 5)]);
        assert!(!parked.is_parked(&place("a")), "it is another's");
        parked.set_partitions("orders", 12, true);
        assert!(parked.has_moved("orders") && !parked.has_moved("payments"));
        parked.park(place("a"), 9, 1, at(6));
        assert_eq!(parked.take_due(at(6), 9), [place("a")]);
        parked.behind(&place("a"), 2);
        assert_eq!((parked.take_due(at(99), 9), parked.is_parked(&place("a"))), (vec![], true));
        parked.begin_audit();
        assert!(parked.end_audit(vec![key("a", 2, 2, 50)], at(10)), "it counts what waits in all");
        assert_eq!((parked.count(&place("a")), parked.next_due()), (2, None));
        parked.begin_audit();
        assert!(!parked.end_audit(vec![key("a", 2, 2, 60)], at(10)));
        parked.begin_audit();
        assert!(parked.end_audit(vec![key("a", 9, 1, 6)], at(70)), "the other is done");
        assert_eq!(parked.take_due(at(70), 9), [place("a")]);
    }

    /// A topic was recreated with fewer partitions. What is parked for a partition that no longer exists still has an owner.
    #[test]
    fn what_is_parked_of_a_partition_that_is_gone_has_a_guardian() {
        let mut parked = ParkedIndex::default();
        parked.set_partitions("orders", 6, true);
        for (number, guardian) in [(0, 0), (5, 5), (6, 0), (9, 3), (11, 5), (-1, -1)] {
            assert_eq!(parked.guardian("orders", number), partition(guardian), "{number}");
        }
        assert_eq!(parked.guardian("unknown", 9), TopicPartition::new("unknown", 9));
        parked.adopt(partition(3), 1, [key("a", 9, 1, 5), key("b", 8, 1, 5)]);
        assert_eq!(parked.take_due(at(5), 9), [place("a")]);
        parked.settled(&place("a"), 1, None, at(5));
        parked.begin_audit();
        assert!(parked.end_audit(vec![key("c", 9, 1, 5), key("b", 8, 1, 5)], at(6)));
        assert!(parked.is_parked(&place("c")) && !parked.is_parked(&place("b")));
        parked.forget(&[partition(3)]);
        assert_eq!(parked.totals(), (0, 0));
    }
}
