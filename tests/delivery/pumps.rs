//! Several pumps on one log.

use std::{collections::HashSet, sync::Arc};

use sagas::{prelude::*, testing::Pump, transport::memory::Memory};

use crate::support::*;

/// Returns the ids that two processes of a service publish with, one after the other, and a third after a restart.
async fn identities(seed: u64) -> Vec<String> {
    let (log, clock) = (Arc::new(Memory::with_clock(clock())), clock());
    let instance = async || {
        let payments = service(&Database::memory(), &Plan::done()).handlers(handlers![bare]);
        Pump::of([payments]).on(log.clone()).clock(clock.clone()).seed(seed).start().await
    };
    let (first, second) = (instance().await, instance().await);
    let mut ids = vec![first.publish(&placed("a", 0)).await, second.publish(&placed("a", 1)).await];
    first.stop().await;
    second.stop().await;
    let third = instance().await;
    ids.push(third.publish(&placed("a", 2)).await);
    third.stop().await;
    ids
}

#[tokio::test]
async fn pumps_on_one_log_have_identities_of_their_own_which_the_seed_gives() {
    let ids = identities(7).await;
    assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 3, "{ids:?}");
    assert_eq!(ids, identities(7).await);
    assert_ne!(ids, identities(8).await);
}
