//! `kill -9` of service processes at random times, repeatedly, with two processes of each service.

use std::time::Duration;

use sagas_tests::process::Customers;
use tokio::time::{Instant, sleep};

use super::{PATIENCE, fleet::Fleet, oracle, seeded, servers::Servers};

const KILLS: usize = 20;
const ORDERS: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn twenty_kills_among_two_instances_of_each_service_lose_nothing_and_double_nothing() {
    let mut rng = seeded();
    let servers = Servers::start().await;
    let mut fleet = Fleet::split(&servers, 2).await;
    fleet.start_all().await;
    let mut customers = Customers::of(&fleet.sites, 8);
    let began = Instant::now();
    for kill in 1..=KILLS {
        let allowed = ORDERS * kill / KILLS;
        customers.allow(allowed - ORDERS * (kill - 1) / KILLS);
        // Between the first and the last of these orders, or a little later.
        let some = rng.usize(1..=ORDERS / KILLS);
        customers.have_placed(allowed - ORDERS / KILLS + some, PATIENCE).await;
        let (victim, delay) = (rng.usize(0..fleet.members.len()), Duration::from_millis(rng.u64(0..2_500)));
        sleep(delay).await;
        println!("kill {kill:>2}: {} {delay:?} after {some} of {} orders", fleet.members[victim].name(), ORDERS / KILLS);
        fleet.kill(victim).await;
        fleet.launch(victim);
    }
    customers.have_placed(ORDERS, PATIENCE).await;
    let orders = customers.leave().await;
    println!("{ORDERS} orders are acknowledged after {:?}", began.elapsed());
    fleet.all_serve().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
    println!("all is well after {:?}", began.elapsed());
}
