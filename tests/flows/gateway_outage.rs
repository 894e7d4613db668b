//! Scenario 6, first half: the payment gateway is down, orders wait, and complete when it is available again.

use std::time::Duration;

use futures_util::future::join_all;
use sagas_tests::{Shop, eventually};
use serde_json::json;
use tokio::time::Instant;

use crate::trace::assert_traced;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_wait_for_the_gateway_and_complete_when_it_is_back() {
    let shop = Shop::open().await;
    let before = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&before, "COMPLETED").await;

    let down = shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    assert_eq!(down, shop.get("payment", "/gateway").await.is(200));
    let mut waiting = Vec::new();
    for number in 0..8 {
        waiting.push(shop.place(&format!("customer-{number}"), "mug", 1, 7.25).await);
    }
    for order_id in &waiting {
        shop.order_is(order_id, "INVENTORY_RESERVED").await;
    }
    let waits = |status: &serde_json::Value| status == "PENDING" || status == "PROCESSING";
    eventually("every order has a payment that waits, and the breaker has opened", async || {
        let payments = shop.list("payment", "/payments?size=8").await;
        let open = payments.iter().any(|payment| payment["status"] == "PENDING");
        (open && payments.iter().all(|payment| waits(&payment["status"]))).then_some(())
    })
    .await;

    let started = Instant::now();
    assert_eq!(shop.order(&before).await["status"], "COMPLETED");
    assert_eq!(shop.list("payment", &format!("/payments?orderId={before}")).await.len(), 1);
    assert!(started.elapsed() < Duration::from_secs(2), "reads take their time: {:?}", started.elapsed());
    assert_eq!(shop.get("payment", "/health/ready").await.status, 200);
    let insufficient = shop.place("ada", "sold-out", 1, 19.0).await;
    shop.order_is(&insufficient, "CANCELLED").await;
    assert_eq!(shop.stock("mug").await, (492, 8, 0));

    shop.put("payment", "/gateway", &json!({"outage": false})).await.is(200);
    for order_id in &waiting {
        shop.order_is(order_id, "COMPLETED").await;
        let payments = shop.list("payment", &format!("/payments?orderId={order_id}")).await;
        assert_eq!(payments.len(), 1);
        assert_eq!(payments[0]["status"], "COMPLETED");
    }
    shop.quiet().await;
    assert_eq!(shop.stock("mug").await, (492, 0, 8));
    let sent = |kind: &str| (kind.to_owned(), "SENT".to_owned());
    for order_id in &waiting {
        let reservations = shop.list("inventory", &format!("/reservations?orderId={order_id}")).await;
        assert_eq!(reservations.iter().map(|reservation| &reservation["status"]).collect::<Vec<_>>(), [&json!("SOLD")]);
        assert_eq!(shop.notifications(order_id).await, [sent("ORDER_CONFIRMATION"), sent("PAYMENT_CONFIRMATION")]);
        let correlation_id = shop.order(order_id).await["correlationId"].as_str().unwrap().to_owned();
        assert_traced(&shop, order_id, &correlation_id).await;
    }
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 10, "completed": 9, "cancelled": 1, "inFlight": 0}));
    assert_eq!(shop.count("payment", "/dead-letters").await, 0);
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_calls_to_a_slow_gateway_run_side_by_side() {
    let latency = Duration::from_millis(1_500);
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"latencyMs": latency.as_millis() as u64})).await.is(200);
    let started = Instant::now();
    let orders = join_all((0..16).map(async |number| shop.place(&format!("c{number}"), "tea", 1, 9.9).await)).await;
    eventually("the gateway is being asked", async || {
        shop.list("payment", "/payments").await.iter().any(|payment| payment["status"] == "PROCESSING").then_some(())
    })
    .await;
    for order_id in &orders {
        shop.order_is(order_id, "COMPLETED").await;
    }
    assert!(started.elapsed() < latency * 8, "one after the other: {:?}", started.elapsed());
    shop.check().await;
    shop.close().await;
}
