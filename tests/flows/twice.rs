//! Every message is delivered twice and late, from a log that fails now and then: effects happen once.

use std::{sync::Arc, time::Duration};

use sagas::{
    port::transport::Transport,
    testing::faulty::{Faults, Faulty},
    time::Clock,
};
use sagas_tests::{SERVICES, Shop, event_type, eventually};
use serde_json::json;

/// Everything is delivered twice, the second time behind other messages, and much of it late.
fn twice_and_late() -> Faults {
    Faults {
        duplicate: 1.0,
        duplicate_after: Duration::from_millis(100),
        delay: 0.3,
        delay_for: Duration::from_millis(150),
        ..Faults::default()
    }
}

/// Opens a shop on a log with `faults`.
async fn shop(faults: Faults, seed: u64) -> (Shop, Arc<Faulty>) {
    let (give, mut take) = tokio::sync::oneshot::channel();
    let wrap = move |log| {
        let faulty = Arc::new(Faulty::new(log, faults, seed, Clock::system()));
        drop(give.send(faulty.clone()));
        faulty as Arc<dyn Transport>
    };
    let shop = Shop::opening().over(wrap).open().await;
    (shop, take.try_recv().unwrap())
}

/// Waits until everything has also been delivered the second time.
async fn all_has_come(shop: &Shop, faulty: &Faulty) {
    eventually("nothing is held back", async || {
        shop.quiet().await;
        (faulty.held_back() == 0).then_some(())
    })
    .await;
    shop.quiet().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_flow_has_its_effects_once() {
    let (shop, faulty) = shop(twice_and_late(), 1).await;
    let mut happy = Vec::new();
    for number in 0..10 {
        happy.push(shop.place(&format!("happy-{number}"), "tea", 2, 9.9).await);
    }
    let short = shop.place("short", "last-one", 2, 99.0).await;
    let declined = shop.place("declined", "coffee", 500, 14.5).await;
    for order_id in &happy {
        shop.order_is(order_id, "COMPLETED").await;
    }
    shop.order_is(&short, "CANCELLED").await;
    shop.order_is(&declined, "CANCELLED").await;
    shop.post("order", &format!("/orders/{}/ship", happy[0]), &json!({"trackingNumber": "T"})).await.is(202);
    all_has_come(&shop, &faulty).await;

    for (number, order_id) in happy.iter().enumerate() {
        let mut flow = vec!["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed"];
        let mut kinds = vec!["ORDER_CONFIRMATION", "PAYMENT_CONFIRMATION"];
        if number == 0 {
            flow.push("OrderShipped");
            kinds.push("SHIPPING_NOTIFICATION");
        }
        assert_history(&shop, order_id, &flow).await;
        assert_told(&shop, order_id, &kinds).await;
        let payments = shop.list("payment", &format!("/payments?orderId={order_id}")).await;
        assert_eq!(payments.len(), 1, "{payments:?}");
        assert_eq!(payments[0]["status"], "COMPLETED");
    }
    assert_history(&shop, &short, &["OrderCreated", "InventoryInsufficient", "OrderCancelled"]).await;
    assert_told(&shop, &short, &["INVENTORY_INSUFFICIENT", "ORDER_CANCELLED"]).await;
    let flow = ["OrderCreated", "InventoryReserved", "PaymentFailed", "InventoryReleased", "OrderCancelled"];
    assert_history(&shop, &declined, &flow).await;
    assert_told(&shop, &declined, &["ORDER_CANCELLED"]).await;

    assert_eq!(shop.stock("tea").await, (980, 0, 20));
    assert_eq!(shop.stock("last-one").await, (1, 0, 0));
    assert_eq!(shop.stock("coffee").await, (1000, 0, 0));
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 12, "completed": 10, "cancelled": 2, "inFlight": 0}));
    assert_eq!(metrics["topProducts"], json!([{"productId": "tea", "quantity": 20}]));
    assert_eq!(shop.check().await["inFlight"], 0);
    shop.close().await;
}

/// Checks that the events of the order are published once each, and that its history contains each once.
async fn assert_history(shop: &Shop, order_id: &str, flow: &[&str]) {
    assert_eq!(shop.history_types(order_id).await, flow);
    let mut published = Vec::new();
    for topic in ["orders", "inventory", "payments"] {
        let records = shop.records_of(topic, order_id).await;
        published.extend(records.iter().map(|record| event_type(record).to_owned()));
    }
    published.sort_unstable();
    let mut expected = flow.to_vec();
    expected.sort_unstable();
    assert_eq!(published, expected);
}

/// Checks that the customer received each of these notifications once.
async fn assert_told(shop: &Shop, order_id: &str, kinds: &[&str]) {
    let expected: Vec<_> = kinds.iter().map(|kind| ((*kind).to_owned(), "SENT".to_owned())).collect();
    assert_eq!(shop.notifications(order_id).await, expected);
    assert_eq!(shop.records_of("notifications", order_id).await.len(), kinds.len());
}

/// A record that is published more than once, because it was not acknowledged, has the same id each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fails_and_does_not_say_what_it_has_stored_changes_nothing() {
    let faults =
        Faults { fail_publish: 0.2, cut_publish: 0.2, lose_answer: 0.3, fail_commit: 0.3, duplicate: 0.3, ..twice_and_late() };
    let (shop, faulty) = shop(faults, 2).await;
    let orders = [("tea", 1, 9.9, "COMPLETED"), ("sold-out", 1, 19.0, "CANCELLED"), ("mug", 1, 6000.0, "CANCELLED")];
    let mut placed = Vec::new();
    for (product, quantity, price, end) in orders.into_iter().cycle().take(15) {
        placed.push((shop.place("ada", product, quantity, price).await, end));
    }
    for (order_id, end) in &placed {
        shop.order_is(order_id, end).await;
    }
    faulty.set(Faults::default());
    all_has_come(&shop, &faulty).await;

    for (order_id, end) in &placed {
        assert_eq!(shop.order(order_id).await["status"], *end);
    }
    assert_eq!(shop.stock("tea").await, (995, 0, 5));
    assert_eq!(shop.stock("mug").await, (500, 0, 0));
    // Two for each order that was completed or out of stock, one for each that was declined.
    assert_eq!(shop.count("notification", "/notifications").await, 25);
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 15, "completed": 5, "cancelled": 10, "inFlight": 0}));
    for service in SERVICES {
        // On a shared database, the backlog is measured only now and then.
        eventually(&format!("{service} has nothing left to send"), async || {
            let health = shop.get(service, "/health").await.is(200);
            (health["checks"]["outbox"]["rows"] == 0).then_some(())
        })
        .await;
        assert_eq!(shop.count(service, "/dead-letters").await, 0, "{service}");
    }
    shop.check().await;
    shop.close().await;
}
