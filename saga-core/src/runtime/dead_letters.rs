//! Retries and discards dead letters: a single one, or all that match a filter.

use std::sync::{Arc, atomic::Ordering};

use super::{core::Core, saga::unsent};
use crate::{
    engine::parking::{self, TopicKey},
    store::{self, Bulk, DeadLetterFilter, DeadLetterId, LetterHead, Settle, Settled, StoreError},
    time::Timestamp,
};

// The due time by which the stores recognize held keys is the one by which the index of parked keys never lets them become due.
const _: () = assert!(store::HELD.as_millis() == parking::HELD.as_millis());

/// How often a transaction is retried that another one conflicts with.
const ATTEMPTS: u32 = 5;

/// The result of settling the dead letters that match a filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettledLetters {
    /// The number of dead letters that were settled.
    pub settled: u64,
    /// The number of dead letters that match the filter and are still open: those beyond the limit and those added during the call.
    pub left: u64,
}

/// Settles one dead letter. Returns false if it does not exist or is not open.
pub(crate) async fn one(core: &Arc<Core>, how: Settle, id: &DeadLetterId) -> Result<bool, StoreError> {
    let Some(letter) = core.store().dead_letter(&core.name, id).await? else { return Ok(false) };
    let settled = settle_in_one_transaction(core, how, &[LetterHead::of(&letter)]).await?;
    let [(head, _)] = &settled[..] else { return Ok(false) };
    let how = how.state().as_str();
    tracing::info!(service = &*core.name, dead_letter = head.id.as_str(), error = letter.error, "dead letter {how}");
    Ok(true)
}

/// Settles at most `limit` of the open dead letters that match `filter`, in the order of their positions in the log.
pub(crate) async fn all(
    core: &Arc<Core>,
    how: Settle,
    filter: &DeadLetterFilter,
    limit: u64,
) -> Result<SettledLetters, StoreError> {
    let (_, open) = core.store().find_dead_letters(&core.name, &filter.and_open(), 0, 0).await?;
    // Limited to those open now: messages that fail again during the call are left for the next call.
    let mut bulk = Bulk::new(filter, limit.min(open));
    let mut settled = 0;
    while let Some(heads) = bulk.next(&**core.store(), &core.name).await? {
        let done = settle_in_one_transaction(core, how, &heads).await?.len();
        bulk.settled(done);
        settled += done as u64;
        tracing::info!(service = &*core.name, letters = done, "dead letters {}", how.state().as_str());
    }
    let (_, left) = core.store().find_dead_letters(&core.name, &filter.and_open(), 0, 0).await?;
    Ok(SettledLetters { settled, left })
}

/// Settles those of `heads` that are open, in one transaction. Returns them, and whether each held its key, so that later messages of the
/// key wait for it.
async fn settle_in_one_transaction(
    core: &Arc<Core>,
    how: Settle,
    heads: &[LetterHead],
) -> Result<Vec<(LetterHead, bool)>, StoreError> {
    let mut failures = 0;
    let (settled, now) = loop {
        match try_settle(core, how, heads).await {
            Ok(done) => break done,
            Err(error @ StoreError::Contended(_)) if failures < ATTEMPTS => {
                failures += 1;
                core.clock.sleep(core.store_backoff(&error, failures)).await;
            }
            Err(error) => return Err(error),
        }
    };
    core.settlements.fetch_add(1, Ordering::SeqCst);
    let mut parked = core.parked();
    for (head, held) in &settled {
        let place = TopicKey { topic: head.partition.topic.clone(), key: head.parking_key() };
        match (how, held) {
            (Settle::Retry, true) => parked.settled(&place, 0, Some(now), now),
            // If another process owns the partition, that process finds the message in the database.
            (Settle::Retry, false) => {
                let owner = parked.guardian(&head.partition.topic, head.partition.partition);
                if head.was_received() && parked.epoch(&owner).is_some() {
                    parked.park(place, head.partition.partition, 1, now);
                }
            }
            (Settle::Discard, false) => {}
            (Settle::Discard, true) => parked.settled(&place, 1, None, now),
        }
    }
    drop(parked);
    let counter = match how {
        Settle::Retry => &core.series.letters_retried,
        Settle::Discard => &core.series.letters_discarded,
    };
    counter.add(settled.len() as u64);
    core.series.open_dead_letters.add(-(settled.len() as f64));
    core.parked_wake.notify_one();
    core.record_activity();
    Ok(settled)
}

async fn try_settle(
    core: &Arc<Core>,
    how: Settle,
    heads: &[LetterHead],
) -> Result<(Vec<(LetterHead, bool)>, Timestamp), StoreError> {
    let letters = how.letters(&**core.store(), &core.name, heads).await?;
    let now = core.clock.now();
    let mut tx = core.store().begin().await?;
    let Settled { letters, unsent } = store::settle(&mut *tx, &core.name, how, heads, letters, now).await?;
    // A message that was published by this service and never reached the log is published again. Its saga no longer needs attention for it,
    // unless the log refuses it again.
    for (id, record) in &unsent {
        unsent::sent_again(core, &mut *tx, record, id, now).await?;
    }
    let records: Vec<_> = unsent.into_iter().map(|(_, record)| record).collect();
    let staged = core.stage(&mut *tx, &records).await?;
    // Commit even if nothing was left to settle. If another caller has settled the dead letters in the same group commit, this waits until
    // that commit is durable, before the remaining ones are counted.
    core.commit(tx, staged).await?;
    Ok((letters, now))
}
