//! Loads parked messages when their key is due.

use std::time::Duration;

use super::{Consumer, Stage};
use crate::{
    engine::{backpressure::PauseReason, parking::TopicKey},
    message::TopicPartition,
    runtime::{
        conditions::Severity,
        item::Item,
        parked::{self, Loaded},
    },
};

/// The condition for too many keys with parked messages.
pub(super) const TOO_MANY_KEYS: &str = "parked_keys_full";

/// How long a key waits while its partition is being set to another offset.
const SKIPPING: Duration = Duration::from_secs(1);

impl Consumer {
    /// Whether parked messages can be loaded. Their memory has a limit of its own, so that neither they nor fresh messages keep the others
    /// out.
    pub(super) fn has_room_for_parked(&self) -> bool {
        self.loads.is_empty() && self.parked_bytes < self.core.settings.queue_bytes
    }

    pub(super) fn load_due(&mut self) {
        const KEYS: usize = 64;
        let due = self.core.parked().take_due(self.core.clock.now(), KEYS);
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
                    self.core.parked().put_off(&place, again);
                    continue;
                }
            };
            let Some(head) = messages.first().map(|message| message.received.partition) else {
                // Another process has settled it.
                let mut parked = self.core.parked();
                let count = parked.count(&place);
                parked.settled(&place, count, None, now);
                continue;
            };
            let owners: Vec<_> = {
                let parked = self.core.parked();
                messages.iter().map(|message| parked.guardian(&place.topic, message.received.partition)).collect()
            };
            let open =
                |owner: &TopicPartition| self.partitions.get(owner).filter(|owned| owned.is_open()).map(|owned| owned.epoch);
            let ready: Vec<_> = owners.iter().map_while(|owner| Some((owner.partition, open(owner)?))).collect();
            if ready.is_empty() {
                let mut parked = self.core.parked();
                if self.partitions.get(&owners[0]).is_some_and(|owned| owned.stage == Stage::Skipping) {
                    parked.put_off(&place, now.after(SKIPPING));
                } else if self.partitions.contains_key(&owners[0]) {
                    // The run stays open until the partition is released or acquired again, so that no later message of the key overtakes.
                    parked.head(&place, head);
                } else if owners.iter().any(|owner| self.partitions.contains_key(owner)) {
                    parked.behind(&place, head);
                } else {
                    // The key now belongs to another process.
                    let count = parked.count(&place);
                    parked.settled(&place, count, None, now);
                }
                continue;
            }
            // Each message is handled by the owner of its partition. Messages after the first one of another owner wait until that one is
            // done.
            let Some(run) = self.core.parked().loaded(&place, ready.len()) else { continue };
            for (message, owner) in messages.into_iter().zip(ready) {
                let item = Item::parked(&self.core, message, owner, run);
                self.parked_bytes += item.received.record.size();
                let mode = item.mode(&self.core);
                self.schedule.push(place.key.clone(), mode, item);
            }
        }
        self.core.record_activity();
    }

    /// Pauses `partition` when its key `place` has too many parked messages, and all partitions when too many keys have parked messages.
    pub(super) fn watch_parked(&mut self, partition: &TopicPartition, place: &TopicKey) {
        let (keys, count) = {
            let parked = self.core.parked();
            (parked.keys(), parked.count(place))
        };
        if count >= self.core.settings.parked_per_key {
            self.backpressure.pause(partition, PauseReason::Parked);
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
        self.partitions.keys().for_each(|partition| self.backpressure.pause(partition, PauseReason::Parked));
        if std::mem::replace(&mut self.lot_full, true) {
            return;
        }
        let detail = format!(
            "{keys} keys have parked messages (setting `parked_keys`): nothing is read until half of them are free; repair what makes \
             handlers fail, and settle dead letters that hold their keys"
        );
        self.core.conditions.raise(TOO_MANY_KEYS, "", Severity::Warning, detail, self.core.clock.now());
    }

    /// Resumes partitions that were paused because of parked messages, once enough of these are done.
    pub(super) fn free_parked(&mut self) {
        if !self.lot_full && self.full_keys.is_empty() {
            return;
        }
        let (per_key, keys) = (self.core.settings.parked_per_key, self.core.settings.parked_keys);
        let parked = self.core.parked();
        self.full_keys.retain(|(_, place)| parked.count(place) > per_key / 2);
        let full = parked.keys() > keys / 2;
        drop(parked);
        if self.lot_full && !full {
            self.lot_full = false;
            self.core.conditions.clear(TOO_MANY_KEYS, "", self.core.clock.now());
        }
        if self.lot_full {
            return;
        }
        let full = &self.full_keys;
        for partition in self.partitions.keys().filter(|at| !full.iter().any(|(held, _)| held == *at)) {
            self.backpressure.resume(partition, PauseReason::Parked);
        }
    }
}
