//! Parked messages come back when their key is due.

use std::time::Duration;

use super::{Consumer, Stage};
use crate::{
    engine::{flow::Reason, parking::Place},
    message::TopicPartition,
    runtime::{
        conditions::Severity,
        item::Item,
        parked::{self, Loaded},
    },
};

/// The condition that too many keys have parked messages.
pub(super) const TOO_MANY_KEYS: &str = "parked_keys_full";

/// How long a key waits whose partition is just being set to its oldest record.
const SKIPPING: Duration = Duration::from_secs(1);

impl Consumer {
    /// Whether parked messages may be read: those in memory are bounded like the fresh ones, apart from them, so that neither
    /// keeps the other out.
    pub(super) fn has_room_for_parked(&self) -> bool {
        self.loads.is_empty() && self.parked_bytes < self.core.settings.queue_bytes
    }

    pub(super) fn load_due(&mut self) {
        const KEYS: usize = 64;
        let due = self.core.lot().take_due(self.core.clock.now(), KEYS);
        if !due.is_empty() {
            let (core, room) = (self.core.clone(), self.core.settings.queue_bytes.saturating_sub(self.parked_bytes));
            self.loads.spawn(async move { parked::load(&core, due, room).await });
        }
    }

    pub(super) fn enqueue_parked(&mut self, loaded: Vec<Loaded>) {
        let now = self.core.clock.now();
        for (place, messages) in loaded {
            let messages = match messages {
                Ok(messages) => messages,
                Err(again) => {
                    self.core.lot().put_off(&place, again);
                    continue;
                }
            };
            let Some(head) = messages.first().map(|message| message.received.partition) else {
                // Settled by another.
                let mut lot = self.core.lot();
                let count = lot.count(&place);
                lot.settled(&place, count, None, now);
                continue;
            };
            let owners: Vec<_> = {
                let lot = self.core.lot();
                messages.iter().map(|message| lot.guardian(&place.topic, message.received.partition)).collect()
            };
            let open =
                |owner: &TopicPartition| self.partitions.get(owner).filter(|owned| owned.is_open()).map(|owned| owned.epoch);
            let ready: Vec<_> = owners.iter().map_while(|owner| Some((owner.partition, open(owner)?))).collect();
            if ready.is_empty() {
                let mut lot = self.core.lot();
                if self.partitions.get(&owners[0]).is_some_and(|owned| owned.stage == Stage::Skipping) {
                    lot.put_off(&place, now.after(SKIPPING));
                } else if self.partitions.contains_key(&owners[0]) {
                    // The run stays open, so that nothing of the key passes, until the partition is given up or taken over again.
                    lot.head(&place, head);
                } else if owners.iter().any(|owner| self.partitions.contains_key(owner)) {
                    lot.behind(&place, head);
                } else {
                    // Another member's by now.
                    let count = lot.count(&place);
                    lot.settled(&place, count, None, now);
                }
                continue;
            }
            // Each is tried by the owner of its partition: what follows on the first that is not ours waits until that one is done.
            let Some(run) = self.core.lot().loaded(&place, ready.len()) else { continue };
            for (message, owner) in messages.into_iter().zip(ready) {
                let item = Item::parked(&self.core, message, owner, run);
                self.parked_bytes += item.received.record.size();
                let mode = item.mode(&self.core);
                self.schedule.push(place.key.clone(), mode, item);
            }
        }
        self.core.moved();
    }

    /// Pauses the partition of a key that has too many parked messages, and all partitions where too many keys have some.
    pub(super) fn watch_parked(&mut self, partition: &TopicPartition, place: &Place) {
        let (keys, count) = {
            let lot = self.core.lot();
            (lot.keys(), lot.count(place))
        };
        if count >= self.core.settings.parked_per_key {
            self.flow.hold(partition, Reason::Parked);
            let full = (partition.clone(), place.clone());
            if !self.full_keys.contains(&full) {
                self.full_keys.push(full);
            }
        }
        if keys >= self.core.settings.parked_keys {
            self.too_many_keys(keys);
        }
    }

    fn too_many_keys(&mut self, keys: usize) {
        self.partitions.keys().for_each(|partition| self.flow.hold(partition, Reason::Parked));
        if std::mem::replace(&mut self.lot_full, true) {
            return;
        }
        let detail = format!(
            "{keys} keys have parked messages (setting `parked_keys`): nothing is read until half of them are free; see to what \
             handlers fail at, and to dead letters that hold their keys"
        );
        self.core.conditions.raise(TOO_MANY_KEYS, "", Severity::Warning, detail, self.core.clock.now());
    }

    /// Lets partitions go on that were paused for what is parked, where that is done.
    pub(super) fn free_parked(&mut self) {
        if !self.lot_full && self.full_keys.is_empty() {
            return;
        }
        let (per_key, keys) = (self.core.settings.parked_per_key, self.core.settings.parked_keys);
        let lot = self.core.lot();
        self.full_keys.retain(|(_, place)| lot.count(place) > per_key / 2);
        let full = lot.keys() > keys / 2;
        drop(lot);
        if self.lot_full && !full {
            self.lot_full = false;
            self.core.conditions.clear(TOO_MANY_KEYS, "", self.core.clock.now());
        }
        if self.lot_full {
            return;
        }
        let full = &self.full_keys;
        for partition in self.partitions.keys().filter(|at| !full.iter().any(|(held, _)| held == *at)) {
            self.flow.free(partition, Reason::Parked);
        }
    }
}
