//! Which messages run next: one at a time for each key, several keys in parallel.
//!
//! Messages queue under their key. A key with a running message is busy, and its other messages wait. The first message of each key that is
//! not busy can run; the key that has waited longest is first. Unlike with a fixed lane for each hash of a key, no key waits for another
//! one that happens to share its lane.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;

/// How a message runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// In a transaction that it shares with other messages.
    InTransaction,
    /// In parallel with others, in a transaction that its handler begins later.
    Detached,
}

/// The messages that wait or run, by key. `T` is what the runtime needs to run one.
#[derive(Debug)]
pub struct Schedule<T> {
    keys: HashMap<Bytes, Key<T>>,
    held: VecDeque<Bytes>,
    detached: VecDeque<Bytes>,
    waiting: usize,
}

#[derive(Debug)]
struct Key<T> {
    queue: VecDeque<(Mode, T)>,
    busy: bool,
}

impl<T> Default for Schedule<T> {
    fn default() -> Self {
        Self { keys: HashMap::new(), held: VecDeque::new(), detached: VecDeque::new(), waiting: 0 }
    }
}

impl<T> Schedule<T> {
    /// Adds a message to the end of its key's queue.
    pub fn push(&mut self, key: Bytes, mode: Mode, item: T) {
        self.waiting += 1;
        let entry = self.keys.entry(key.clone()).or_insert_with(|| Key { queue: VecDeque::new(), busy: false });
        entry.queue.push_back((mode, item));
        if !entry.busy && entry.queue.len() == 1 {
            self.ready(key, mode);
        }
    }

    /// Takes at most `most` messages that can share a transaction, in the order in which they run, and makes their keys busy.
    ///
    /// The messages of a key are taken together, up to the first that is not [`Mode::InTransaction`].
    ///
    /// The keys that have waited longest are taken, and run in the order of their bytes. Transactions that lock one row for each key, in
    /// other lanes and other processes, then lock the rows that they share in the same order, so they cannot deadlock.
    pub fn take_batch(&mut self, most: usize) -> Vec<T> {
        let (mut keys, mut count) = (Vec::new(), 0);
        while count < most
            && let Some(key) = self.held.pop_front()
        {
            let Some(entry) = self.keys.get_mut(&key) else { continue };
            entry.busy = true;
            let mut items = Vec::new();
            while count < most
                && let Some((_, item)) = entry.queue.pop_front_if(|(mode, _)| *mode == Mode::InTransaction)
            {
                items.push(item);
                count += 1;
            }
            keys.push((key, items));
        }
        self.waiting -= count;
        keys.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        keys.into_iter().flat_map(|(_, items)| items).collect()
    }

    /// Takes the next message that runs detached, and makes its key busy.
    pub fn take_detached(&mut self) -> Option<T> {
        let key = self.detached.pop_front()?;
        let entry = self.keys.get_mut(&key)?;
        entry.busy = true;
        self.waiting -= 1;
        entry.queue.pop_front().map(|(_, item)| item)
    }

    /// Records that the messages taken from `key` are done, so that its next message can run.
    pub fn finish(&mut self, key: &Bytes) {
        let Some(entry) = self.keys.get_mut(key) else { return };
        if !std::mem::take(&mut entry.busy) {
            return;
        }
        match entry.queue.front() {
            Some((mode, _)) => {
                let mode = *mode;
                self.ready(key.clone(), mode);
            }
            None => {
                self.keys.remove(key);
            }
        }
    }

    /// Removes and returns the waiting messages for which `keep` is false. Running messages are not affected.
    pub fn drop_waiting(&mut self, mut keep: impl FnMut(&T) -> bool) -> Vec<T> {
        let mut dropped = Vec::new();
        for entry in self.keys.values_mut() {
            let (kept, gone): (VecDeque<_>, VecDeque<_>) = entry.queue.drain(..).partition(|(_, item)| keep(item));
            entry.queue = kept;
            dropped.extend(gone.into_iter().map(|(_, item)| item));
        }
        self.waiting -= dropped.len();
        self.keys.retain(|_, entry| entry.busy || !entry.queue.is_empty());
        let heads = |mode| {
            let keys = &self.keys;
            move |key: &Bytes| keys.get(key).is_some_and(|entry| entry.queue.front().is_some_and(|(head, _)| *head == mode))
        };
        // After its first message was dropped, a key may be ready in the other mode.
        let moved: Vec<Bytes> = self.held.iter().chain(&self.detached).cloned().collect();
        let (held, detached) = (heads(Mode::InTransaction), heads(Mode::Detached));
        let queues = (
            moved.iter().filter(|key| held(key)).cloned().collect(),
            moved.iter().filter(|key| detached(key)).cloned().collect(),
        );
        (self.held, self.detached) = queues;
        dropped
    }

    fn ready(&mut self, key: Bytes, mode: Mode) {
        match mode {
            Mode::InTransaction => self.held.push_back(key),
            Mode::Detached => self.detached.push_back(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn key(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    #[test]
    fn a_busy_key_waits_and_others_go_on() {
        let mut schedule = Schedule::default();
        schedule.push(key("a"), Mode::InTransaction, 1);
        assert_eq!(schedule.take_batch(10), [1]);
        schedule.push(key("a"), Mode::InTransaction, 2);
        schedule.push(key("b"), Mode::InTransaction, 3);
        assert_eq!(schedule.take_batch(10), [3]);
        schedule.finish(&key("a"));
        assert_eq!(schedule.take_batch(10), [2]);
        schedule.finish(&key("a"));
        schedule.finish(&key("b"));
        assert!(schedule.keys.is_empty());
    }

    #[test]
    fn the_keys_of_a_transaction_come_in_one_order() {
        let mut schedule = Schedule::default();
        for (item, name) in ["c", "a", "b", "a", "d"].into_iter().enumerate() {
            schedule.push(key(name), Mode::InTransaction, item);
        }
        // `d` has waited least.
        assert_eq!(schedule.take_batch(4), [1, 3, 2, 0]);
        assert_eq!(schedule.take_batch(4), [4]);
    }

    #[test]
    fn a_key_changes_between_the_modes_in_order() {
        let mut schedule = Schedule::default();
        schedule.push(key("a"), Mode::InTransaction, 1);
        schedule.push(key("a"), Mode::Detached, 2);
        schedule.push(key("a"), Mode::InTransaction, 3);
        assert_eq!(schedule.take_detached(), None);
        assert_eq!(schedule.take_batch(10), [1]);
        assert_eq!(schedule.take_detached(), None);
        schedule.finish(&key("a"));
        assert_eq!((schedule.take_batch(10), schedule.take_detached()), (vec![], Some(2)));
        assert!(schedule.take_batch(10).is_empty());
        schedule.finish(&key("a"));
        assert_eq!(schedule.take_batch(10), [3]);
    }

    #[test]
    fn a_full_batch_leaves_the_rest_of_its_key() {
        let mut schedule = Schedule::default();
        (0..5).for_each(|item| schedule.push(key("a"), Mode::InTransaction, item));
        assert_eq!(schedule.take_batch(3), [0, 1, 2]);
        assert!(schedule.take_batch(3).is_empty());
        schedule.finish(&key("a"));
        assert_eq!(schedule.take_batch(3), [3, 4]);
    }

    #[test]
    fn dropping_the_head_lets_the_next_run() {
        let mut schedule = Schedule::default();
        schedule.push(key("a"), Mode::InTransaction, 1);
        schedule.push(key("a"), Mode::Detached, 2);
        assert_eq!(schedule.drop_waiting(|item| *item != 1), [1]);
        assert!(schedule.take_batch(1).is_empty());
        assert_eq!(schedule.take_detached(), Some(2));
    }

    proptest! {
        /// For any order of pushes, takes and finishes: each message is taken once, messages of a key in the order of their pushes, and
        /// never while another message of the key runs.
        #[test]
        fn nothing_is_lost_doubled_or_reordered(steps in proptest::collection::vec((0_u8..5, 0_u8..6, any::<bool>()), 1..300)) {
            let mut schedule = Schedule::default();
            let (mut pushed, mut seen) = (0_u32, HashMap::<Bytes, Vec<u32>>::new());
            let mut running: Vec<(Bytes, u32)> = Vec::new();
            let mut expected = HashMap::<Bytes, Vec<u32>>::new();
            let mut take = |schedule: &mut Schedule<(Bytes, u32)>, running: &mut Vec<(Bytes, u32)>, detached: bool| {
                let taken = if detached { schedule.take_detached().into_iter().collect() } else { schedule.take_batch(4) };
                let busy: Vec<Bytes> = running.iter().map(|(key, _)| key.clone()).collect();
                for (key, number) in taken {
                    assert!(!busy.contains(&key));
                    seen.entry(key.clone()).or_default().push(number);
                    running.push((key, number));
                }
            };
            for (what, which, flag) in steps {
                match what {
                    0 | 1 => {
                        let key = Bytes::from(vec![which]);
                        schedule.push(key.clone(), if flag { Mode::InTransaction } else { Mode::Detached }, (key.clone(), pushed));
                        expected.entry(key).or_default().push(pushed);
                        pushed += 1;
                    }
                    2 => take(&mut schedule, &mut running, flag),
                    _ => if !running.is_empty() {
                        let (key, _) = running[usize::from(which) % running.len()].clone();
                        running.retain(|(other, _)| *other != key);
                        schedule.finish(&key);
                    },
                }
            }
            while !schedule.keys.is_empty() {
                for (key, _) in std::mem::take(&mut running) { schedule.finish(&key); }
                take(&mut schedule, &mut running, false);
                take(&mut schedule, &mut running, true);
            }
            prop_assert_eq!(schedule.waiting, 0);
            prop_assert_eq!(seen, expected);
        }
    }
}
