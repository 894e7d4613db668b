//! `kill -9`, at any moment, again and again: whatever was acknowledged happens, and happens once.
//!
//! `SAGAS_TEST_SEED` chooses other moments.

use std::{collections::BTreeMap, path::Path, time::Duration};

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    customer::{Acknowledged, Customers, Fate, place, wanted},
    data::{self, Charges},
    program::{Program, eventually, free_base_port, serve},
    shop::{Service, Shop},
};

const KILLS: usize = 20;
const ORDERS: usize = 500;
/// How long a bounded piece of work may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// When the process is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    /// While it starts, and takes up what the last kill left.
    Starting,
    /// While orders are on their way.
    Working,
    /// When nothing is left to do.
    Idle,
}

impl Moment {
    /// Six while starting, eleven while working, three while idle, shuffled.
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
    let shop = Shop::at(base_port);
    let start = || Program::start(&mut serve(folder.path(), base_port));

    let began = Instant::now();
    let mut program = start();
    program.serving().await;
    let start_time = began.elapsed();
    let mut customers = Customers::of(&shop, 8);
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
                        all_have_ended(&shop).await;
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
    all_have_ended(&shop).await;
    every_order_ended_as_it_should(&shop, &orders).await;
    the_sums_are_right(&shop, &orders).await;

    program.signal("INT").await;
    let ended = program.ends_within(Duration::from_secs(15)).await;
    assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    nothing_is_left_and_nothing_was_done_twice(folder.path(), &orders).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_acknowledged_just_before_the_kill_completes_after_it() {
    let (folder, base_port) = (tempfile::tempdir().unwrap(), free_base_port());
    let shop = Shop::at(base_port);
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
    let shop = Shop::at(base_port);
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

    // The simulated gateway is started with the program, and its outage is over.
    let mut program = Program::start(&mut serve(folder.path(), base_port));
    program.serving().await;
    ends_as(&shop, &order_id, "COMPLETED").await;
    let payments = shop.get(Service::Payment, &format!("/payments?orderId={order_id}")).await.unwrap();
    assert_eq!(payments.as_array().map(Vec::len), Some(1), "{payments}");
    assert_eq!(payments[0]["status"], "COMPLETED", "{payments}");
}

async fn ends_as(shop: &Shop, order_id: &str, expected: &str) {
    eventually(PATIENCE, "the order ends", async || {
        let status = shop.status(order_id).await?;
        (status == expected).then_some(()).ok_or_else(|| format!("it is {status}, not yet {expected}"))
    })
    .await;
}

async fn all_have_ended(shop: &Shop) {
    eventually(PATIENCE, "every order ends", async || {
        let report = shop.get(Service::Order, "/check").await?;
        (report["inFlight"] == 0).then_some(()).ok_or_else(|| report.to_string())
    })
    .await;
}

async fn every_order_ended_as_it_should(shop: &Shop, orders: &Acknowledged) {
    assert_eq!(orders.len(), ORDERS);
    assert_eq!(shop.count(Service::Order, "/orders").await.unwrap(), ORDERS, "orders in the shop, whatever was asked twice");
    for (number, order_id) in orders {
        let events = shop.get(Service::Order, &format!("/orders/{order_id}/events")).await.unwrap();
        let mut types: Vec<_> = events.as_array().unwrap().iter().map(|event| event["type"].as_str().unwrap()).collect();
        let fate = Fate::of(*number);
        let last = if fate == Fate::Completes { "OrderConfirmed" } else { "OrderCancelled" };
        let ends = (types.first().copied(), types.last().copied());
        assert_eq!(ends, (Some("OrderCreated"), Some(last)), "order {number} ({fate:?}): {types:?}");
        let all = types.len();
        types.sort_unstable();
        types.dedup();
        assert_eq!(types.len(), all, "order {number} took an event in twice: {events:#}");
        assert_eq!(shop.status(order_id).await.unwrap(), fate.status(), "order {number} ({fate:?})");
    }
}

/// Of all orders: how many complete, are out of stock, are declined.
fn fates(orders: &Acknowledged) -> [usize; 3] {
    [Fate::Completes, Fate::OutOfStock, Fate::Declined]
        .map(|fate| orders.keys().filter(|number| Fate::of(**number) == fate).count())
}

/// How many events all orders come to: each flow's, with its notifications.
fn all_events(orders: &Acknowledged) -> usize {
    let [completed, out_of_stock, declined] = fates(orders);
    6 * completed + 5 * out_of_stock + 6 * declined
}

async fn the_sums_are_right(shop: &Shop, orders: &Acknowledged) {
    let [completed, out_of_stock, declined] = fates(orders);
    // What follows the end of an order: the sale, the customer's notifications, the numbers.
    let notifications = 2 * completed + 2 * out_of_stock + declined;
    eventually(PATIENCE, "everybody has heard of every order", async || {
        let sent = shop.count(Service::Notification, "/notifications").await?;
        let counted = shop.get(Service::Analytics, "/analytics/metrics").await?["orders"].clone();
        let products = shop.get(Service::Inventory, "/products").await?;
        let reserved: i64 = products.as_array().unwrap().iter().map(|product| product["reserved"].as_i64().unwrap()).sum();
        let (all, cancelled) = (ORDERS, out_of_stock + declined);
        let expected = json!({"created": all, "completed": completed, "cancelled": cancelled, "inFlight": 0});
        let events = shop.get(Service::Analytics, "/analytics/events").await?;
        let heard: u64 = events.as_object().unwrap().values().map(|total| total.as_u64().unwrap()).sum();
        let all_heard = heard >= u64::try_from(all_events(orders)).unwrap();
        let as_expected = sent == notifications && counted == expected && reserved == 0 && all_heard;
        as_expected
            .then_some(())
            .ok_or_else(|| format!("{sent} of {notifications} notifications, {reserved} reserved, {counted}, {events}"))
    })
    .await;

    let report = shop.get(Service::Order, "/check").await.unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
    assert_eq!(report["confirmed"], completed, "{report:#}");
    assert_eq!(report["cancelled"], out_of_stock + declined, "{report:#}");
    assert_eq!(shop.count(Service::Payment, "/payments").await.unwrap(), completed + declined);
    for product in shop.get(Service::Inventory, "/products").await.unwrap().as_array().unwrap() {
        the_stock_is_right(product, orders);
    }
}

fn the_stock_is_right(product: &Value, orders: &Acknowledged) {
    let bought = orders.keys().filter(|number| Fate::of(**number) == Fate::Completes).map(|number| wanted(*number));
    let sold: u32 = bought.filter(|(name, _)| product["productId"] == *name).map(|(_, quantity)| quantity).sum();
    let at_first = match product["productId"].as_str().unwrap() {
        "tea" | "coffee" => 1_000,
        "mug" => 500,
        "teapot" => 50,
        "last-one" => 1,
        "sold-out" => 0,
        other => panic!("nobody sells {other}"),
    };
    let counted = ["available", "reserved", "sold"].map(|units| product[units].as_u64().unwrap());
    assert_eq!(counted, [at_first - u64::from(sold), 0, u64::from(sold)], "{product}");
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
