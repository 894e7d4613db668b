//! Parked messages come back when their key is due.

use super::Consumer;
use crate::{
    engine::{flow::Reason, parking::Place},
    message::TopicPartition,
    runtime::{
        item::Item,
        parked::{self, Loaded},
    },
    store::ParkedMessage,
};

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

    /// Pauses the partition of a key that has too many parked messages.
    pub(super) fn watch_parked(&mut self, partition: &TopicPartition, place: &Place) {
        if self.core.lot().count(place) >= self.core.settings.parked_per_key {
            self.flow.hold(partition, Reason::Parked);
            let full = (partition.clone(), place.clone());
            if !self.full_keys.contains(&full) {
                self.full_keys.push(full);
            }
        }
    }
}
