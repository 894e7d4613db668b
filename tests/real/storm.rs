//! Members join and leave the groups continuously.

use std::time::Duration;

use sagas_tests::process::{Customers, Service};
use tokio::time::{Instant, sleep};

use super::{PATIENCE, fleet::Fleet, oracle, seeded, servers::Servers};

const CHANGES: usize = 30;
const ORDERS_PER_CHANGE: usize = 10;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn members_that_come_and_go_under_load_lose_nothing_and_double_nothing() {
    let mut rng = seeded();
    let servers = Servers::start().await;
    // The first member stays; each of the others runs or not.
    let mut fleet = Fleet::whole(&servers, 4).await;
    fleet.launch(0);
    fleet.all_serve().await;
    let mut customers = Customers::of(&fleet.sites[..1], 8);
    let (began, mut redelivered) = (Instant::now(), 0.0);
    for change in 1..=CHANGES {
        customers.allow(ORDERS_PER_CHANGE);
        customers.have_placed((change - 1) * ORDERS_PER_CHANGE + rng.usize(1..=ORDERS_PER_CHANGE), PATIENCE).await;
        let index = rng.usize(1..fleet.members.len());
        let comes = !fleet.members[index].is_up();
        println!("change {change:>2}: site {index} {}", if comes { "comes" } else { "goes" });
        if comes {
            fleet.launch(index);
            // During the rebalance of the others, or after it.
            sleep(Duration::from_millis(rng.u64(0..1_500))).await;
        } else {
            fleet.all_serve().await;
            redelivered += repeats(&fleet, index).await;
            fleet.stop(index, Duration::from_secs(20)).await;
        }
    }
    let all = CHANGES * ORDERS_PER_CHANGE;
    customers.have_placed(all, PATIENCE).await;
    let orders = customers.leave().await;
    fleet.all_serve().await;
    oracle::all_is_well(&servers, &fleet, &orders, PATIENCE).await;
    for index in 0..fleet.members.len() {
        if fleet.members[index].is_up() {
            redelivered += repeats(&fleet, index).await;
        }
    }
    println!("{CHANGES} changes and {all} orders in {:.1?}; {redelivered} messages were delivered again", began.elapsed());
}

/// Returns the number of messages that a process has received although they had been handled.
async fn repeats(fleet: &Fleet, index: usize) -> f64 {
    let mut sum = 0.0;
    for service in Service::ALL {
        sum += oracle::counted(&fleet.sites[index], service, "sagas_deliveries_total", "outcome=\"duplicate\"").await;
    }
    sum
}
