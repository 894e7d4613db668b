//! A frozen server or process does not answer, and does not close its connections either.

use std::time::Duration;

use sagas_tests::process::{Customers, all_have_ended};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, fleet::Fleet, oracle, servers::Servers};

/// The default of `stop_timeout_ms`, plus the time to close files and connections.
const STOP_DEADLINE: Duration = Duration::from_secs(15);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn a_frozen_broker_does_not_hold_up_the_stop() {
    let servers = Servers::start().await;
    let mut fleet = Fleet::whole(&servers, 1).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 8);
    customers.allow(40);
    customers.have_placed(20, PATIENCE).await;
    servers.kafka.signal("STOP").await;
    customers.have_placed(40, PATIENCE).await;
    let began = Instant::now();
    fleet.stop(0, STOP_DEADLINE).await;
    println!("with a frozen broker, the stop took {:.1?}", began.elapsed());

    servers.kafka.signal("CONT").await;
    fleet.start_all().await;
    let orders = customers.leave().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
}

/// The process is presumed dead; when it resumes in the middle of its work, its transactions are refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn a_process_that_is_frozen_past_its_poll_interval_does_nothing_twice() {
    let (interval, session) = (Duration::from_secs(8), Duration::from_secs(6));
    let options = format!("max.poll.interval.ms={}&session.timeout.ms={}", interval.as_millis(), session.as_millis());
    let servers = Servers::start().await;
    let mut fleet = Fleet::whole(&servers, 2).await.kafka_options(&options);
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites[..1], 8);
    for round in 1..=2 {
        let before = customers.placed();
        customers.allow(80);
        customers.have_placed(before + 20, PATIENCE).await;
        fleet.signal(1, "STOP").await;
        let frozen = Instant::now();
        customers.have_placed(before + 80, PATIENCE).await;
        all_have_ended(fleet.site(), PATIENCE).await;
        println!("round {round}: the other instance has ended all orders {:.1?} after the freeze", frozen.elapsed());
        sleep((interval + Duration::from_secs(2)).saturating_sub(frozen.elapsed())).await;
        customers.allow(20);
        fleet.signal(1, "CONT").await;
        customers.have_placed(before + 100, PATIENCE).await;
        oracle::all_say(&fleet.sites[1], "UP", PATIENCE).await;
    }
    let orders = customers.leave().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
}
