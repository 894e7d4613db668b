//! Apache Kafka or PostgreSQL becomes unavailable under load, and then available again.

use std::time::Duration;

use sagas_tests::process::{Customers, Site};
use tokio::time::{Instant, sleep};

use super::{
    PATIENCE,
    fleet::Fleet,
    oracle, seeded,
    servers::{Server, Servers},
};

const RESTARTS: usize = 3;

/// How long the broker is stopped in [`a_broker_that_is_gone_for_long_is_waited_for`], in seconds; `SAGAS_TEST_OUTAGE_SECONDS=60`
/// for a minute.
const OUTAGE_SECONDS: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn three_broker_restarts_under_load_lose_nothing_and_double_nothing() {
    let servers = Servers::start().await;
    restarts(&servers, &servers.kafka, "the broker").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn three_database_restarts_under_load_lose_nothing_and_double_nothing() {
    let servers = Servers::start().await;
    restarts(&servers, &servers.postgres, "the database").await;
}

/// Restarts `server` in the middle of work; the second time as after a crash.
async fn restarts(servers: &Servers, server: &Server, name: &str) {
    let mut rng = seeded();
    let mut fleet = Fleet::whole(servers, 2).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 8);
    for restart in 1..=RESTARTS {
        let before = customers.placed();
        customers.allow(60);
        customers.have_placed(before + rng.usize(10..40), PATIENCE).await;
        let began = Instant::now();
        server.run(if restart == 2 { &["stop", "--now"] } else { &["stop"] }).await;
        server.run(&["start"]).await;
        let (away, up) = (began.elapsed(), Instant::now());
        customers.have_placed(before + 60, PATIENCE).await;
        oracle::all_say(fleet.site(), "UP", PATIENCE).await;
        sagas_tests::process::all_have_ended(fleet.site(), PATIENCE).await;
        println!("restart {restart} of {name}: away for {away:.1?}, all orders have ended {:.1?} after that", up.elapsed());
    }
    let orders = customers.leave().await;
    oracle::all_is_well(servers, &fleet, &orders, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn a_broker_that_is_gone_for_long_is_waited_for() {
    let seconds = std::env::var("SAGAS_TEST_OUTAGE_SECONDS").map_or(OUTAGE_SECONDS, |seconds| seconds.parse().expect("seconds"));
    let servers = Servers::start().await;
    let mut fleet = Fleet::whole(&servers, 1).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 4);
    customers.allow(50);
    customers.have_placed(25, PATIENCE).await;
    outage(&servers.kafka, fleet.site(), "the broker", Duration::from_secs(seconds), async || {
        // The outbox takes the events meanwhile.
        customers.have_placed(50, PATIENCE).await;
    })
    .await;
    println!("an order takes {:.1?} afterwards", oracle::time_to_serve(fleet.site(), &mut customers, PATIENCE).await);
    let orders = customers.leave().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn a_database_that_is_gone_is_waited_for() {
    let servers = Servers::start().await;
    let mut fleet = Fleet::whole(&servers, 1).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 4);
    customers.allow(50);
    customers.have_placed(25, PATIENCE).await;
    outage(&servers.postgres, fleet.site(), "the database", Duration::from_secs(10), async || {}).await;
    customers.have_placed(50, PATIENCE).await;
    println!("an order takes {:.1?} afterwards", oracle::time_to_serve(fleet.site(), &mut customers, PATIENCE).await);
    let orders = customers.leave().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
}

/// Stops a server for `length`. Every service must report that it is not ready and, when the server is available again, that it
/// is.
async fn outage(server: &Server, site: &Site, name: &str, length: Duration, meanwhile: impl AsyncFnOnce()) {
    server.run(&["stop"]).await;
    let began = Instant::now();
    oracle::all_say(site, "DOWN", PATIENCE).await;
    println!("without {name}, all services say so after {:.1?}", began.elapsed());
    meanwhile().await;
    sleep(length.saturating_sub(began.elapsed())).await;
    server.run(&["start"]).await;
    let up = Instant::now();
    oracle::all_say(site, "UP", PATIENCE).await;
    println!("{name} was away for {:.1?}; all services are ready {:.1?} after that", began.elapsed(), up.elapsed());
}
