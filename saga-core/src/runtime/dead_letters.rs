//! What an operator does with dead letters: retry, discard; one, or all that a filter wants.

use std::sync::Arc;

use super::{core::Core, saga::unsent};
use crate::{
    engine::parking::{self, Place},
    store::{self, Bulk, DeadLetterFilter, DeadLetterId, LetterHead, Settle, Settled, StoreError},
    time::Timestamp,
};

// What the stores look for is what the index of parked keys never lets come due.
const _: () = assert!(store::HELD.as_millis() == parking::HELD.as_millis());

/// How often a transaction is begun again in which another was first.
const ATTEMPTS: u32 = 5;

/// What came of settling all that a filter wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledLetters {
    /// How many were settled.
    pub settled: u64,
    /// How many are open that the filter wants: they were beyond the limit, or came meanwhile.
    pub left: u64,
}

/// Settles one dead letter; false when it is not there or not open.
pub(crate) async fn one(core: &Arc<Core>, how: Settle, id: &DeadLetterId) -> Result<bool, StoreError> {
    let Some(letter) = core.store().dead_letter(&core.name, id).await? else { return Ok(false) };
    let settled = batch(core, how, &[LetterHead::of(&letter)]).await?;
    let [(head, _)] = &settled[..] else { return Ok(false) };
    let how = how.state().as_str();
    tracing::info!(service = &*core.name, dead_letter = head.id.as_str(), error = letter.error, "dead letter {how}");
    Ok(true)
}

/// Settles at most `limit` of the open dead letters that `filter` wants, in the order of their positions.
pub(crate) async fn all(
    core: &Arc<Core>,
    how: Settle,
    filter: &DeadLetterFilter,
    limit: u64,
) -> Result<SettledLetters, StoreError> {
    let (_, open) = core.store().find_dead_letters(&core.name, &filter.and_open(), 0, 0).await?;
    // Those that fail again meanwhile are left to the next call.
    let mut bulk = Bulk::new(filter, limit.min(open));
    let mut settled = 0;
    while let Some(heads) = bulk.next(&**core.store(), &core.name).await? {
        let done = batch(core, how, &heads).await?.len();
        bulk.settled(done);
        settled += done as u64;
        tracing::info!(service = &*core.name, letters = done, "dead letters {}", how.state().as_str());
    }
    let (_, left) = core.store().find_dead_letters(&core.name, &filter.and_open(), 0, 0).await?;
    Ok(SettledLetters { settled, left })
}

/// Settles those of `heads` that are open, in one transaction; gives them, and whether they held their keys.
async fn batch(core: &Arc<Core>, how: Settle, heads: &[LetterHead]) -> Result<Vec<(LetterHead, bool)>, StoreError> {
    let mut failures = 0;
    let (settled, now) = loop {
        match attempt(core, how, heads).await {
            Ok(done) => break done,
            Err(error @ StoreError::Contended(_)) if failures < ATTEMPTS => {
                failures += 1;
                core.clock.sleep(core.store_backoff(&error, failures)).await;
            }
            Err(error) => return Err(error),
        }
    };
    let mut lot = core.lot();
    for (head, held) in &settled {
        let place = Place { topic: head.partition.topic.clone(), key: head.parking_key() };
        match (how, held) {
            (Settle::Retry, true) => lot.settled(&place, 0, Some(now), now),
            // Else its owner finds it in the database.
            (Settle::Retry, false) => {
                let owner = lot.guardian(&head.partition.topic, head.partition.partition);
                if head.was_received() && lot.epoch(&owner).is_some() {
                    lot.park(place, head.partition.partition, 1, now);
                }
            }
            (Settle::Discard, false) => {}
            (Settle::Discard, true) => lot.settled(&place, 1, None, now),
        }
    }
    drop(lot);
    let counter = match how {
        Settle::Retry => &core.series.letters_retried,
        Settle::Discard => &core.series.letters_discarded,
    };
    counter.add(settled.len() as u64);
    core.series.dead_open.add(-(settled.len() as f64));
    core.lot_wake.notify_one();
    core.moved();
    Ok(settled)
}

async fn attempt(
    core: &Arc<Core>,
    how: Settle,
    heads: &[LetterHead],
) -> Result<(Vec<(LetterHead, bool)>, Timestamp), StoreError> {
    let letters = how.letters(&**core.store(), &core.name, heads).await?;
    let now = core.clock.now();
    let mut tx = core.store().begin().await?;
    let Settled { letters, unsent } = store::settle(&mut *tx, &core.name, how, heads, letters, now).await?;
    // What never reached the log goes there again, and its flow needs no attention for it until it is refused again.
    for (id, record) in &unsent {
        unsent::sent_again(core, &mut *tx, record, id, now).await?;
    }
    let records: Vec<_> = unsent.into_iter().map(|(_, record)| record).collect();
    let staged = core.stage(&mut *tx, &records).await?;
    // Also where nothing was left to settle: what others have settled before in the same commit of the database is counted as done then.
    core.commit(tx, staged).await?;
    Ok((letters, now))
}
