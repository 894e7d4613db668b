//! Scenario 4: the customer cannot be notified.

use std::time::Duration;

use reqwest::Method;
use sagas::time::{Clock, Timestamp};
use sagas_tests::{Answer, Shop, event_type, payload};
use serde_json::{Value, json};

use crate::trace::assert_traced;

/// Opens a shop whose e-mails cannot be sent, with an order whose notifications have failed.
async fn shop_with_failed_notifications() -> (Shop, String, Duration) {
    let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
    let shop = Shop::opening().clock(clock).open().await;
    shop.put("notification", "/providers", &json!({"email": {"outage": true}})).await.is(200);
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    let given_up = async || (shop.count("notification", "/dead-letters").await == 2).then_some(());
    let ((), took) = shop.pass(Duration::from_millis(500), given_up).await;
    (shop, order_id, took)
}

fn failed(kind: &str) -> (String, String) {
    (kind.to_owned(), "FAILED".to_owned())
}

fn sent(kind: &str) -> (String, String) {
    (kind.to_owned(), "SENT".to_owned())
}

/// Returns the dead letter of a message of `topic`.
async fn dead_letter(shop: &Shop, topic: &str) -> Value {
    let letters = shop.list("notification", "/dead-letters").await;
    letters.into_iter().find(|letter| letter["topic"] == topic).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_notification_fails_after_five_attempts_within_a_minute() {
    let (shop, order_id, took) = shop_with_failed_notifications().await;
    assert!(took <= Duration::from_secs(60), "{took:?}");
    assert_eq!(shop.notifications(&order_id).await, [failed("ORDER_CONFIRMATION"), failed("PAYMENT_CONFIRMATION")]);
    assert_eq!(shop.order(&order_id).await["status"], "COMPLETED", "it never undoes an order");

    for (topic, event) in [("orders", "OrderConfirmed"), ("payments", "PaymentProcessed")] {
        let letter = dead_letter(&shop, topic).await;
        let mut names: Vec<_> = letter.as_object().unwrap().keys().map(String::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["at", "attempts", "error", "handler", "id", "key", "offset", "partition", "topic", "type"]);
        assert_eq!((&letter["type"], &letter["key"]), (&json!(event), &json!(order_id)));
        assert_eq!(letter["attempts"], 5, "{letter}");
        assert!(letter["error"].as_str().unwrap().contains("EMAIL"), "{letter}");
        let whole = shop.get("notification", &format!("/dead-letters/{}", letter["id"].as_str().unwrap())).await.is(200);
        let value: Value = serde_json::from_str(whole["value"].as_str().unwrap()).unwrap();
        assert_eq!(value["order_id"], order_id);
    }
    let records = shop.records_of("notifications", &order_id).await;
    assert_eq!(records.len(), 2);
    for record in records {
        assert_eq!(event_type(&record), "NotificationFailed");
        assert!(payload(&record)["error"].as_str().unwrap().contains("EMAIL"));
    }

    // Only the notifications are affected.
    let correlation_id = shop.order(&order_id).await["correlationId"].as_str().unwrap().to_owned();
    assert_traced(&shop, &order_id, &correlation_id).await;
    assert_eq!(shop.stock("tea").await, (999, 0, 1));
    let reservations = shop.list("inventory", &format!("/reservations?orderId={order_id}")).await;
    assert_eq!(reservations.iter().map(|reservation| &reservation["status"]).collect::<Vec<_>>(), [&json!("SOLD")]);
    let payments = shop.list("payment", &format!("/payments?orderId={order_id}")).await;
    assert_eq!(payments.iter().map(|payment| &payment["status"]).collect::<Vec<_>>(), [&json!("COMPLETED")]);
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 1, "completed": 1, "cancelled": 0, "inFlight": 0}));
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_retried_is_sent() {
    let (shop, order_id, _) = shop_with_failed_notifications().await;
    shop.put("notification", "/providers", &json!({"email": {"outage": false}})).await.is(200);
    let letter = dead_letter(&shop, "orders").await;
    let path = format!("/dead-letters/{}", letter["id"].as_str().unwrap());

    let retried = Answer::to(shop.request(Method::POST, "notification", &format!("{path}/retry"))).await;
    assert_eq!(retried.status, 202, "{}", retried.text);
    shop.quiet().await;
    assert_eq!(shop.notifications(&order_id).await, [sent("ORDER_CONFIRMATION"), failed("PAYMENT_CONFIRMATION")]);
    let open = shop.list("notification", "/dead-letters").await;
    assert_eq!(open.len(), 1);
    assert_eq!(open[0]["topic"], "payments");
    let types: Vec<_> =
        shop.records_of("notifications", &order_id).await.iter().map(|record| event_type(record).to_owned()).collect();
    assert_eq!(types.iter().filter(|name| *name == "NotificationSent").count(), 1, "{types:?}");
    shop.post("notification", &format!("{path}/retry"), &json!({})).await.is_problem(409, "CONFLICT");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_letter_that_is_discarded_stays_unsent() {
    let (shop, order_id, _) = shop_with_failed_notifications().await;
    shop.put("notification", "/providers", &json!({"email": {"outage": false}})).await.is(200);
    let letter = dead_letter(&shop, "payments").await;
    let path = format!("/dead-letters/{}", letter["id"].as_str().unwrap());
    let request = shop.request(Method::POST, "notification", &format!("{path}/discard"));
    assert_eq!(Answer::to(request).await.status, 202);
    shop.quiet().await;
    assert_eq!(shop.notifications(&order_id).await, [failed("ORDER_CONFIRMATION"), failed("PAYMENT_CONFIRMATION")]);
    assert_eq!(shop.count("notification", "/dead-letters").await, 1);
    shop.post("notification", &format!("{path}/retry"), &json!({})).await.is_problem(409, "CONFLICT");
    shop.close().await;
}
