//! Claiming messages in the inbox.

use std::collections::BTreeMap;

use super::{
    core::Core,
    item::{Claim, Item},
};
use crate::{
    message::listener::Listener,
    store::{DeadLetterState, InboxKey, LetterHead, StoreError, StoreTx, takers_known_by_more},
    time::Timestamp,
};

/// Claims messages. Returns for each, in the given order, whether it is new.
///
/// The claims of a replay are at least as late as the replay itself. So if the replay is interrupted and continues, the messages that it
/// has already handled again are duplicates.
pub(crate) async fn claim(core: &Core, tx: &mut dyn StoreTx, claims: &[Claim], now: Timestamp) -> Result<Vec<bool>, StoreError> {
    let mut again: BTreeMap<Timestamp, Vec<InboxKey>> = BTreeMap::new();
    for claim in claims {
        if let Some(since) = claim.again {
            again.entry(since).or_default().push(claim.key.clone());
        }
    }
    for (since, keys) in &again {
        tx.forget(&core.name, keys, *since).await?;
    }
    let now = again.keys().last().map_or(now, |since| now.max(*since));
    let keys: Vec<_> = claims.iter().map(|claim| claim.key.clone()).collect();
    tx.claim(&core.name, &keys, now).await
}

/// Returns the handlers of `item`, which was parked for all of them, that have not received it yet.
///
/// When it became a dead letter, it was claimed by its message id alone. Since then, the log may have delivered it again to handlers that
/// are known by now. So the handlers with an identity of their own in the inbox claim it now.
pub(crate) async fn unheard(core: &Core, tx: &mut dyn StoreTx, item: &Item, now: Timestamp) -> Result<Vec<Listener>, StoreError> {
    let others = item.split.iter().filter(|listener| listener.known_as.is_some());
    let keys: Vec<_> = others.map(|listener| item.key_of(Some(listener))).collect();
    let mut new = tx.claim(&core.name, &keys, now).await?.into_iter();
    let unheard = item.split.iter().filter(|listener| listener.known_as.is_none() || new.next() == Some(true));
    Ok(unheard.cloned().collect())
}

/// Returns the handlers that have not received `item`, which cannot be delivered to any handler of this program and is in the inbox.
///
/// Usually there is a dead letter of it for all handlers, and the result is empty. Otherwise another program has delivered it to the
/// handler that claims by the message id alone, which does not show whether the other handlers received it. These handlers are read from
/// the database, because that program may be newer than this one. Those that have not received the message claim it now.
pub(crate) async fn unheard_elsewhere(
    core: &Core,
    tx: &mut dyn StoreTx,
    item: &Item,
    now: Timestamp,
) -> Result<Vec<Listener>, StoreError> {
    let letters = tx.dead_letters_of(&core.name, &[item.inbox_key()]).await?;
    let is_for_all = |letter: &LetterHead| letter.handler.is_none() && letter.state.may_become(DeadLetterState::Replayed);
    if letters.iter().flatten().any(is_for_all) {
        return Ok(Vec::new());
    }
    let written = tx.takers(&core.name).await?;
    let others = takers_known_by_more(&written, &item.received.record.topic, item.envelope.event_type.as_deref());
    let others: Vec<_> =
        others.map(|(known_as, name)| Listener { name: name.to_owned().into(), known_as: Some(known_as.into()) }).collect();
    let claims: Vec<_> = others.iter().map(|listener| Claim { key: item.key_of(Some(listener)), again: item.again }).collect();
    let new = claim(core, tx, &claims, now).await?;
    Ok(others.into_iter().zip(new).filter_map(|(listener, new)| new.then_some(listener)).collect())
}
