//! The keys whose messages wait for another attempt.
//!
//! A message that failed is parked in the database, and its key with it: later messages of the key queue behind it, so the
//! order of the key is kept while other keys go on. This is the index of what is parked; the messages themselves stay in the
//! database.

use std::collections::{BTreeSet, HashMap};

use bytes::Bytes;

use crate::time::Timestamp;

/// What is parked under: a topic and a key.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The topic.
    pub topic: String,
    /// The key, as bytes.
    pub key: Bytes,
}

/// The due time of a key that waits for a person, not for a time.
pub const HELD: Timestamp = Timestamp::from_millis(i64::MAX);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Queue {
    count: usize,
    due: Timestamp,
    partition: i32,
    run: Option<Run>,
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
        let timeline = &mut self.timeline;
        let queue = self.queues.entry(place.clone()).or_insert_with(|| {
            timeline.insert((due, place));
            Queue { count: 0, due, partition, run: None }
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
        (queue.run, queue.due) = (None, failed.unwrap_or(now));
        self.timeline.insert((queue.due, place.clone()));
    }

    /// Takes note that `count` messages are parked at `place`, whatever was known before, and that the first is due at `due`. It
    /// ends the run.
    pub fn correct(&mut self, place: &Place, partition: i32, count: usize, due: Timestamp) {
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

    /// How many keys and messages are parked.
    pub fn totals(&self) -> (usize, usize) {
        (self.queues.len(), self.queues.values().map(|queue| queue.count).sum())
    }

    /// Forgets what is parked of partitions for which `keep` is false.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, i32) -> bool) {
        self.queues.retain(|place, queue| keep(&place.topic, queue.partition));
        self.timeline.retain(|(_, place)| self.queues.contains_key(place));
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

    #[test]
    fn partitions_that_are_gone_take_their_keys_along() {
        let mut lot = ParkingLot::default();
        lot.park(place("a"), 0, 1, at(1));
        lot.park(place("b"), 1, 1, at(2));
        lot.retain(|_, partition| partition != 0);
        assert_eq!((lot.is_parked(&place("a")), lot.take_due(at(9), 9)), (false, vec![place("b")]));
    }
}
