//! Parked messages, between the database and the consumer.

use std::{collections::HashMap, sync::Arc, time::Duration};

use super::{core::Core, fence::Stop, item::Item};
use crate::{
    engine::parking::{Parked, Place},
    store::{ParkedKey, ParkedMessage, StoreError},
    time::Timestamp,
};

/// Reads what is parked at the places of `items`, which are still running, and puts the index right.
///
/// A commit that answered with an error may have happened all the same, and then what it parked is not in the index.
pub(crate) async fn reconcile(core: &Core, items: &[Item], stop: &Stop) {
    let mut failures = 0;
    let keys = loop {
        match core.store().parked_keys(&core.name).await {
            Ok(keys) => break keys,
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "the parked keys could not be read; waiting");
                if stop.comes_within(core, core.outage_backoff(failures)).await {
                    return;
                }
                failures = failures.saturating_add(1);
            }
        }
    };
    let parked: HashMap<Place, (i32, usize, Timestamp)> =
        keys.into_iter().map(|key| (Place { topic: key.topic, key: key.key }, (key.partition, key.count, key.due))).collect();
    let mut lot = core.lot();
    for item in items {
        if lot.epoch(&item.partition()) != Some(item.epoch) {
            continue;
        }
        let (place, of) = (&item.place, item.received.partition);
        let (partition, count, due) = parked.get(place).copied().unwrap_or((of, 0, Timestamp::default()));
        lot.correct(place, partition, count, due);
        if lot.epoch(&lot.guardian(&place.topic, partition)).is_none() {
            lot.behind(place, partition);
        }
    }
    drop(lot);
    core.lot_wake.notify_one();
    core.moved();
}

/// Messages of one key that are read at a time.
const PER_KEY: usize = 64;
/// How long a key waits whose messages the database gives, but not in a form that can be read.
const UNREADABLE: Duration = Duration::from_secs(60);

/// Every parked key of the service, as the database has it now.
pub(crate) async fn keys(core: &Core) -> Result<Vec<Parked>, StoreError> {
    let keys = core.store().parked_keys(&core.name).await?;
    let parked = |ParkedKey { topic, partition, key, count, due }| Parked { place: Place { topic, key }, partition, count, due };
    Ok(keys.into_iter().map(parked).collect())
}

/// Whether messages are parked at `place` that the index does not have, in a topic whose keys have moved among partitions.
pub(crate) async fn is_elsewhere(core: &Core, place: &Place) -> Result<bool, StoreError> {
    if !core.lot().has_moved(&place.topic) {
        return Ok(false);
    }
    Ok(!core.store().parked(&core.name, &place.topic, &place.key, 1).await?.is_empty())
}

/// Compares the index with the database, and puts right what others have changed there: a dead letter that another process of
/// the service gave back, say.
pub(crate) async fn audit(core: &Core) -> Result<(), StoreError> {
    core.lot().begin_audit();
    let keys = keys(core).await?;
    if core.lot().end_audit(keys, core.clock.now()) {
        core.lot_wake.notify_one();
        core.moved();
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
                Err(error @ (StoreError::Refused(_) | StoreError::Incompatible(_) | StoreError::NotMigrated(_))) => {
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
