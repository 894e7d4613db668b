//! Replacement of dead letters: a message that became a dead letter is produced again with the same message id, corrected or not.
//!
//! The inbox contains that id, so the message would be a duplicate. Instead, its dead letters are settled as replayed in the transaction
//! that handles it. If two such messages arrive at the same time, or an operator retries the dead letter meanwhile, only one of them is
//! handled.

use std::collections::{HashMap, HashSet};

use super::{
    core::Core,
    inbox,
    item::{self, Item},
};
use crate::{
    engine::{
        parking::TopicKey,
        replacement::{DeadLetterRef, Position, replaces},
    },
    message::Received,
    store::{DeadLetterId, DeadLetterState, LetterHead, ParkedId, StoreError, StoreTx},
    time::Timestamp,
};

/// A message from the log, as needed to find the dead letters that it replaces.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    claim: item::Claim,
    received: Received,
}

impl Arrival {
    pub(crate) fn of(item: &Item) -> Self {
        Self { claim: item.claim(), received: item.received.clone() }
    }

    fn position(&self) -> Position<'_> {
        let Received { record, partition, offset } = &self.received;
        Position { topic: &record.topic, partition: *partition, offset: *offset }
    }
}

/// The dead letters that a message replaces.
#[derive(Debug, Clone)]
pub(crate) struct Replacement {
    /// The dead letters, as they were before they were settled.
    pub(crate) letters: Vec<LetterHead>,
    /// The parked messages by which the dead letters hold their keys.
    pub(crate) held: Vec<(ParkedId, TopicKey)>,
}

/// Finds out which of `arrivals`, which the inbox already contains, replace dead letters, and settles these dead letters in `tx`. All dead
/// letters with the same id are replaced by one message.
pub(crate) async fn settle_replaced(
    core: &Core,
    tx: &mut dyn StoreTx,
    arrivals: &[Arrival],
    now: Timestamp,
) -> Result<Vec<Option<Replacement>>, StoreError> {
    let mut replays = vec![None; arrivals.len()];
    if arrivals.is_empty() {
        return Ok(replays);
    }
    let keys: Vec<_> = arrivals.iter().map(|arrival| arrival.claim.key.clone()).collect();
    let known = tx.dead_letters_of(&core.name, &keys).await?;
    let mut answered = HashSet::new();
    let mut wanted: Vec<(usize, Vec<LetterHead>)> = Vec::new();
    for (at, (arrival, letters)) in arrivals.iter().zip(known).enumerate() {
        let seen: Vec<_> = letters.iter().map(letter).collect();
        if replaces(arrival.position(), &seen) && answered.insert(&arrival.claim.key) {
            wanted.push((at, letters.into_iter().filter(is_unhandled).collect()));
        }
    }
    if wanted.is_empty() {
        return Ok(replays);
    }
    let heads: Vec<_> = wanted.iter().flat_map(|(_, letters)| letters.clone()).collect();
    let ids: Vec<DeadLetterId> = heads.iter().map(|head| head.id.clone()).collect();
    let moved = tx.settle_dead_letters(&core.name, &ids, DeadLetterState::Replayed, now).await?;
    let moved: HashSet<_> = ids.iter().zip(moved).filter_map(|(id, moved)| moved.then_some(id)).collect();
    let mut held: HashMap<_, _> = tx.holding(&core.name, &heads).await?.into_iter().collect();
    for (at, mut letters) in wanted {
        letters.retain(|letter| moved.contains(&letter.id));
        if letters.is_empty() {
            // Another transaction has settled them first.
            continue;
        }
        let place = |head: &LetterHead| TopicKey { topic: head.partition.topic.clone(), key: head.parking_key() };
        let held = letters.iter().filter_map(|head| Some((held.remove(&head.id)?, place(head)))).collect();
        replays[at] = Some(Replacement { letters, held });
    }
    Ok(replays)
}

fn letter(head: &LetterHead) -> DeadLetterRef<'_> {
    let at = Position { topic: &head.partition.topic, partition: head.partition.partition, offset: head.offset };
    DeadLetterRef { at, unhandled: is_unhandled(head) }
}

fn is_unhandled(head: &LetterHead) -> bool {
    head.state.may_become(DeadLetterState::Replayed)
}

/// The result of the claim of a message.
pub(crate) enum Claim {
    /// The message is new and must be handled.
    New,
    /// The message must be handled and replaces dead letters.
    Replaces(Replacement),
    /// The message is a duplicate.
    Known,
}

/// Claims one message that came from the log.
pub(crate) async fn claim(core: &Core, tx: &mut dyn StoreTx, arrival: &Arrival, now: Timestamp) -> Result<Claim, StoreError> {
    if inbox::claim(core, tx, std::slice::from_ref(&arrival.claim), now).await? == [true] {
        return Ok(Claim::New);
    }
    let replay = settle_replaced(core, tx, std::slice::from_ref(arrival), now).await?.pop().flatten();
    Ok(replay.map_or(Claim::Known, Claim::Replaces))
}
