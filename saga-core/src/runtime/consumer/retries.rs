//! Parked messages come back when their key is due.

use super::Consumer;
use crate::{
    engine::{flow::Reason, parking::Place},
    message::TopicPartition,
    runtime::{
        conditions::Severity,
        item::Item,
        parked::{self, Loaded},
    },
    store::ParkedMessage,
};

/// The condition that too many keys have parked messages.
const TOO_MANY_KEYS: &str = "parked_keys_full";

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
            let owner = |message: &ParkedMessage| {
                self.partitions.get(&TopicPartition::new(place.topic.clone(), message.received.partition))
            };
            let Some(owned) = messages.first().and_then(owner) else {
                // Settled by somebody else, or another member's by now.
                let mut lot = self.core.lot();
                let count = lot.count(&place);
                lot.settled(&place, count, None, now);
                continue;
            };
            if !owned.is_open() {
                // The run stays open, so that nothing of the key passes, until the partition is given up or taken over again.
                continue;
            }
            let epoch = owned.epoch;
            let Some(run) = self.core.lot().loaded(&place, messages.len()) else { continue };
            for message in messages {
                let item = Item::parked(&self.core, message, epoch, run);
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
