//! What an operator does with dead letters: retry, discard.

use std::sync::Arc;

use super::{core::Core, saga::unsent};
use crate::{
    engine::parking::Place,
    message::Received,
    store::{DeadLetter, DeadLetterId, DeadLetterState, ParkedId, ParkedMessage, StoreError, StoreTx, parking_key},
};

/// Gives an open dead letter back to its handler, behind whatever is parked of its key.
pub(crate) async fn retry(core: &Arc<Core>, id: &DeadLetterId) -> Result<bool, StoreError> {
    let Some(letter) = core.store().dead_letter(&core.name, id).await? else { return Ok(false) };
    let held = held_head(core, &letter).await?;
    let mut tx = core.store().begin().await?;
    if !tx.settle_dead_letter(&core.name, id, DeadLetterState::Retried).await? {
        return Ok(false);
    }
    let now = core.clock.now();
    if letter.received.partition < 0 {
        // It never reached the log: it goes there again, and its flow needs no attention for it until it is refused again.
        unsent::sent_again(core, &mut *tx, &letter.received.record, id, now).await?;
        let staged = core.stage(&mut *tx, &[(*letter.received.record).clone()]).await?;
        core.commit(tx, staged).await?;
    } else {
        match held {
            Some(head) => tx.repark(head, 0, now, "").await?,
            None => park(core, &mut *tx, letter.received.clone()).await?,
        }
        tx.commit().await?;
        let place = place(&letter.received);
        let mut lot = core.lot();
        let owner = lot.guardian(&place.topic, letter.received.partition);
        match held {
            Some(_) => lot.settled(&place, 0, Some(now), now),
            // Else its owner finds it in the database.
            None if lot.epoch(&owner).is_some() => lot.park(place, letter.received.partition, 1, now),
            None => {}
        }
    }
    settled(core, "retried", &letter);
    Ok(true)
}

/// Gives up an open dead letter; if its key is held for it, the key goes on.
pub(crate) async fn discard(core: &Arc<Core>, id: &DeadLetterId) -> Result<bool, StoreError> {
    let Some(letter) = core.store().dead_letter(&core.name, id).await? else { return Ok(false) };
    let held = held_head(core, &letter).await?;
    let mut tx = core.store().begin().await?;
    if !tx.settle_dead_letter(&core.name, id, DeadLetterState::Discarded).await? {
        return Ok(false);
    }
    if let Some(head) = held {
        tx.unpark(&[head]).await?;
    }
    tx.commit().await?;
    if held.is_some() {
        core.lot().settled(&place(&letter.received), 1, None, core.clock.now());
    }
    settled(core, "discarded", &letter);
    Ok(true)
}

fn settled(core: &Core, how: &str, letter: &DeadLetter) {
    core.series.dead_open.add(-1.0);
    core.lot_wake.notify_one();
    core.moved();
    tracing::info!(service = &*core.name, dead_letter = letter.id.as_str(), error = letter.error, "dead letter {how}");
}

fn place(received: &Received) -> Place {
    Place { topic: received.record.topic.clone(), key: parking_key(received) }
}

/// The parked message that `letter` left behind to hold its key, if there is one.
async fn held_head(core: &Core, letter: &DeadLetter) -> Result<Option<ParkedId>, StoreError> {
    let place = place(&letter.received);
    let head = core.store().parked(&core.name, &place.topic, &place.key, 1).await?.into_iter().next();
    let of_letter = |head: &ParkedMessage| {
        (head.received.partition, head.received.offset) == (letter.received.partition, letter.received.offset)
    };
    Ok(head.filter(of_letter).map(|head| head.id))
}

async fn park(core: &Core, tx: &mut dyn StoreTx, received: Received) -> Result<(), StoreError> {
    let due = core.clock.now();
    let message = ParkedMessage { id: 0, received, attempts: 0, due, error: String::new() };
    tx.park(&core.name, &[message]).await.map(drop)
}
