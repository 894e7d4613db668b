//! Invalid records: they never block a key, and are never lost.

use base64::{Engine, prelude::BASE64_STANDARD};
use reqwest::Method;
use sagas::message::{Header, Record};
use sagas::time::LogTime;
use sagas_tests::{Answer, SERVICES, Shop, header, on_real_servers, payload};
use serde_json::{Value, json};

/// The topics, and the services that consume each.
const READERS: [(&str, &[&str]); 4] = [
    ("orders", &["inventory", "payment", "notification", "analytics"]),
    ("inventory", &["order", "payment", "notification", "analytics"]),
    ("payments", &["order", "inventory", "notification", "analytics"]),
    ("notifications", &["analytics"]),
];

fn record(topic: &str, key: &[u8], value: impl Into<Vec<u8>>, headers: &[(&str, &str)]) -> Record {
    Record {
        topic: topic.to_owned(),
        key: Some(key.to_vec().into()),
        value: Some(value.into().into()),
        headers: headers.iter().map(|(name, value)| Header::text(*name, *value)).collect(),
        timestamp: LogTime::from_millis(1_767_225_600_000),
    }
}

/// Returns the service's dead letters of a topic, complete.
async fn dead_letters(shop: &Shop, service: &str, topic: &str) -> Vec<Value> {
    let mut whole = Vec::new();
    for letter in shop.list(service, "/dead-letters?size=500").await {
        if letter["topic"] == topic {
            let path = format!("/dead-letters/{}", letter["id"].as_str().unwrap());
            whole.push(shop.get(service, &path).await.is(200));
        }
    }
    whole
}

/// Returns the bytes that a dead letter shows.
fn bytes_of(letter: &Value) -> Vec<u8> {
    match letter["value"].as_str() {
        Some(text) => text.as_bytes().to_vec(),
        None => BASE64_STANDARD.decode(letter["valueBase64"].as_str().unwrap()).unwrap(),
    }
}

/// Checks that the service has given `record` up: its dead letters and its dead letter topic have it unchanged. Returns the
/// error.
async fn assert_given_up(shop: &Shop, service: &str, record: &Record) -> String {
    let value = record.value.as_ref().unwrap();
    let letters = dead_letters(shop, service, &record.topic).await;
    let letter = letters.iter().find(|letter| bytes_of(letter) == *value);
    let letter = letter.unwrap_or_else(|| panic!("{service} has no dead letter from {}", record.topic));
    assert_eq!(letter["key"], String::from_utf8_lossy(record.key.as_ref().unwrap()).as_ref());

    let given_up = shop.records(&format!("{service}.dlt")).await;
    let same = given_up
        .iter()
        .map(|received| &received.record)
        .find(|other| header(other, "kafka_dlt-original-topic") == record.topic && other.value == record.value);
    let same = same.unwrap_or_else(|| panic!("{service}.dlt has no record from {}", record.topic));
    assert_eq!(same.key, record.key);
    assert_eq!(same.headers[..record.headers.len()], record.headers[..], "the original headers");
    assert_eq!(header(same, "kafka_dlt-original-consumer-group"), service);
    letter["error"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_on_every_topic_is_dead_lettered_and_the_flow_goes_on() {
    let shop = Shop::open().await;
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "COMPLETED").await;
    let mut published = Vec::new();
    for (topic, readers) in READERS {
        let garbage = [&[0xff, 0xfe, 0x00, 0x80][..], topic.as_bytes()].concat();
        for record in [
            record(topic, order_id.as_bytes(), garbage.clone(), &[("x-origin", "elsewhere"), ("x-empty", "")]),
            record(topic, b"\xff\xfe", [&garbage[..], b"!"].concat(), &[]),
        ] {
            shop.publish(record.clone()).await;
            published.push((record, readers));
        }
    }
    // The same key, behind the invalid record.
    shop.post("order", &format!("/orders/{order_id}/ship"), &json!({"trackingNumber": "T"})).await.is(202);
    let next = shop.place("bob", "tea", 1, 9.9).await;
    shop.order_is(&next, "COMPLETED").await;
    shop.quiet().await;
    let kinds: Vec<_> = shop.notifications(&order_id).await.into_iter().map(|(kind, _)| kind).collect();
    assert_eq!(kinds, ["ORDER_CONFIRMATION", "PAYMENT_CONFIRMATION", "SHIPPING_NOTIFICATION"]);

    for (record, readers) in &published {
        for service in *readers {
            assert_given_up(&shop, service, record).await;
        }
    }
    for service in SERVICES {
        let expected: usize = READERS.iter().filter(|(_, readers)| readers.contains(&service)).count() * 2;
        assert_eq!(shop.count(service, "/dead-letters").await, expected as u64, "{service}");
        assert_eq!(shop.get(service, "/health/ready").await.status, 200, "{service}");
    }
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_that_is_no_such_event_is_dead_lettered_by_those_who_want_the_event() {
    let shop = Shop::open().await;
    let key = shop.fresh_id();
    for (topic, name, value, readers) in [
        ("orders", "OrderCreated", "{\"order_id\":", &["inventory", "notification", "analytics"][..]),
        ("orders", "OrderShipped", "[]", &["notification", "analytics"]),
        ("inventory", "InventoryReserved", "{}", &["order", "payment", "analytics"]),
        ("payments", "PaymentFailed", "null", &["order", "inventory", "analytics"]),
        ("notifications", "NotificationSent", "\"sent\"", &["analytics"]),
    ] {
        let id = shop.fresh_id();
        let record = record(topic, key.as_bytes(), value, &[("ce_type", name), ("ce_id", &id), ("ce_source", "stranger")]);
        shop.publish(record.clone()).await;
        shop.quiet().await;
        for service in SERVICES {
            if readers.contains(&service) {
                assert_given_up(&shop, service, &record).await;
            } else {
                let letters = dead_letters(&shop, service, topic).await;
                assert!(letters.iter().all(|letter| letter["type"] != name), "{service} does not handle {name}");
            }
        }
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_that_is_retried_is_given_up_again() {
    let shop = Shop::open().await;
    let record = record("notifications", b"key", [0xff, 0xfe], &[("ce_type", "NotificationSent")]);
    shop.publish(record.clone()).await;
    shop.quiet().await;
    let first = dead_letters(&shop, "analytics", "notifications").await[0]["id"].clone();
    let settle = async |id: &Value, how: &str| {
        let path = format!("/dead-letters/{}/{how}", id.as_str().unwrap());
        Answer::to(shop.request(Method::POST, "analytics", &path)).await.status
    };
    assert_eq!(settle(&first, "retry").await, 202);
    shop.quiet().await;
    let second = dead_letters(&shop, "analytics", "notifications").await;
    assert_eq!(second.len(), 1);
    assert_ne!(second[0]["id"], first);
    assert_given_up(&shop, "analytics", &record).await;
    assert_eq!(settle(&second[0]["id"], "discard").await, 202);
    shop.quiet().await;
    assert_eq!(shop.count("analytics", "/dead-letters").await, 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unknown_type_is_skipped_and_counted() {
    let shop = Shop::open().await;
    let key = shop.fresh_id();
    for (topic, _) in READERS {
        shop.publish(record(topic, key.as_bytes(), "{}", &[("ce_type", "OrderTeleported")])).await;
    }
    shop.quiet().await;
    for (topic, readers) in READERS {
        for service in readers {
            assert_eq!(shop.count(service, "/dead-letters").await, 0, "{service}");
            let line = format!(r#"sagas_skipped_total{{service="{service}",topic="{topic}",reason="unknown_type"}} "#);
            let metrics = shop.get(service, "/metrics").await.text;
            let found = metrics.lines().find_map(|found| found.strip_prefix(&line));
            assert!(found.is_some_and(|count| count.parse::<u32>().unwrap() >= 1), "no {line}in\n{metrics}");
        }
    }
    shop.close().await;
}

/// Returns an order's first event, as another producer would publish it.
async fn foreign_order(shop: &Shop) -> Record {
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "COMPLETED").await;
    let original = shop.records_of("orders", &order_id).await[0].clone();
    let (key, id) = (shop.fresh_id(), shop.fresh_id());
    let mut value = payload(&original);
    value["order_id"] = json!(key);
    let headers = [("ce_type", "OrderCreated"), ("ce_id", id.as_str()), ("ce_source", "stranger")];
    record("orders", key.as_bytes(), value.to_string(), &headers)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_version_is_dead_lettered_with_that_reason() {
    let shop = Shop::open().await;
    let mut newer = foreign_order(&shop).await;
    newer.headers.push(Header::text("ce_schemaversion", "2"));
    shop.publish(newer.clone()).await;
    shop.quiet().await;
    for service in ["inventory", "notification", "analytics"] {
        let error = assert_given_up(&shop, service, &newer).await;
        assert!(error.contains("version 2"), "{service}: {error}");
    }
    assert_eq!(shop.stock("tea").await, (999, 0, 1));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_without_headers_is_consumed_where_its_type_is_known() {
    let shop = Shop::open().await;
    let mut bare = foreign_order(&shop).await;
    bare.headers.clear();
    let original = shop.records("inventory").await[0].record.clone();
    let mut value = payload(&original);
    value["order_id"] = json!(shop.fresh_id());
    let reserved = record("inventory", value["order_id"].as_str().unwrap().as_bytes(), value.to_string(), &[]);
    shop.publish(bare.clone()).await;
    shop.publish(reserved.clone()).await;
    // The notification service waits for the customer of an order that was never placed.
    shop.rest().await;
    // These services handle several types of the topic, so they cannot determine which one the record is.
    for service in ["inventory", "notification", "analytics"] {
        let error = assert_given_up(&shop, service, &bare).await;
        assert!(error.contains("ce_type"), "{service}: {error}");
    }
    for service in ["order", "analytics"] {
        let error = assert_given_up(&shop, service, &reserved).await;
        assert!(error.contains("ce_type"), "{service}: {error}");
    }
    // The payment service handles one type of that topic.
    let order_id = value["order_id"].as_str().unwrap();
    assert_eq!(shop.list("payment", &format!("/payments?orderId={order_id}")).await.len(), 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_value_of_20_megabytes_is_dead_lettered_whole() {
    if on_real_servers() {
        // A broker rejects it, unless its topic allows such records.
        return;
    }
    let shop = Shop::open().await;
    let mut large = foreign_order(&shop).await;
    let mut value = large.value.as_ref().unwrap().to_vec();
    value.resize(20_000_000, b' ');
    large.value = Some(value.into());
    shop.publish(large.clone()).await;
    shop.quiet().await;
    for service in ["inventory", "notification", "analytics"] {
        let error = assert_given_up(&shop, service, &large).await;
        assert!(error.contains("20000000 bytes"), "{service}: {error}");
    }
    let next = shop.place("bob", "tea", 1, 9.9).await;
    shop.order_is(&next, "COMPLETED").await;
    shop.close().await;
}
