//! A message that answers dead letters: it was given up, and is produced again, mended or not, under its own identity.
//!
//! The inbox knows it, so it would be a duplicate. Its letters are settled as replayed in the transaction that handles it; of two
//! that do so at once, and of an operator who retries the letter meanwhile, one handles it.

use std::collections::{HashMap, HashSet};

use super::{core::Core, inbox, item::Item};
use crate::{
    engine::{
        answered::{Letter, Position, answers},
        parking::Place,
    },
    message::Received,
    store::{DeadLetterId, DeadLetterState, LetterHead, ParkedId, StoreError, StoreTx},
    time::Timestamp,
};

/// A message as it is asked about.
#[derive(Debug, Clone)]
pub(crate) struct Arrival {
    claim: inbox::Claim,
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

/// What a message takes over from the dead letters that it answers.
#[derive(Debug, Clone)]
pub(crate) struct Replay {
    /// The letters, as they were.
    pub(crate) letters: Vec<LetterHead>,
    /// The parked messages by which they hold their keys.
    pub(crate) held: Vec<(ParkedId, Place)>,
}

/// Which of `arrivals`, which the inbox knows, answer dead letters: settles those letters in `tx`. The letters of an identity are
/// answered by one message.
pub(crate) async fn answer(
    core: &Core,
    tx: &mut dyn StoreTx,
    arrivals: &[Arrival],
    now: Timestamp,
) -> Result<Vec<Option<Replay>>, StoreError> {
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
        if answers(arrival.position(), &seen) && answered.insert(&arrival.claim.key) {
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
            // Another transaction was first.
            continue;
        }
        let place = |head: &LetterHead| Place { topic: head.partition.topic.clone(), key: head.parking_key() };
        let held = letters.iter().filter_map(|head| Some((held.remove(&head.id)?, place(head)))).collect();
        replays[at] = Some(Replay { letters, held });
    }
    Ok(replays)
}

fn letter(head: &LetterHead) -> Letter<'_> {
    let at = Position { topic: &head.partition.topic, partition: head.partition.partition, offset: head.offset };
    Letter { at, unhandled: is_unhandled(head) }
}

fn is_unhandled(head: &LetterHead) -> bool {
    head.state.may_become(DeadLetterState::Replayed)
}

/// How the claim of a message went.
pub(crate) enum Claim {
    /// It is to be handled.
    New,
    /// It is to be handled, in place of dead letters.
    Replay(Replay),
    /// It was handled before.
    Known,
}

/// Claims one message that came from the log.
pub(crate) async fn claim(core: &Core, tx: &mut dyn StoreTx, arrival: &Arrival, now: Timestamp) -> Result<Claim, StoreError> {
    if inbox::claim(core, tx, std::slice::from_ref(&arrival.claim), now).await? == [true] {
        return Ok(Claim::New);
    }
    let replay = answer(core, tx, std::slice::from_ref(arrival), now).await?.pop().flatten();
    Ok(replay.map_or(Claim::Known, Claim::Replay))
}
