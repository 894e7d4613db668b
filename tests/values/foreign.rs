//! Values of a foreign producer in the saga of the shop: the services continue, and their answers can be read.

use std::time::Duration;

use sagas::{
    message::{Header, Record},
    time::{Clock, LogTime, Timestamp},
};
use sagas_tests::{Shop, event_type, on_real_servers, payload};
use serde_json::{Value, json};

/// Returns the event of the type `name` that the shop has published on `topic`, with changed values, as a foreign producer would
/// publish it.
async fn foreign(shop: &Shop, topic: &str, name: &str, key: &str, change: impl FnOnce(&mut Value)) -> Record {
    let records = shop.records(topic).await;
    let own = records.iter().find(|received| event_type(&received.record) == name);
    let mut value = payload(&own.unwrap_or_else(|| panic!("no {name} was published")).record);
    value["order_id"] = json!(key);
    change(&mut value);
    let id = shop.fresh_id();
    let headers = [("ce_id", id.as_str()), ("ce_type", name), ("ce_source", "stranger")];
    Record {
        topic: topic.to_owned(),
        key: Some(key.to_owned().into()),
        value: Some(value.to_string().into()),
        headers: headers.into_iter().map(|(name, value)| Header::text(name, value)).collect(),
        timestamp: Clock::system().now().into(),
    }
}

/// Checks that all answers about the order can be read.
async fn is_readable(shop: &Shop, order_id: &str) {
    for path in ["", "/events", "/saga", "/status"] {
        shop.get("order", &format!("/orders/{order_id}{path}")).await.is(200);
    }
    shop.get("order", &format!("/sagas/PlaceOrder/{order_id}")).await.is(200);
    for service in sagas_tests::SERVICES {
        assert_eq!(shop.get(service, "/health/ready").await.status, 200, "{service}");
        shop.list(service, "/dead-letters").await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_foreign_time_ends_no_service() {
    let shop = Shop::open().await;
    let first = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&first, "COMPLETED").await;
    shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    let micros = LogTime::from_millis(Clock::system().now().as_millis() * 1_000);
    let cases = [
        (Some("9999-12-31T23:59:59-23:59"), None),
        (Some("0000-01-01T00:00:00+23:59"), None),
        (Some("2099-01-01T00:00:00Z"), None),
        (None, Some(micros)),
        (None, Some(LogTime::NONE)),
        (Some("9999-12-31T23:59:59-23:59"), Some(LogTime::from_millis(i64::MAX))),
    ];
    for (stated, recorded) in cases {
        let order_id = shop.place("ada", "tea", 1, 9.9).await;
        shop.order_is(&order_id, "INVENTORY_RESERVED").await;
        let mut paid = foreign(&shop, "payments", "PaymentProcessed", &order_id, |_| {}).await;
        paid.headers.extend(stated.map(|stated| Header::text("ce_time", stated)));
        if !on_real_servers() {
            // A broker rejects such records, unless its topic allows them.
            paid.timestamp = recorded.unwrap_or(paid.timestamp);
        }
        let before = Clock::system().now();
        shop.publish(paid).await;
        shop.order_is(&order_id, "COMPLETED").await;
        is_readable(&shop, &order_id).await;

        let saga = shop.get("order", &format!("/orders/{order_id}/saga")).await.is(200);
        assert_eq!(saga["state"], "COMPLETED", "{saga}");
        let done = saga["done"].as_array().unwrap();
        let paid = done.iter().find(|step| step["event"] == "PaymentProcessed").unwrap();
        let at: Timestamp = paid["at"].as_str().unwrap().parse().unwrap();
        assert!(at >= before.before(Duration::from_secs(60)) && at <= Clock::system().now(), "{stated:?} {recorded:?}: {saga}");
        assert!(saga["startedAt"].as_str() <= saga["updatedAt"].as_str(), "{saga}");
    }
    shop.get("analytics", "/analytics/metrics").await.is(200);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_numbers_and_times_do_not_spoil_the_analytics() {
    let shop = Shop::open().await;
    let first = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&first, "COMPLETED").await;
    shop.quiet().await;
    for (created_at, ended_at) in [
        ("1970-01-01T00:00:01Z", "2026-01-01T00:00:00Z"),
        ("9999-12-31T23:59:59-23:59", "1970-01-01T00:00:01Z"),
        ("2026-01-01T00:00:00Z", "1971-01-01T00:00:00Z"),
    ] {
        let order_id = shop.fresh_id();
        let huge = |value: &mut Value| {
            value["total"]["minor_units"] = json!(i64::MAX);
            value["items"][0]["quantity"] = json!(u32::MAX);
        };
        let mut created = foreign(&shop, "orders", "OrderCreated", &order_id, huge).await;
        created.headers.push(Header::text("ce_time", created_at));
        shop.publish(created).await;
        let mut confirmed = foreign(&shop, "orders", "OrderConfirmed", &order_id, |_| {}).await;
        confirmed.headers.push(Header::text("ce_time", ended_at));
        shop.publish(confirmed).await;
    }
    shop.rest().await;
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"]["completed"], 4, "{metrics}");
    let p99 = metrics["processingMs"]["p99"].as_i64().unwrap();
    assert!((0..120_000).contains(&p99), "only what can be is counted: {metrics}");
    for minute in metrics["ordersPerMinute"].as_array().unwrap() {
        assert!(minute["minute"].as_str().unwrap().parse::<Timestamp>().unwrap() <= Clock::system().now(), "{metrics}");
    }
    for service in ["payment", "inventory", "order"] {
        shop.get(service, "/check").await.is(200);
    }
    shop.close().await;
}
