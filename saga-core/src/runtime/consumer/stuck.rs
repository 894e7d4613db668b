//! Messages that can be neither handled nor given up now: they stay in memory with their keys, so that their lane is free for others, and
//! are tried again after growing waits.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use bytes::Bytes;

use super::{Consumer, Fate, Finished, Item, Mode};
use crate::{
    message::TopicPartition,
    runtime::last::{MESSAGE_STUCK, subject},
    time::Timestamp,
};

/// The first wait, and the longest.
const WAIT: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// The messages that are left alone, by their keys.
#[derive(Default)]
pub(super) struct Stuck {
    waiting: HashMap<Bytes, (Timestamp, Mode, Vec<Item>)>,
    /// Of keys that were left alone and are not done: how often in a row, and which conditions tell of it.
    tries: HashMap<Bytes, (u32, Vec<String>)>,
}

impl Stuck {
    /// The keys of those among `items` that are left alone.
    pub(super) fn keys(items: &[Item], fates: &[Fate]) -> HashSet<Bytes> {
        let alone = items.iter().zip(fates).filter(|(_, fate)| **fate == Fate::LeftAlone);
        alone.map(|(item, _)| item.place.key.clone()).collect()
    }

    /// When the next one is tried.
    pub(super) fn next(&self) -> Option<Timestamp> {
        self.waiting.values().map(|(at, ..)| *at).min()
    }
}

impl Consumer {
    /// Keeps those of `finished` that are left alone, and gives the others.
    pub(super) fn leave_alone(&mut self, finished: Finished) -> Vec<Item> {
        let Finished { mode, items, fates, .. } = finished;
        if self.stuck.tries.is_empty() && !fates.contains(&Fate::LeftAlone) {
            return items;
        }
        let now = self.core.clock.now();
        let (mut done, mut left): (Vec<Item>, HashMap<Bytes, Vec<Item>>) = (Vec::new(), HashMap::new());
        for (item, fate) in items.into_iter().zip(fates) {
            let known = self.partitions.get(&item.partition()).is_some_and(|owned| owned.epoch == item.epoch);
            match fate {
                Fate::LeftAlone if known => left.entry(item.place.key.clone()).or_default().push(item),
                _ => done.push(item),
            }
        }
        // Those that were left alone before, and are done, or another's.
        for key in done.iter().map(|item| &item.place.key).filter(|key| !left.contains_key(*key)).cloned().collect::<HashSet<_>>()
        {
            self.no_longer_stuck(&key, now);
            self.schedule.finish(&key);
        }
        for (key, items) in left {
            let (tries, subjects) = self.stuck.tries.entry(key.clone()).or_default();
            let wait = WAIT.0.saturating_mul(1 << (*tries).min(10)).min(WAIT.1);
            (*tries, *subjects) = (tries.saturating_add(1), items.iter().map(subject).collect());
            self.stuck.waiting.insert(key, (now.after(wait), mode, items));
        }
        done
    }

    /// Tries those whose time has come, as far as there are lanes for them.
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
                Mode::Held => (&mut self.held_running, self.core.settings.lanes),
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

    /// Gives back those of `partitions` that are left alone.
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

    /// Leaves all of them to the next delivery.
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
