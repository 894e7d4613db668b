//! The events that a reader receives while orders run.

use std::collections::BTreeMap;

use reqwest::Method;
use sagas_tests::{EventStream, ServerEvent, Shop};
use serde_json::json;
use tokio::time::{Duration, Instant};

use super::{Analytics, happenings};

async fn read(shop: &Shop, path: &str) -> EventStream {
    EventStream::open(shop.request(Method::GET, "analytics", path)).await
}

fn rank(status: &str) -> usize {
    let ranks: [&[&str]; 5] = [
        &["CREATED"],
        &["INVENTORY_RESERVED", "INVENTORY_INSUFFICIENT"],
        &["PAYMENT_PROCESSED", "PAYMENT_FAILED"],
        &["COMPLETED", "CANCELLED"],
        &["SHIPPED"],
    ];
    ranks.iter().position(|rank| rank.contains(&status)).unwrap_or_else(|| panic!("no status: {status}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flow_is_told_as_it_goes() {
    let shop = Shop::open().await;
    let mut stream = read(&shop, "/api/v1/analytics/stream").await;
    assert_eq!(stream.response.headers()["cache-control"], "no-store");
    assert_eq!(stream.response.headers()["x-accel-buffering"], "no");
    let first = stream.next().await.unwrap();
    assert_eq!((first.name.as_str(), first.position(), &first.data), ("snapshot", 0, &json!({"orders": []})));
    assert_eq!(stream.retry, Some(2_000));

    let completed = shop.place("ada", "tea", 2, 9.9).await;
    let short = shop.place("bob", "sold-out", 1, 19.0).await;
    let declined = shop.place("eve", "teapot", 1, 5_000.01).await;
    shop.order_is(&completed, "COMPLETED").await;
    shop.post("order", &format!("/orders/{completed}/ship"), &json!({"trackingNumber": "T-1"})).await.is(202);
    // One topic can be ahead of another for a moment: more changes can follow the end of an order.
    let mut changes: BTreeMap<String, Vec<ServerEvent>> = BTreeMap::new();
    for change in stream.orders(13).await {
        changes.entry(change.text("orderId").to_owned()).or_default().push(change);
    }
    shop.quiet().await;

    for (order, events, last) in [
        (&completed, &["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed", "OrderShipped"][..], "SHIPPED"),
        (&short, &["OrderCreated", "InventoryInsufficient", "OrderCancelled"], "CANCELLED"),
        (&declined, &["OrderCreated", "InventoryReserved", "PaymentFailed", "InventoryReleased", "OrderCancelled"], "CANCELLED"),
    ] {
        let told = &changes[order];
        // Events out of order do not change the status.
        let mut names: Vec<_> = told.iter().map(|change| change.text("changedBy")).collect();
        let mut expected = events.to_vec();
        names.sort_unstable();
        expected.sort_unstable();
        assert_eq!(names, expected, "{told:#?}");
        let statuses: Vec<_> = told.iter().map(|change| change.text("status")).collect();
        assert!(statuses.is_sorted_by_key(|status| rank(status)), "{statuses:?}");
        assert_eq!(*statuses.last().unwrap(), last);
        let history = shop.history(order).await;
        for change in told {
            let event = history.iter().find(|event| event["type"] == change.data["changedBy"]).unwrap();
            assert_eq!(change.data["eventId"], event["eventId"], "the event in the order's history");
            assert!(change.text("at").ends_with('Z'), "{change:?}");
            assert_eq!(change.data.as_object().unwrap().len(), 5, "{change:?}");
        }
    }
    let mut positions: Vec<_> = changes.values().flatten().map(ServerEvent::position).collect();
    positions.sort_unstable();
    assert_eq!(positions, (1..=13).collect::<Vec<_>>(), "without a gap");

    let numbers = shop.get("analytics", "/analytics/metrics").await.is(200);
    loop {
        let told = stream.next_of("metrics").await;
        assert_eq!(told.id, None);
        if told.data["orders"] == numbers["orders"] {
            assert_eq!(told.data, numbers, "as /analytics/metrics says");
            break;
        }
    }

    // A new reader receives the current state of the orders.
    let snapshot = read(&shop, "/analytics/stream").await.next().await.unwrap();
    assert_eq!((snapshot.name.as_str(), snapshot.position()), ("snapshot", 13));
    let orders = snapshot.data["orders"].as_array().unwrap();
    let known: BTreeMap<_, _> = orders.iter().map(|order| (order["orderId"].as_str().unwrap(), &order["status"])).collect();
    let expected = [(&completed, "SHIPPED"), (&short, "CANCELLED"), (&declined, "CANCELLED")];
    assert_eq!(orders.len(), 3);
    for (order, status) in expected {
        assert_eq!(known[order.as_str()], status);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_come_when_they_change_and_once_a_second_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let service = Analytics::new(folder.path());
    let ids = sagas::id::IdSource::random();
    let instance = service.start().await;
    let mut stream = instance.read().await;
    let first = stream.next_of("metrics").await;
    assert_eq!(first.data["orders"], json!({"created": 0, "completed": 0, "cancelled": 0, "inFlight": 0}));

    let began = Instant::now();
    let (mut told, mut orders) = (Vec::new(), 0);
    while began.elapsed() < Duration::from_millis(2_500) {
        let (records, placed) = happenings(&ids, 5);
        service.publish(records).await;
        orders += placed.len();
        for _ in 0..20 {
            loop {
                let event = stream.next().await.unwrap();
                match event.name.as_str() {
                    "order" => break,
                    _ => told.push(event.data),
                }
            }
        }
    }
    while told.last().is_none_or(|numbers| numbers["orders"]["completed"] != orders) {
        told.push(stream.next_of("metrics").await.data);
    }
    let seconds = began.elapsed().as_secs_f64();
    assert!((told.len() as f64) <= seconds + 2.0, "{} times in {seconds} s", told.len());
    assert!(told.windows(2).all(|pair| pair[0] != pair[1]), "each is another");

    // While nothing changes, only heartbeats are sent.
    let mut stream = EventStream::open(instance.get("/analytics/stream?heartbeat=1")).await;
    stream.next_of("metrics").await;
    for _ in 0..3 {
        assert_eq!(stream.comment().await, "heartbeat");
    }
    instance.stop().await;
}

/// The log is read when a handler's transaction has committed, and not only once a second, as for changes of other processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_is_sent_once_it_is_committed() {
    const ROUNDS: usize = 20;
    let folder = tempfile::tempdir().unwrap();
    let service = Analytics::new(folder.path());
    let ids = sagas::id::IdSource::random();
    let instance = service.start().await;
    let mut stream = instance.read().await;
    stream.next_of("metrics").await;
    let mut took = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        service.publish(happenings(&ids, 1).0).await;
        stream.orders(4).await;
        took.push(began.elapsed());
    }
    // A change that waits for the next periodic read takes almost a second, because the last read has just been made.
    let at_once = took.iter().filter(|took| **took < Duration::from_millis(700)).count();
    assert!(at_once >= ROUNDS / 2, "{took:?}");
    instance.stop().await;
}
