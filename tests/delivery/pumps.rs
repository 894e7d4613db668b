//! The clock of a pump, and several pumps on one log.

use std::{collections::HashSet, sync::Arc, time::Duration};

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

#[handler(retry(max = 3, backoff = "500ms..2s"))]
async fn failing(On(_): On<Placed>) -> Result<(), Failure> {
    Err(Failure::retry("the gateway is down"))
}

#[tokio::test]
async fn a_long_advance_contains_every_retry() {
    let pump = Pump::of([Service::new("payments", Database::memory()).handlers(handlers![failing])]).start().await;
    pump.publish(&placed("a", 0)).await;
    pump.run_until_quiet().await;
    let start = pump.clock().now();
    pump.advance(Duration::from_secs(10)).await;
    assert_eq!(pump.clock().now(), start.after(Duration::from_secs(10)));
    let (letters, _) = pump.service("payments").dead_letters(0, 10).await.unwrap();
    assert_eq!(letters.iter().map(|letter| letter.attempts).collect::<Vec<_>>(), [3]);
    pump.stop().await;
}
