//! Parked messages, between the database and the consumer.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    conditions::Severity,
    core::Core,
    fence::Stop,
    item::Item,
    last::{backoff, failed},
    panics::{asked, guarded},
    suspicion::{Suspicion, Trouble},
};
use crate::{
    engine::parking::{Parked, Place},
    store::{ParkedKey, ParkedMessage, StoreError},
    time::Timestamp,
};

/// Reads what is parked at the places of `items`, which are still running, and puts the index right.
///
/// A commit that answered with an error may have happened all the same, and then what it parked is not in the index.
pub(crate) async fn reconcile(core: &Core, items: &[Item], stop: &Stop) {
    correct(core, items.iter(), stop).await;
}

/// The same before `items` are run again. Those that were parked are left alone with their places: putting the index right would end their
/// run, and none of them would be tried.
pub(crate) async fn reconcile_fresh(core: &Core, items: &[Item], stop: &Stop) {
    let running: HashSet<_> = items.iter().filter(|item| item.parked.is_some()).map(|item| &item.place).collect();
    correct(core, items.iter().filter(|item| !running.contains(&item.place)), stop).await;
}

async fn correct(core: &Core, items: impl Iterator<Item = &Item>, stop: &Stop) {
    let mut failures = 0;
    let keys = loop {
        match asked(core, "parked keys", core.store().parked_keys(&core.name)).await {
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
    forget_unreadable(core);
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
        let messages = match read(core, &place).await {
            Ok(messages) => {
                readable(core, &place);
                Ok(messages)
            }
            Err(trouble) => Err(unreadable(core, &place, &trouble)),
        };
        bytes += messages.iter().flatten().map(|message| message.received.record.size()).sum::<usize>();
        loaded.push((place, messages));
    }
    loaded
}

/// Reads the first messages of one key, and waits for the database while that is not well. `Err`: they cannot be read.
async fn read(core: &Core, place: &Place) -> Result<Vec<ParkedMessage>, Trouble> {
    let (mut failures, mut suspicion) = (0, Suspicion::default());
    loop {
        let asked = guarded(core.store().parked(&core.name, &place.topic, &place.key, PER_KEY)).await;
        let trouble = match asked {
            Ok(Ok(messages)) => return Ok(messages),
            Ok(Err(error)) => Trouble::Store(error),
            Err(text) => Trouble::Panic { part: "reading parked messages", text },
        };
        failed(core, &trouble);
        if suspicion.grows(core, &trouble).await {
            return Err(trouble);
        }
        tracing::warn!(service = &*core.name, error = %trouble, "parked messages could not be read; waiting");
        core.clock.sleep(backoff(core, &trouble, failures)).await;
        failures = failures.saturating_add(1);
    }
}

/// The condition that parked messages of a key cannot be read back.
const PARKED_UNREADABLE: &str = "parked_unreadable";

/// Tells that the messages of `place` cannot be read, and says when that is tried again.
fn unreadable(core: &Core, place: &Place, trouble: &Trouble) -> Timestamp {
    let key = String::from_utf8_lossy(&place.key);
    let detail = format!(
        "the first parked message of the key `{key}` of `{}` cannot be read back: {trouble}; the key waits, so that its order stands, and \
         others go on: mend or remove the row in the table sagas_parked",
        place.topic
    );
    tracing::debug!(service = &*core.name, topic = place.topic, error = %trouble, "parked messages of a key cannot be read");
    core.conditions.raise(PARKED_UNREADABLE, &subject(place), Severity::Warning, detail, core.clock.now());
    core.clock.now().after(UNREADABLE)
}

fn readable(core: &Core, place: &Place) {
    if core.conditions.has(PARKED_UNREADABLE) {
        core.conditions.clear(PARKED_UNREADABLE, &subject(place), core.clock.now());
    }
}

/// Ends the conditions of keys that are parked here no more.
fn forget_unreadable(core: &Core) {
    if core.conditions.has(PARKED_UNREADABLE) {
        let parked: Vec<_> = core.lot().places().map(subject).collect();
        core.conditions.retain(PARKED_UNREADABLE, |subject| parked.iter().any(|parked| parked == subject), core.clock.now());
    }
}

fn subject(place: &Place) -> String {
    format!("{} {}", place.topic, String::from_utf8_lossy(&place.key))
}
