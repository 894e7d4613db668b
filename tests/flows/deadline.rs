//! Scenario 6, second half: the gateway stays down, and the order is cancelled after its deadline.

use std::time::Duration;

use sagas::time::{Clock, Timestamp};
use sagas_tests::{Shop, eventually};
use serde_json::{Value, json};

async fn payment(shop: &Shop, order_id: &str) -> Value {
    shop.list("payment", &format!("/payments?orderId={order_id}")).await.pop().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undecided_order_is_cancelled_at_its_deadline_and_the_stock_returned() {
    let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
    let shop = Shop::opening().clock(clock.clone()).open().await;
    shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    let order_id = shop.place("ada", "tea", 2, 9.9).await;
    shop.order_is(&order_id, "INVENTORY_RESERVED").await;
    let saga = shop.get("order", &format!("/orders/{order_id}/saga")).await.is(200);
    assert_eq!((&saga["state"], &saga["current"]), (&json!("RUNNING"), &json!("ProcessPayment")), "{saga}");
    assert_eq!(saga["expectedNext"], json!(["PaymentProcessed", "PaymentFailed"]));
    let started = saga["startedAt"].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(saga["deadline"], started.after(Duration::from_secs(900)).to_string());

    let ended = async || (shop.order(&order_id).await["status"] == "CANCELLED").then_some(());
    let ((), took) = shop.pass(Duration::from_secs(30), ended).await;
    assert!((Duration::from_secs(870)..=Duration::from_secs(930)).contains(&took), "{took:?}");
    assert_eq!(shop.order(&order_id).await["reason"], "the deadline has passed");
    let done = async || {
        let given_up = payment(&shop, &order_id).await["status"] == "FAILED";
        (given_up && shop.stock("tea").await == (1_000, 0, 0)).then_some(())
    };
    shop.pass(Duration::from_secs(1), done).await;

    shop.put("payment", "/gateway", &json!({"outage": false})).await.is(200);
    let settled = async || {
        let health = shop.get("payment", "/health").await.json();
        (health["checks"]["parkedKeys"]["messages"] == 0).then_some(())
    };
    shop.pass(Duration::from_secs(1), settled).await;
    assert_eq!(payment(&shop, &order_id).await["status"], "FAILED", "it is not charged any more");
    let saga = shop.get("order", &format!("/sagas/PlaceOrder/{order_id}")).await.is(200);
    assert_eq!(saga["state"], "ABORTED");
    let timer = saga["history"].as_array().unwrap().iter().find(|entry| entry["event"] == "timer.deadline");
    assert_eq!(timer.unwrap()["note"], "the deadline has passed");
    let next = shop.place("ada", "tea", 1, 9.9).await;
    shop.pass(Duration::from_secs(1), async || (shop.order(&next).await["status"] == "COMPLETED").then_some(())).await;
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_payment_that_comes_after_the_deadline_is_refunded() {
    let shop = Shop::opening().order_deadline(Duration::from_secs(1)).open().await;
    // The deadline counts from when the order is placed, and the services may still be joining their groups.
    let completed = async || {
        let order_id = shop.place("bob", "mug", 1, 1.0).await;
        let ended = async || {
            let order = shop.order(&order_id).await;
            ["COMPLETED", "CANCELLED"].iter().find(|status| order["status"] == **status).copied()
        };
        (eventually("the order has ended", ended).await == "COMPLETED").then_some(())
    };
    eventually("orders are completed", completed).await;
    shop.put("payment", "/gateway", &json!({"latencyMs": 2_500})).await.is(200);
    let order_id = shop.place("ada", "tea", 2, 9.9).await;
    let cancelled = shop.order_is(&order_id, "CANCELLED").await;
    assert_eq!(cancelled["reason"], "the deadline has passed");
    assert_ne!(payment(&shop, &order_id).await["status"], "REFUNDED", "the gateway is still being asked");
    eventually("the payment is refunded", async || (payment(&shop, &order_id).await["status"] == "REFUNDED").then_some(())).await;
    shop.quiet().await;
    assert_eq!(shop.stock("tea").await, (1_000, 0, 0));
    assert_eq!(shop.order(&order_id).await["status"], "CANCELLED");
    let saga = shop.get("order", &format!("/orders/{order_id}/saga")).await.is(200);
    assert_eq!((&saga["state"], &saga["notAllowed"]), (&json!("ABORTED"), &json!(0)), "{saga}");
    shop.check().await;
    shop.close().await;
}
