//! After a `kill -9`, the remaining processes of a service soon continue.

use std::time::Duration;

use sagas_tests::process::{Customers, all_have_ended};
use tokio::time::Instant;

use super::{PATIENCE, fleet::Fleet, oracle, servers::Servers};

/// The time limit for a recovery after the only process was killed.
const RECOVERY: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn it_works_again_within_15_seconds_of_the_kill_of_the_only_process() {
    let servers = Servers::start().await;
    let mut fleet = Fleet::whole(&servers, 1).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 4);
    // Waits until the groups have formed: when a member is killed while it joins, the group needs another session timeout to
    // notice.
    customers.allow(20);
    customers.have_placed(20, PATIENCE).await;
    all_have_ended(fleet.site(), PATIENCE).await;
    for round in 1..=3 {
        let before = customers.placed();
        customers.allow(20);
        customers.have_placed(before + 10, PATIENCE).await;
        fleet.kill(0).await;
        let killed = Instant::now();
        fleet.start_all().await;
        let serving = killed.elapsed();
        customers.have_placed(before + 20, PATIENCE).await;
        all_have_ended(fleet.site(), PATIENCE).await;
        let recovered = killed.elapsed();
        println!("round {round}: {serving:.1?} after the kill it serves, {recovered:.1?} after it all orders have ended");
        assert!(recovered <= RECOVERY, "it took {recovered:.1?}");
    }
    let orders = customers.leave().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn one_of_two_instances_takes_over_what_the_killed_one_had() {
    let servers = Servers::start().await;
    let mut fleet = Fleet::whole(&servers, 2).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 8);
    customers.allow(100);
    customers.have_placed(50, PATIENCE).await;
    fleet.kill(1).await;
    let killed = Instant::now();
    customers.have_placed(100, PATIENCE).await;
    all_have_ended(fleet.site(), PATIENCE).await;
    println!("all orders have ended {:.1?} after one of two instances was killed", killed.elapsed());
    oracle::all_say(fleet.site(), "UP", PATIENCE).await;
    let orders = customers.leave().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
}
