//! Arbitrary records on every topic of the shop: its services continue, and all their answers can be read.

use proptest::{collection::vec, prelude::*, sample::select, strategy::ValueTree};
use sagas::message::Record;
use sagas_tests::{SERVICES, Shop, event_type, on_real_servers, payload};
use serde_json::Value;

use crate::{
    budget::{cases, runner},
    records,
};

const TYPES: &[&str] = &[
    "OrderCreated",
    "OrderConfirmed",
    "OrderCancelled",
    "OrderShipped",
    "InventoryReserved",
    "InventoryInsufficient",
    "InventoryReleased",
    "PaymentProcessed",
    "PaymentFailed",
    "PaymentRefunded",
    "NotificationSent",
    "NotificationFailed",
];

/// A value from `samples` with one of its fields replaced by an odd value.
fn values(samples: Vec<Value>) -> impl Strategy<Value = Vec<u8>> {
    let odd = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[\u{0}-\u{9f}é]{0,8}".prop_map(Value::from),
        Just(serde_json::json!({"minor_units": i64::MAX, "currency": "EUR"})),
        Just(serde_json::json!([])),
    ];
    (select(samples), any::<prop::sample::Index>(), option(odd), any::<bool>()).prop_map(|(mut value, field, odd, twice)| {
        let fields = value.as_object_mut().unwrap();
        let name = fields.keys().nth(field.index(fields.len())).unwrap().clone();
        if let Some(odd) = odd {
            fields.insert(name.clone(), odd);
        }
        let text = value.to_string();
        // A duplicate key.
        let text = if twice { format!("{{\"{name}\":0,{}", &text[1..]) } else { text };
        text.into_bytes()
    })
}

fn option(odd: impl Strategy<Value = Value>) -> impl Strategy<Value = Option<Value>> {
    proptest::option::weighted(0.7, odd)
}

/// Checks every list and every single item of the services.
async fn all_is_readable(shop: &Shop) {
    for service in SERVICES {
        assert_eq!(shop.get(service, "/health/ready").await.status, 200, "{service}");
        assert!(shop.get(service, "/metrics").await.text.contains("sagas_handler_panics_total"));
        for letter in shop.list(service, "/dead-letters?size=200").await {
            shop.get(service, &format!("/dead-letters/{}", letter["id"].as_str().unwrap())).await.is(200);
        }
    }
    for instance in shop.list("order", "/sagas?size=200").await {
        shop.get("order", &format!("/sagas/PlaceOrder/{}", instance["sagaId"].as_str().unwrap())).await.is(200);
    }
    for order in shop.list("order", "/orders?size=200").await {
        for path in ["", "/events", "/saga"] {
            shop.get("order", &format!("/orders/{}{path}", order["orderId"].as_str().unwrap())).await.is(200);
        }
    }
    for (service, path) in [
        ("inventory", "/products"),
        ("inventory", "/reservations?size=200"),
        ("payment", "/payments?size=200"),
        ("notification", "/notifications?size=200"),
        ("analytics", "/analytics/metrics"),
        ("analytics", "/analytics/events"),
        ("inventory", "/check"),
        ("payment", "/check"),
        ("order", "/check"),
    ] {
        shop.get(service, path).await.is(200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_is_published_on_every_topic_the_shop_goes_on() {
    let shop = Shop::open().await;
    // The contents of each topic, with orders that exist and some that do not.
    let mut orders = Vec::new();
    for (product, end) in [("tea", "COMPLETED"), ("sold-out", "CANCELLED"), ("tea", "COMPLETED")] {
        let order_id = shop.place("ada", product, 1, 9.9).await;
        shop.order_is(&order_id, end).await;
        orders.push(order_id);
    }
    shop.put("payment", "/gateway", &serde_json::json!({"declineRate": 1.0})).await.is(200);
    let declined = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&declined, "CANCELLED").await;
    shop.put("payment", "/gateway", &serde_json::json!({"declineRate": 0.0})).await.is(200);
    shop.quiet().await;
    orders.push(shop.fresh_id());

    let mut runner = runner();
    for round in 0..cases(2).cases {
        for topic in ["orders", "inventory", "payments", "notifications"] {
            let known = shop.records(topic).await;
            let own = known.iter().filter(|received| TYPES.contains(&event_type(&received.record)));
            let own = own.filter(|received| received.record.header("ce_source").is_some_and(|source| SERVICES.contains(&source)));
            let samples: Vec<_> = own.map(|received| payload(&received.record)).filter(Value::is_object).collect();
            let strategy = (records::record(topic, TYPES, values(samples)), select(orders.clone()), any::<bool>());
            let published = vec(strategy, 40..60).new_tree(&mut runner).unwrap().current();
            for (mut record, order_id, known) in published {
                if known {
                    record.key = Some(order_id.into());
                }
                shop.publish(acceptable(record)).await;
            }
        }
        // An event that overtook its cause waits for it up to a minute. Here it only matters that nothing stops.
        shop.rest().await;
        let order_id = shop.place("bob", "tea", 1, 9.9).await;
        let order = shop.order_is(&order_id, "COMPLETED").await;
        assert_eq!(order["customerId"], "bob", "round {round}");
        all_is_readable(&shop).await;
    }
    shop.close().await;
}

/// Returns the record in a form that a broker accepts.
fn acceptable(mut record: Record) -> Record {
    if on_real_servers() {
        record.headers.retain(|header| !header.name.is_empty());
        record.timestamp = sagas::time::Clock::system().now().into();
    }
    record
}
