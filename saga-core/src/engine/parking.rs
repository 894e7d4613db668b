//! The keys whose messages wait for another attempt.
//!
//! A message that failed is parked in the database, and its key with it: later messages of the key queue behind it, so the
//! order of the key is kept while other keys go on. This is the index of what is parked in the partitions that this member owns;
//! the messages themselves stay in the database.
//!
//! Others write to the database too: another member retries a dead letter, say. So the index is compared with it now and then
//! ([`ParkingLot::begin_audit`]).
//!
//! A key is of one partition only as long as its topic keeps its number of partitions. Where that has changed, messages of a key may
//! be parked of several. They stay one queue, in the order in which they were parked, and each is tried by the owner of its
//! partition: one behind the head of another owner waits for that owner ([`ParkingLot::behind`]). What is parked of a partition that
//! is not there any more is its guardian's ([`ParkingLot::guardian`]).

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;

use crate::{message::TopicPartition, time::Timestamp};

/// What is parked under: a topic and a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The key, as bytes.
    pub key: Bytes,
}

/// The due time of a key that waits for a person, not for a time.
pub const HELD: Timestamp = Timestamp::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queue {
    count: usize,
    due: Timestamp,
    partition: i32,
    run: Option<Run>,
    /// Due later than the database says, for a reason of this process.
    put_off: bool,
}

/// Messages of one key that were taken to be tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    number: RunNumber,
    /// How many of them are not settled; `None` until they are read.
    left: Option<usize>,
}

/// Which run a message was taken for. When a message of a run fails, the rest of it is void.
pub type RunNumber = u64;

/// The parked keys of a service, as far as their partitions are this member's.
#[derive(Debug, Default)]
pub struct ParkingLot {
    queues: HashMap<Place, Queue>,
    timeline: BTreeSet<(Timestamp, Place)>,
    runs: RunNumber,
    /// The partitions whose keys these are, and under which epoch.
    owned: HashMap<TopicPartition, i64>,
    /// How many partitions topics have, as far as that is known.
    partitions: HashMap<String, i32>,
    /// Topics whose number of partitions has changed.
    moved: HashSet<String>,
    /// While the index is compared with the database: what has changed here meanwhile.
    audit: Option<HashSet<Place>>,
}

/// A parked key, as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parked {
    /// The key.
    pub place: Place,
    /// The partition of its first message.
    pub partition: i32,
    /// How many messages wait.
    pub count: usize,
    /// When the first is due.
    pub due: Timestamp,
}

impl ParkingLot {
    /// Whether messages of `place` have to queue.
    pub fn is_parked(&self, place: &Place) -> bool {
        self.queues.contains_key(place)
    }

    /// Takes note of `count` more messages parked at `place`. If they are its first, the head of the queue is due at `due`.
    pub fn park(&mut self, place: Place, partition: i32, count: usize, due: Timestamp) {
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

    /// Takes at most `most` places whose head is due at `now`. They run until [`loaded`](Self::loaded) and
    /// [`settled`](Self::settled) say what became of them.
    pub fn take_due(&mut self, now: Timestamp, most: usize) -> Vec<Place> {
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

    /// Takes note that the first `messages` of `place` were read and are about to be tried; `None` when they are not wanted.
    pub fn loaded(&mut self, place: &Place, messages: usize) -> Option<RunNumber> {
        let run = self.queues.get_mut(place)?.run.as_mut()?;
        run.left = Some(messages);
        Some(run.number)
    }

    /// Whether a message taken for `run` may still be tried.
    pub fn is_current(&self, place: &Place, run: RunNumber) -> bool {
        self.queues.get(place).and_then(|queue| queue.run).is_some_and(|current| current.number == run)
    }

    /// Takes note that the first `done` messages of `place` were finished. With `failed`, the next one failed and is due then,
    /// and the run ends; else the run goes on with what is left of it, and after it the new head is due at `now`.
    pub fn settled(&mut self, place: &Place, done: usize, failed: Option<Timestamp>, now: Timestamp) {
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

    /// Takes note that `place` is left alone until `due`, whatever the database says.
    pub fn put_off(&mut self, place: &Place, due: Timestamp) {
        self.settled(place, 0, Some(due), due);
        if let Some(queue) = self.queues.get_mut(place) {
            queue.put_off = true;
        }
    }

    /// Takes note that `count` messages are parked at `place`, whatever was known before, and that the first is due at `due`. It
    /// ends the run.
    pub fn correct(&mut self, place: &Place, partition: i32, count: usize, due: Timestamp) {
        self.touch(place);
        if let Some(queue) = self.queues.remove(place) {
            self.timeline.remove(&(queue.due, place.clone()));
        }
        self.park(place.clone(), partition, count, due);
    }

    /// When the next head is due; `None` when none waits for a time.
    pub fn next_due(&self) -> Option<Timestamp> {
        self.timeline.first().map(|(due, _)| *due).filter(|due| *due < HELD)
    }

    /// Whether a head is running, or could run at `now`.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.queues.values().any(|queue| queue.run.is_some()) || self.next_due().is_some_and(|due| due <= now)
    }

    /// How many messages are parked at `place`.
    pub fn count(&self, place: &Place) -> usize {
        self.queues.get(place).map_or(0, |queue| queue.count)
    }

    /// The places that are parked, in no order.
    pub fn places(&self) -> impl Iterator<Item = &Place> {
        self.queues.keys()
    }

    /// How many keys are parked.
    pub fn keys(&self) -> usize {
        self.queues.len()
    }

    /// How many keys and messages are parked.
    pub fn totals(&self) -> (usize, usize) {
        (self.queues.len(), self.queues.values().map(|queue| queue.count).sum())
    }

    /// Takes `partition` over under `epoch`, with those of `keys` whose first message is of it. What was known of it before is
    /// forgotten.
    pub fn adopt(&mut self, partition: TopicPartition, epoch: i64, keys: impl IntoIterator<Item = Parked>) {
        self.forget(std::slice::from_ref(&partition));
        for key in keys {
            if self.guardian(&key.place.topic, key.partition) == partition {
                self.correct(&key.place, key.partition, key.count, key.due);
            }
        }
        self.owned.insert(partition, epoch);
    }

    /// Notes that `topic` has `count` partitions, and whether it has had another number.
    pub fn set_partitions(&mut self, topic: &str, count: i32, moved: bool) {
        self.partitions.insert(topic.to_owned(), count);
        if moved {
            self.moved.insert(topic.to_owned());
        }
    }

    /// How many partitions `topic` has, if that is known.
    pub fn partitions(&self, topic: &str) -> Option<i32> {
        self.partitions.get(topic).copied()
    }

    /// Whether messages of a key of `topic` may be parked of several partitions: then this index alone, which is of owned partitions,
    /// does not say whether a key is parked.
    pub fn has_moved(&self, topic: &str) -> bool {
        self.moved.contains(topic)
    }

    /// The partition whose owner answers for what is parked of `partition`: that one, or another where it is not there any more.
    pub fn guardian(&self, topic: &str, partition: i32) -> TopicPartition {
        let number = match self.partitions.get(topic) {
            Some(count) if *count > 0 && partition >= *count => partition % count,
            _ => partition,
        };
        TopicPartition::new(topic, number)
    }

    /// Notes that the first message parked at `place` is of `partition`.
    pub fn head(&mut self, place: &Place, partition: i32) {
        if let Some(queue) = self.queues.get_mut(place) {
            queue.partition = partition;
        }
    }

    /// Notes that the first message parked at `place` is of `partition`, which is another's: what waits behind it here waits for that.
    pub fn behind(&mut self, place: &Place, partition: i32) {
        let count = self.count(place);
        self.correct(place, partition, count, HELD);
    }

    /// Forgets partitions that are another's now, and what is parked of them.
    pub fn forget(&mut self, partitions: &[TopicPartition]) {
        self.audit = None;
        for partition in partitions {
            self.owned.remove(partition);
        }
        let of = |place: &Place, queue: &Queue| partitions.contains(&self.guardian(&place.topic, queue.partition));
        let gone: Vec<_> = self.queues.iter().filter(|(place, queue)| of(place, queue)).map(|(place, _)| place.clone()).collect();
        for place in &gone {
            self.queues.remove(place);
        }
        self.timeline.retain(|(_, place)| self.queues.contains_key(place));
    }

    /// Forgets all partitions, and what is parked of them.
    pub fn forget_all(&mut self) {
        let owned: Vec<_> = self.owned.keys().cloned().collect();
        self.forget(&owned);
        self.queues.clear();
        self.timeline.clear();
    }

    /// The epoch under which `partition` is owned, if it is.
    pub fn epoch(&self, partition: &TopicPartition) -> Option<i64> {
        self.owned.get(partition).copied()
    }

    /// Begins to compare the index with the database. Between this and [`end_audit`](Self::end_audit) the parked keys are read.
    pub fn begin_audit(&mut self) {
        self.audit = Some(HashSet::new());
    }

    /// Puts right, by all `keys` that the database has, what others have changed there: keys that came, are due earlier, or are
    /// gone. Says whether there was something. What changed here meanwhile, or is being tried, is left alone.
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
            if !right && !touched.contains(&key.place) {
                wrong.push(key);
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

    fn touch(&mut self, place: &Place) {
        if let Some(touched) = &mut self.audit {
            touched.insert(place.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(key: &'static str) -> Place {
        Place { topic: "orders".into(), key: Bytes::from_static(key.as_bytes()) }
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn heads_come_due_in_the_order_of_their_times() {
        let mut lot = ParkingLot::default();
        lot.park(place("late"), 0, 1, at(20));
        lot.park(place("early"), 0, 1, at(10));
        assert_eq!(lot.next_due(), Some(at(10)));
        assert!(lot.take_due(at(9), 9).is_empty());
        assert_eq!(lot.take_due(at(20), 9), [place("early"), place("late")]);
        assert_eq!((lot.next_due(), lot.take_due(at(30), 9)), (None, vec![]));
    }

    #[test]
    fn a_key_is_parked_until_its_last_message_is_done() {
        let mut lot = ParkingLot::default();
        lot.park(place("a"), 0, 1, at(10));
        lot.park(place("a"), 0, 2, at(5));
        assert_eq!((lot.next_due(), lot.count(&place("a"))), (Some(at(10)), 3));
        assert_eq!(lot.take_due(at(10), 9), [place("a")]);
        lot.settled(&place("a"), 1, None, at(10));
        assert_eq!(lot.take_due(at(10), 9), [place("a")]);
        lot.settled(&place("a"), 2, None, at(10));
        assert!(!lot.is_parked(&place("a")));
        assert_eq!(lot.totals(), (0, 0));
    }

    #[test]
    fn a_failed_head_waits_for_its_new_time() {
        let mut lot = ParkingLot::default();
        lot.park(place("a"), 0, 2, at(10));
        lot.take_due(at(10), 9);
        lot.settled(&place("a"), 0, Some(at(40)), at(11));
        assert_eq!((lot.next_due(), lot.count(&place("a"))), (Some(at(40)), 2));
    }

    #[test]
    fn a_run_ends_with_its_last_message_or_its_first_failure() {
        let mut lot = ParkingLot::default();
        lot.park(place("a"), 0, 4, at(10));
        lot.take_due(at(10), 9);
        let first = lot.loaded(&place("a"), 3).expect("it runs");
        lot.settled(&place("a"), 1, None, at(11));
        assert!(lot.is_current(&place("a"), first));
        assert!(lot.take_due(at(99), 9).is_empty(), "what runs is not taken twice");
        lot.settled(&place("a"), 1, Some(at(20)), at(12));
        assert!(!lot.is_current(&place("a"), first), "what is left of the run is void");
        assert_eq!(lot.take_due(at(20), 9), [place("a")]);
        let second = lot.loaded(&place("a"), 2).expect("it runs");
        assert!(second > first);
        lot.settled(&place("a"), 2, None, at(21));
        assert!(!lot.is_parked(&place("a")));
    }

    #[test]
    fn what_is_known_can_be_put_right() {
        let mut lot = ParkingLot::default();
        lot.correct(&place("a"), 0, 2, at(10));
        assert_eq!((lot.next_due(), lot.count(&place("a"))), (Some(at(10)), 2));
        lot.take_due(at(10), 9);
        lot.correct(&place("a"), 0, 3, at(20));
        assert_eq!((lot.next_due(), lot.count(&place("a"))), (Some(at(20)), 3));
        lot.correct(&place("a"), 0, 0, at(0));
        assert_eq!((lot.next_due(), lot.totals()), (None, (0, 0)));
    }

    #[test]
    fn a_held_key_is_never_due() {
        let mut lot = ParkingLot::default();
        lot.park(place("a"), 0, 1, HELD);
        assert_eq!((lot.next_due(), lot.take_due(HELD, 9)), (None, vec![]));
        assert!(lot.is_parked(&place("a")));
        lot.settled(&place("a"), 0, Some(at(7)), at(1));
        assert_eq!(lot.take_due(at(7), 9), [place("a")]);
    }

    fn partition(number: i32) -> TopicPartition {
        TopicPartition::new("orders", number)
    }

    fn key(name: &'static str, partition: i32, count: usize, due: i64) -> Parked {
        Parked { place: place(name), partition, count, due: at(due) }
    }

    #[test]
    fn partitions_that_are_gone_take_their_keys_along() {
        let mut lot = ParkingLot::default();
        lot.adopt(partition(0), 1, [key("a", 0, 1, 1)]);
        lot.adopt(partition(1), 4, [key("b", 1, 1, 2)]);
        lot.forget(&[partition(0)]);
        assert_eq!((lot.epoch(&partition(0)), lot.epoch(&partition(1))), (None, Some(4)));
        assert_eq!((lot.is_parked(&place("a")), lot.take_due(at(9), 9)), (false, vec![place("b")]));
    }

    #[test]
    fn a_partition_taken_over_again_has_what_the_database_says() {
        let mut lot = ParkingLot::default();
        lot.adopt(partition(0), 1, [key("a", 0, 2, 1), key("b", 0, 1, 1)]);
        lot.take_due(at(1), 9);
        lot.adopt(partition(0), 2, [key("a", 0, 1, 5)]);
        assert_eq!((lot.count(&place("a")), lot.is_parked(&place("b")), lot.next_due()), (1, false, Some(at(5))));
        assert_eq!(lot.loaded(&place("a"), 2), None, "what was taken before is void");
    }

    #[test]
    fn an_audit_puts_right_what_others_have_changed() {
        let mut lot = ParkingLot::default();
        lot.adopt(partition(0), 1, [key("held", 0, 1, HELD.as_millis()), key("gone", 0, 1, 50), key("known", 0, 2, 50)]);
        lot.begin_audit();
        let found = vec![key("held", 0, 1, 7), key("known", 0, 2, 50), key("new", 0, 1, 7), key("another's", 1, 1, 7)];
        assert!(lot.end_audit(found.clone(), at(10)));
        assert_eq!(lot.take_due(at(10), 9), [place("held"), place("new")]);
        assert!(!lot.is_parked(&place("gone")) && !lot.is_parked(&place("another's")));
        lot.begin_audit();
        assert!(!lot.end_audit(found, at(10)), "what is being tried is left alone");
    }

    #[test]
    fn an_audit_leaves_alone_what_changes_meanwhile() {
        let mut lot = ParkingLot::default();
        lot.adopt(partition(0), 1, [key("done", 0, 1, 5), key("parked", 0, 1, 90)]);
        lot.take_due(at(5), 9);
        lot.begin_audit();
        lot.settled(&place("done"), 1, None, at(6));
        lot.park(place("new"), 0, 1, at(80));
        lot.put_off(&place("parked"), at(95));
        assert!(!lot.end_audit(vec![key("done", 0, 1, 5), key("parked", 0, 1, 6)], at(10)));
        assert!(!lot.is_parked(&place("done")) && lot.is_parked(&place("new")));
        lot.begin_audit();
        assert!(!lot.end_audit(vec![key("parked", 0, 1, 6), key("new", 0, 1, 80)], at(10)), "it was put off here");
        lot.begin_audit();
        lot.forget(&[partition(5)]);
        assert!(!lot.end_audit(vec![key("late", 0, 1, 5)], at(10)), "the read was of before");
    }

    /// Partitions were added, and a key has messages of the old one and of the new one.
    #[test]
    fn the_owner_of_a_new_partition_waits_for_the_owner_of_the_old_one() {
        let mut lot = ParkingLot::default();
        lot.set_partitions("orders", 6, false);
        lot.adopt(partition(9), 1, [key("a", 2, 1, 5)]);
        assert!(!lot.is_parked(&place("a")), "it is another's");
        lot.set_partitions("orders", 12, true);
        assert!(lot.has_moved("orders") && !lot.has_moved("payments"));
        lot.park(place("a"), 9, 1, at(6));
        assert_eq!(lot.take_due(at(6), 9), [place("a")]);
        lot.behind(&place("a"), 2);
        assert_eq!((lot.take_due(at(99), 9), lot.is_parked(&place("a"))), (vec![], true));
        lot.begin_audit();
        assert!(lot.end_audit(vec![key("a", 2, 2, 50)], at(10)), "it counts what waits in all");
        assert_eq!((lot.count(&place("a")), lot.next_due()), (2, None));
        lot.begin_audit();
        assert!(!lot.end_audit(vec![key("a", 2, 2, 60)], at(10)));
        lot.begin_audit();
        assert!(lot.end_audit(vec![key("a", 9, 1, 6)], at(70)), "the other is done");
        assert_eq!(lot.take_due(at(70), 9), [place("a")]);
    }

    /// A topic was recreated with fewer partitions: what is parked of one that is not there any more has an owner all the same.
    #[test]
    fn what_is_parked_of_a_partition_that_is_gone_has_a_guardian() {
        let mut lot = ParkingLot::default();
        lot.set_partitions("orders", 6, true);
        for (number, guardian) in [(0, 0), (5, 5), (6, 0), (9, 3), (11, 5), (-1, -1)] {
            assert_eq!(lot.guardian("orders", number), partition(guardian), "{number}");
        }
        assert_eq!(lot.guardian("unknown", 9), TopicPartition::new("unknown", 9));
        lot.adopt(partition(3), 1, [key("a", 9, 1, 5), key("b", 8, 1, 5)]);
        assert_eq!(lot.take_due(at(5), 9), [place("a")]);
        lot.settled(&place("a"), 1, None, at(5));
        lot.begin_audit();
        assert!(lot.end_audit(vec![key("c", 9, 1, 5), key("b", 8, 1, 5)], at(6)));
        assert!(lot.is_parked(&place("c")) && !lot.is_parked(&place("b")));
        lot.forget(&[partition(3)]);
        assert_eq!(lot.totals(), (0, 0));
    }
}
