//! Parked messages: the synchronization of the index in memory with the database.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{
    conditions::Severity,
    core::Core,
    fence::Shutdown,
    item::Item,
    last::{backoff, failed},
    panics::{asked, guarded},
    poison::{CommitFailure, PoisonDetector},
};
use crate::{
    engine::parking::{Parked, TopicKey},
    store::{ParkedKey, ParkedMessage, StoreError},
    time::Timestamp,
};

/// Corrects the index for the keys of `items`, which are still running, from the database.
///
/// A commit that returned an error may have succeeded, and then the index does not contain the messages that it parked.
pub(crate) async fn reconcile(core: &Core, items: &[Item], stop: &Shutdown) {
    correct(core, items.iter(), stop).await;
}

/// Corrects the index before `items` run again, except for the keys of parked items: a correction would end the run of such a key, and none
/// of its messages would be tried.
pub(crate) async fn reconcile_fresh(core: &Core, items: &[Item], stop: &Shutdown) {
    let running: HashSet<_> = items.iter().filter(|item| item.parked.is_some()).map(|item| &item.place).collect();
    correct(core, items.iter().filter(|item| !running.contains(&item.place)), stop).await;
}

async fn correct(core: &Core, items: impl Iterator<Item = &Item>, stop: &Shutdown) {
    let mut failures = 0;
    let keys = loop {
        match asked(core, "parked keys", core.store().parked_keys(&core.name)).await {
            Ok(keys) => break keys,
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "the parked keys could not be read; waiting");
                if stop.sleep(core, core.outage_backoff(failures)).await {
                    return;
                }
                failures = failures.saturating_add(1);
            }
        }
    };
    let stored: HashMap<TopicKey, (i32, usize, Timestamp)> =
        keys.into_iter().map(|key| (TopicKey { topic: key.topic, key: key.key }, (key.partition, key.count, key.due))).collect();
    let mut parked = core.parked();
    for item in items {
        if parked.epoch(&item.partition()) != Some(item.epoch) {
            continue;
        }
        let (place, of) = (&item.place, item.received.partition);
        let (partition, count, due) = stored.get(place).copied().unwrap_or((of, 0, Timestamp::default()));
        parked.correct(place, partition, count, due);
        if parked.epoch(&parked.guardian(&place.topic, partition)).is_none() {
            parked.behind(place, partition);
        }
    }
    drop(parked);
    core.parked_wake.notify_one();
    core.record_activity();
}

/// The most messages of one key that are read at once.
const PER_KEY: usize = 64;
/// How long a key waits if its messages cannot be read although the database is available.
const UNREADABLE: Duration = Duration::from_secs(60);

/// Returns every parked key of the service from the database.
pub(crate) async fn keys(core: &Core) -> Result<Vec<Parked>, StoreError> {
    let keys = core.store().parked_keys(&core.name).await?;
    let parked =
        |ParkedKey { topic, partition, key, count, due }| Parked { place: TopicKey { topic, key }, partition, count, due };
    Ok(keys.into_iter().map(parked).collect())
}

/// Returns whether messages are parked at `place` that the index does not contain, because the topic's keys have moved between partitions.
pub(crate) async fn is_elsewhere(core: &Core, place: &TopicKey) -> Result<bool, StoreError> {
    if !core.parked().has_moved(&place.topic) {
        return Ok(false);
    }
    Ok(!core.store().parked(&core.name, &place.topic, &place.key, 1).await?.is_empty())
}

/// Compares the index with the database and applies the changes of other processes, for example a dead letter that another process retried.
pub(crate) async fn audit(core: &Core) -> Result<(), StoreError> {
    core.parked().begin_audit();
    forget_unreadable(core);
    let keys = keys(core).await?;
    if core.parked().end_audit(keys, core.clock.now()) {
        core.parked_wake.notify_one();
        core.record_activity();
    }
    Ok(())
}

/// The messages that were read for one key, or the time of the next attempt to read them.
pub(crate) type Loaded = (TopicKey, Result<Vec<ParkedMessage>, Timestamp>);

/// Reads the first messages of due keys, about `max_bytes` of them. Waits without a limit while the database is unavailable.
pub(crate) async fn load(core: &Arc<Core>, places: Vec<TopicKey>, max_bytes: usize) -> Vec<Loaded> {
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
            Err(failure) => Err(unreadable(core, &place, &failure)),
        };
        bytes += messages.iter().flatten().map(|message| message.received.record.size()).sum::<usize>();
        loaded.push((place, messages));
    }
    loaded
}

/// Reads the first messages of one key, and waits while the database is unavailable. Returns an error if they cannot be read at all.
async fn read(core: &Core, place: &TopicKey) -> Result<Vec<ParkedMessage>, CommitFailure> {
    let (mut failures, mut poison) = (0, PoisonDetector::default());
    loop {
        let asked = guarded(core.store().parked(&core.name, &place.topic, &place.key, PER_KEY)).await;
        let failure = match asked {
            Ok(Ok(messages)) => return Ok(messages),
            Ok(Err(error)) => CommitFailure::Store(error),
            Err(text) => CommitFailure::Panic { part: "reading parked messages", text },
        };
        failed(core, &failure);
        if poison.record(core, &failure).await {
            return Err(failure);
        }
        tracing::warn!(service = &*core.name, error = %failure, "parked messages could not be read; waiting");
        core.clock.sleep(backoff(core, &failure, failures)).await;
        failures = failures.saturating_add(1);
    }
}

/// The condition that the parked messages of a key cannot be read.
const PARKED_UNREADABLE: &str = "parked_unreadable";

/// Raises the condition that the messages of `place` cannot be read. Returns the time of the next attempt.
fn unreadable(core: &Core, place: &TopicKey, failure: &CommitFailure) -> Timestamp {
    let key = String::from_utf8_lossy(&place.key);
    let detail = format!(
        "the first parked message of the key `{key}` of `{}` cannot be read back: {failure}; the key waits, to keep its order, and other \
         keys continue: fix or remove the row in the table sagas_parked",
        core.name_in_log(&place.topic)
    );
    tracing::debug!(service = &*core.name, topic = &*core.name_in_log(&place.topic), error = %failure, "parked messages of a key cannot be read");
    core.conditions.raise(PARKED_UNREADABLE, &subject(core, place), Severity::Warning, detail, core.clock.now());
    core.clock.now().after(UNREADABLE)
}

fn readable(core: &Core, place: &TopicKey) {
    if core.conditions.has(PARKED_UNREADABLE) {
        core.conditions.clear(PARKED_UNREADABLE, &subject(core, place), core.clock.now());
    }
}

/// Clears the conditions of keys that are no longer parked in this process.
fn forget_unreadable(core: &Core) {
    if core.conditions.has(PARKED_UNREADABLE) {
        let parked: Vec<_> = core.parked().places().map(|place| subject(core, place)).collect();
        core.conditions.retain(PARKED_UNREADABLE, |subject| parked.iter().any(|parked| parked == subject), core.clock.now());
    }
}

fn subject(core: &Core, place: &TopicKey) -> String {
    format!("{} {}", core.name_in_log(&place.topic), String::from_utf8_lossy(&place.key))
}
