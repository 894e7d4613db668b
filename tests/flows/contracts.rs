//! The fields of every event, as other programs read them.

use std::{collections::BTreeMap, time::Duration};

use sagas::time::{Clock, Timestamp};
use sagas_tests::{Shop, TOPICS, event_type, payload};
use serde_json::{Value, json};

/// Topic, source and fields of every event that the sagas here publish.
const EVENTS: [(&str, &str, &str, &[&str]); 11] = [
    ("OrderCreated", "orders", "order", &["order_id", "customer_id", "items", "total", "payment_method"]),
    ("OrderConfirmed", "orders", "order", &["order_id", "customer_id", "total"]),
    ("OrderCancelled", "orders", "order", &["order_id", "customer_id", "reason"]),
    ("OrderShipped", "orders", "order", &["order_id", "tracking"]),
    ("InventoryReserved", "inventory", "inventory", &["order_id", "reservations", "customer_id", "total", "payment_method"]),
    ("InventoryInsufficient", "inventory", "inventory", &["order_id", "missing", "reason"]),
    ("InventoryReleased", "inventory", "inventory", &["order_id", "released", "reason"]),
    ("PaymentProcessed", "payments", "payment", &["order_id", "payment_id", "amount", "payment_method"]),
    ("PaymentFailed", "payments", "payment", &["order_id", "payment_id", "amount", "reason"]),
    ("NotificationSent", "notifications", "notification", &["order_id", "customer_id", "kind", "channel", "message"]),
    ("NotificationFailed", "notifications", "notification", &["order_id", "customer_id", "kind", "channel", "message", "error"]),
];

fn assert_fields(what: &str, value: &Value, expected: &[&str]) {
    let mut fields: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = expected.to_vec();
    fields.sort_unstable();
    expected.sort_unstable();
    assert_eq!(fields, expected, "{what}: {value}");
}

/// Plays scenarios 1, 2 and 3, a shipment, and a text message that cannot be sent.
async fn play(shop: &Shop) {
    shop.put("notification", "/providers", &json!({"sms": {"outage": true}})).await.is(200);
    let happy = shop.place("ada", "tea", 2, 9.9).await;
    let short = shop.place("ada", "sold-out", 1, 19.0).await;
    let declined = shop.place("ada", "mug", 1, 6000.0).await;
    shop.order_is(&short, "CANCELLED").await;
    shop.order_is(&declined, "CANCELLED").await;
    shop.order_is(&happy, "COMPLETED").await;
    shop.post("order", &format!("/orders/{happy}/ship"), &json!({"trackingNumber": "T-1"})).await.is(202);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_has_the_fields_that_were_agreed() {
    let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
    let shop = Shop::opening().clock(clock).open().await;
    play(&shop).await;
    let given_up = async || (shop.count("notification", "/dead-letters").await == 1).then_some(());
    shop.pass(Duration::from_secs(1), given_up).await;

    let mut seen = BTreeMap::new();
    for topic in TOPICS {
        for received in shop.records(topic).await {
            let (name, value) = (event_type(&received.record).to_owned(), payload(&received.record));
            let event = EVENTS.iter().find(|(known, ..)| *known == name);
            let (_, home, source, fields) = event.unwrap_or_else(|| panic!("nobody agreed on {name}"));
            assert_eq!((topic, received.record.header("ce_source")), (*home, Some(*source)), "{name}");
            assert_fields(&name, &value, fields);
            seen.insert(name, value);
        }
    }
    let expected: BTreeMap<_, _> = EVENTS.iter().map(|(name, ..)| ((*name).to_owned(), ())).collect();
    assert!(seen.keys().eq(expected.keys()), "{:?}", seen.keys());

    let items = ["product_id", "product_name", "quantity", "unit_price"];
    assert_fields("item", &seen["OrderCreated"]["items"][0], &items);
    assert_fields("reservation", &seen["InventoryReserved"]["reservations"][0], &["product_id", "quantity", "reservation_id"]);
    assert_fields("missing", &seen["InventoryInsufficient"]["missing"][0], &["product_id", "requested", "available"]);
    assert_fields("released", &seen["InventoryReleased"]["released"][0], &["product_id", "quantity"]);
    let money = json!({"minor_units": 1980, "currency": "EUR"});
    assert_eq!((&seen["OrderConfirmed"]["total"], &seen["PaymentProcessed"]["amount"]), (&money, &money));
    shop.close().await;
}
