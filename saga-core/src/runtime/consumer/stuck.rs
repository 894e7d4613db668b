//! Messages that can currently be neither handled nor given up. They stay in memory together with their keys, so that they occupy no lane,
//! and are tried again after increasing waits.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;

use super::{Consumer, Disposition, Finished, Item, Mode};
use crate::{
    message::TopicPartition,
    runtime::last::{MESSAGE_STUCK, subject},
    time::{Timestamp, doubling},
};

/// The first and the longest wait.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// The messages that are set aside, by key.
#[derive(Default)]
pub(super) struct Stuck {
    waiting: HashMap<Bytes, (Timestamp, Mode, Vec<Item>)>,
    /// For each key that was set aside and is not done: the number of consecutive tries, and the subjects of its conditions.
    tries: HashMap<Bytes, (u32, Vec<String>)>,
}

impl Stuck {
    /// The keys of those `items` that are set aside.
    pub(super) fn keys(items: &[Item], dispositions: &[Disposition]) -> HashSet<Bytes> {
        let alone = items.iter().zip(dispositions).filter(|(_, disposition)| **disposition == Disposition::SetAside);
        alone.map(|(item, _)| item.place.key.clone()).collect()
    }

    /// When the next of them is tried.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.waiting.values().map(|(at, ..)| *at).min()
    }
}

impl Consumer {
    /// Keeps the messages of `finished` that are set aside and returns the others.
    pub(super) fn leave_alone(&mut self, finished: Finished) -> Vec<Item> {
        let Finished { mode, items, dispositions, .. } = finished;
        if self.stuck.tries.is_empty() && !dispositions.contains(&Disposition::SetAside) {
            return items;
        }
        let now = self.core.clock.now();
        let (mut done, mut left): (Vec<Item>, HashMap<Bytes, Vec<Item>>) = (Vec::new(), HashMap::new());
        for (item, disposition) in items.into_iter().zip(dispositions) {
            let known = self.partitions.get(&item.partition()).is_some_and(|owned| owned.epoch == item.epoch);
            match disposition {
                Disposition::SetAside if known => left.entry(item.place.key.clone()).or_default().push(item),
                _ => done.push(item),
            }
        }
        // Keys that were set aside earlier and are now done, or belong to another process.
        for key in done.iter().map(|item| &item.place.key).filter(|key| !left.contains_key(*key)).cloned().collect::<HashSet<_>>()
        {
            self.no_longer_stuck(&key, now);
            self.schedule.finish(&key);
        }
        for (key, items) in left {
            let (tries, subjects) = self.stuck.tries.entry(key.clone()).or_default();
            let wait = doubling(WAIT.0, WAIT.1, *tries);
            (*tries, *subjects) = (tries.saturating_add(1), items.iter().map(|item| subject(&self.core, item)).collect());
            self.stuck.waiting.insert(key, (now.after(wait), mode, items));
        }
        done
    }

    /// Starts the messages whose wait is over, as far as lanes are free.
    pub(super) fn try_stuck(&mut self) {
        let now = self.core.clock.now();
        if self.stuck.next().is_none_or(|next| next > now) {
            return;
        }
        let due: Vec<_> = self
            .stuck
            .waiting
            .iter()
            .filter(|(_, (at, ..))| *at <= now)
            .map(|(key, (_, mode, _))| (key.clone(), *mode))
            .collect();
        for (key, mode) in due {
            let (running, most) = match mode {
                Mode::InTransaction => (&mut self.held_running, self.core.settings.lanes),
                Mode::Detached => (&mut self.detached_running, self.core.settings.concurrency),
            };
            match self.stuck.waiting.remove(&key) {
                Some((_, mode, items)) if *running < most => {
                    *running += 1;
                    self.start(mode, items);
                }
                Some((_, mode, items)) => {
                    self.stuck.waiting.insert(key, (now.after(WAIT.0), mode, items));
                }
                None => {}
            }
        }
    }

    /// Removes and returns the messages of `partitions` that are set aside.
    pub(super) fn drop_stuck(&mut self, partitions: &[TopicPartition]) -> Vec<Item> {
        let now = self.core.clock.now();
        let of = |item: &Item| partitions.contains(&item.partition());
        let keys: Vec<_> =
            self.stuck.waiting.iter().filter(|(_, (.., items))| items.iter().any(of)).map(|(key, _)| key.clone()).collect();
        let mut dropped = Vec::new();
        for key in keys {
            let Some((at, mode, items)) = self.stuck.waiting.remove(&key) else { continue };
            let (gone, left): (Vec<_>, Vec<_>) = items.into_iter().partition(of);
            dropped.extend(gone);
            if left.is_empty() {
                self.no_longer_stuck(&key, now);
                self.schedule.finish(&key);
            } else {
                self.stuck.waiting.insert(key, (at, mode, left));
            }
        }
        dropped
    }

    /// Forgets all of them. Their records are delivered again.
    pub(super) fn forget_stuck(&mut self) {
        let now = self.core.clock.now();
        let keys: Vec<_> = self.stuck.tries.keys().cloned().collect();
        keys.iter().for_each(|key| self.no_longer_stuck(key, now));
        self.stuck = Stuck::default();
    }

    fn no_longer_stuck(&mut self, key: &Bytes, now: Timestamp) {
        for subject in self.stuck.tries.remove(key).map(|(_, subjects)| subjects).into_iter().flatten() {
            self.core.conditions.clear(MESSAGE_STUCK, &subject, now);
        }
    }
}
