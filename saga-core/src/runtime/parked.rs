//! Parked messages, between the database and the consumer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{core::Core, item::Item};
use crate::{
    engine::parking::Place,
    message::TopicPartition,
    store::{ParkedMessage, StoreError},
    time::Timestamp,
};

/// Reads what is parked at the places of `items`, which are still running, and puts the index right.
///
/// A commit that answered with an error may have happened all the same, and then what it parked is not in the index.
pub(crate) async fn reconcile(core: &Core, items: &[Item]) {
    let mut failures = 0;
    let keys = loop {
        match core.store().parked_keys(&core.name).await {
            Ok(keys) => break keys,
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "the parked keys could not be read; waiting");
                core.clock.sleep(core.outage_backoff(failures)).await;
                failures = failures.saturating_add(1);
            }
        }
    };
    let parked: HashMap<Place, (usize, Timestamp)> =
        keys.into_iter().map(|key| (Place { topic: key.topic, key: key.key }, (key.count, key.due))).collect();
    let mut lot = core.lot();
    for item in items {
        let (count, due) = parked.get(&item.place).copied().unwrap_or_default();
        lot.correct(&item.place, item.received.partition, count, due);
    }
    drop(lot);
    core.lot_wake.notify_one();
    core.moved();
}

/// Messages of one key that are read at a time.
const PER_KEY: usize = 64;
/// How long a key waits whose messages the database gives, but not in a form that can be read.
const UNREADABLE: Duration = Duration::from_secs(60);

/// Reads which keys of `partitions` are parked.
pub(crate) async fn adopt(core: &Core, partitions: &[TopicPartition]) -> Result<(), StoreError> {
    let keys = core.store().parked_keys(&core.name).await?;
    let mut lot = core.lot();
    for key in keys {
        if partitions.iter().any(|partition| partition.topic == key.topic && partition.partition == key.partition) {
            let place = Place { topic: key.topic, key: key.key };
            if !lot.is_parked(&place) {
                lot.park(place, key.partition, key.count, key.due);
            }
        }
    }
    Ok(())
}

/// What was read of one key: its first messages, or when to try again.
pub(crate) type Loaded = (Place, Result<Vec<ParkedMessage>, Timestamp>);

/// Reads the first messages of keys that are due, about `max_bytes` of them, and waits for the database as long as it takes.
pub(crate) async fn load(core: &Arc<Core>, places: Vec<Place>, max_bytes: usize) -> Vec<Loaded> {
    let (mut loaded, mut bytes) = (Vec::with_capacity(places.len()), 0);
    for place in places {
        if bytes >= max_bytes {
            loaded.push((place, Err(core.clock.now())));
            continue;
        }
        let mut failures = 0;
        let messages = loop {
            match core.store().parked(&core.name, &place.topic, &place.key, PER_KEY).await {
                Ok(messages) => break Ok(messages),
                Err(error @ (StoreError::Refused(_) | StoreError::Incompatible(_))) => {
                    tracing::error!(service = &*core.name, topic = place.topic, %error, "parked messages of a key cannot be read");
                    break Err(core.clock.now().after(UNREADABLE));
                }
                Err(error) => {
                    tracing::warn!(service = &*core.name, %error, "parked messages could not be read; waiting");
                    core.clock.sleep(core.outage_backoff(failures)).await;
                    failures = failures.saturating_add(1);
                }
            }
        };
        bytes += messages.iter().flatten().map(|message| message.received.record.size()).sum::<usize>();
        loaded.push((place, messages));
    }
    loaded
}
