//! `kill -9` at random times, repeatedly: every acknowledged order takes effect, exactly once.
//!
//! `SAGAS_TEST_SEED` selects other times.

use std::{collections::BTreeMap, path::Path, time::Duration};

use sagas_tests::process::{
    Acknowledged, Customers, Program, Service, Site, all_events, all_have_ended, eventually, every_order_ended_as_it_should,
    fates, free_base_port, place, the_sums_are_right,
};
use serde_json::json;
use tokio::time::{Instant, sleep};

use super::{
    data::{self, Charges},
    program::serve,
};

const KILLS: usize = 20;
const ORDERS: usize = 500;
/// How long one phase of the test can take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// During the start, while it recovers from the last kill.
    Starting,
    /// While orders are in flight.
    Working,
    /// When no work is left.
    Idle,
}

impl Moment {
    /// Returns six kills during the start, eleven during work and three when idle, shuffled.
    fn all(rng: &mut fastrand::Rng) -> Vec<Self> {
        let mut all = [vec![Self::Starting; 6], vec![Self::Working; 11], vec![Self::Idle; 3]].concat();
        assert_eq!(all.len(), KILLS);
        rng.shuffle(&mut all);
        all
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_during_500_orders_lose_nothing_and_double_nothing() {
    let seed = std::env::var("SAGAS_TEST_SEED").map_or(1, |seed| seed.parse().expect("SAGAS_TEST_SEED is a number"));
    println!("SAGAS_TEST_SEED={seed}");
    let mut rng = fastrand::Rng::with_seed(seed);
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let start = || Program::start(&mut serve(folder.path(), base_port));

    let began = Instant::now();
    let mut program = start();
    program.serving().await;
    let start_time = began.elapsed();
    let mut customers = Customers::of(std::slice::from_ref(&shop), 8);
    let mut allowed = 0;
    for (index, moment) in Moment::all(&mut rng).into_iter().enumerate() {
        let about_to = match moment {
            Moment::Starting => {
                program.kill().await;
                program = start();
                let delay = Duration::from_millis(start_time.mul_f64(rng.f64() * 1.2).as_millis() as u64);
                sleep(delay).await;
                format!("{delay:?} after the start")
            }
            Moment::Working | Moment::Idle => {
                program.serving().await;
                let more = ORDERS / 14;
                customers.allow(more);
                allowed += more;
                let open = allowed - customers.placed();
                match moment {
                    Moment::Idle => {
                        customers.have_placed(allowed, PATIENCE).await;
                        all_have_ended(&shop, PATIENCE).await;
                        "when nothing is left".to_owned()
                    }
                    _ => {
                        let some = rng.usize(1..=open);
                        customers.have_placed(allowed - open + some, PATIENCE).await;
                        let delay = Duration::from_millis(rng.u64(0..60));
                        sleep(delay).await;
                        format!("{delay:?} after {some} of {open} orders")
                    }
                }
            }
        };
        println!("kill {:>2}: {about_to}", index + 1);
        program.kill().await;
        program = start();
    }

    program.serving().await;
    customers.allow(ORDERS - allowed);
    customers.have_placed(ORDERS, PATIENCE).await;
    let orders = customers.leave().await;
    all_have_ended(&shop, PATIENCE).await;
    assert_eq!(orders.len(), ORDERS);
    every_order_ended_as_it_should(&shop, &orders).await;
    the_sums_are_right(&shop, &orders, PATIENCE).await;

    program.signal("INT").await;
    let ended = program.ends_within(Duration::from_secs(15)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    nothing_is_left_and_nothing_was_done_twice(folder.path(), &orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_acknowledged_just_before_the_kill_completes_after_it() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    let order_id = place(&shop, 0).await;
    program.kill().await;

    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    ends_as(&shop, &order_id, "COMPLETED").await;
    assert_eq!(place(&shop, 0).await, order_id, "its Idempotency-Key still stands for it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_waits_for_the_gateway_waits_through_the_kill() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Site::at(base_port);
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    let outage = shop.http.put(shop.url(Service::Payment, "/gateway")).json(&json!({"outage": true})).send().await.unwrap();
    assert!(outage.status().is_success(), "{outage:?}");
    let order_id = place(&shop, 0).await;
    eventually(PATIENCE, "the payment waits", async || {
        let payments = shop.get(Service::Payment, &format!("/payments?orderId={order_id}")).await?;
        (payments[0]["status"] == "PROCESSING").then_some(()).ok_or_else(|| payments.to_string())
    })
    .await;
    program.kill().await;

    // The simulated gateway starts together with the program, and without its outage.
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    ends_as(&shop, &order_id, "COMPLETED").await;
    let payments = shop.get(Service::Payment, &format!("/payments?orderId={order_id}")).await.unwrap();
    assert_eq!(payments.as_array().map(Vec::len), Some(1), "{payments}");
    assert_eq!(payments[0]["status"], "COMPLETED", "{payments}");
}

async fn ends_as(shop: &Site, order_id: &str, expected: &str) {
    eventually(PATIENCE, "the order ends", async || {
        let status = shop.status(order_id).await?;
        (status == expected).then_some(()).ok_or_else(|| format!("it is {status}, not yet {expected}"))
    })
    .await;
}

async fn nothing_is_left_and_nothing_was_done_twice(data_dir: &Path, orders: &Acknowledged) {
    assert_eq!(data::leftovers(data_dir).await, Vec::<String>::new());
    let [completed, _, declined] = fates(orders).map(|count| i64::try_from(count).unwrap());
    let charges = data::charges(data_dir).await;
    assert_eq!(charges, Charges { asked: completed + declined, orders: completed + declined, taken: completed });

    let published = data::published(data_dir).await;
    let twice: Vec<_> = published.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "published as two events: {twice:#?}");
    let mut by_type = BTreeMap::<_, usize>::new();
    published.keys().for_each(|(_, (name, _))| *by_type.entry(name.clone()).or_default() += 1);
    assert_eq!(data::counted(data_dir).await, by_type, "events that the analytics service has counted");
    assert_eq!(published.len(), all_events(orders), "events in the log");
}
