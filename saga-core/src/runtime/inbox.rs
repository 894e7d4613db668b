//! Claiming messages in the inbox.

use std::collections::BTreeMap;

use super::core::Core;
use crate::{
    store::{InboxKey, StoreError, StoreTx},
    time::Timestamp,
};

/// What a message is claimed by.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) key: InboxKey,
    /// An operator wants it handled again: claims from before that do not count.
    pub(crate) again: Option<Timestamp>,
}

/// Claims messages; says of each, in the order given, whether it is new.
///
/// A claim of a replay is not older than the replay, so that what was handled again is known when the replay is interrupted and
/// goes on.
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
