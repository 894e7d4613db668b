//! How an operator settles many dead letters, and one whose message is repaired.

use std::time::Duration;

use sagas::{
    message::{Header, Record},
    time::Timestamp,
};
use sagas_tests::{Shop, eventually, payload};
use serde_json::json;

/// The services that handle OrderCreated.
const READERS: [&str; 3] = ["inventory", "notification", "analytics"];

fn created(id: &str, key: &str, value: String) -> Record {
    let named = [("ce_type", "OrderCreated"), ("ce_id", id), ("ce_source", "stranger")];
    Record {
        topic: "orders".into(),
        key: Some(key.to_owned().into()),
        value: Some(value.into()),
        headers: named.map(|(name, value)| Header::text(name, value)).into(),
        timestamp: Timestamp::from_millis(1_767_225_600_000).into(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_letters_are_settled_by_a_filter() {
    let shop = Shop::open().await;
    for number in 0..5_000 {
        shop.publish(created(
            &format!("nonsense-{number}"),
            &format!("key-{}", number % 100),
            r#"{"order_id":"nonsense"}"#.into(),
        ))
        .await;
    }
    shop.rest().await;
    for service in READERS {
        assert_eq!(shop.count(service, "/dead-letters?topic=orders&type=OrderCreated").await, 5_000, "{service}");
    }
    let settle = async |how: &str, body| shop.post("inventory", &format!("/dead-letters/{how}"), &body).await.is(200);
    let looked = settle("retry", json!({"key": "key-7", "dryRun": true})).await;
    assert_eq!((&looked["matching"], looked["samples"].as_array().map(Vec::len)), (&json!(50), Some(10)));
    assert_eq!(settle("discard", json!({"key": "key-7"})).await, json!({"settled": 50, "left": 0}));
    // The retried messages are still invalid, so their dead letters are open again.
    let error = shop.list("inventory", "/dead-letters").await[0]["error"].clone();
    // One batch at a time, so that each answer arrives within seconds.
    for _ in 0..10 {
        assert_eq!(settle("retry", json!({"error": error, "limit": 300})).await["settled"], 300);
    }
    shop.rest().await;
    assert_eq!(shop.count("inventory", "/dead-letters").await, 4_950);
    assert_eq!(shop.count("inventory", "/dead-letters?state=retried").await, 3_000);
    let mut left = 4_950;
    while left > 0 {
        let discarded = settle("discard", json!({"topic": "orders", "limit": 450})).await;
        left -= 450;
        assert_eq!(discarded, json!({"settled": 450, "left": left}));
    }
    assert_eq!(shop.count("inventory", "/dead-letters").await, 0);
    assert_eq!(shop.count("analytics", "/dead-letters").await, 5_000, "those of other services stay");
    let order = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order, "COMPLETED").await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_letter_whose_message_is_mended_and_produced_again_is_handled() {
    let shop = Shop::open().await;
    let known = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&known, "COMPLETED").await;
    let original = shop.records_of("orders", &known).await[0].clone();
    let order_id = shop.fresh_id();
    let mut value = payload(&original);
    value["order_id"] = json!(order_id);
    let mended = created("the-message", &order_id, value.to_string());
    let mut broken = mended.clone();
    broken.value = Some(r#"{"order_id":"nonsense"}"#.into());
    shop.publish(broken).await;
    shop.rest().await;
    let before = shop.stock("tea").await;
    for service in READERS {
        assert_eq!(shop.count(service, "/dead-letters").await, 1, "{service}");
    }
    shop.publish(mended).await;
    eventually("the mended message is handled", async || (shop.stock("tea").await != before).then_some(())).await;
    for service in READERS {
        let what = format!("{service} has settled its letter");
        eventually(&what, async || (shop.count(service, "/dead-letters?state=replayed").await == 1).then_some(())).await;
        assert_eq!(shop.count(service, "/dead-letters").await, 0, "{service}");
    }
    // A further copy is a duplicate.
    let after = shop.stock("tea").await;
    shop.publish(created("the-message", &order_id, value.to_string())).await;
    tokio::time::timeout(Duration::from_secs(60), shop.rest()).await.unwrap();
    assert_eq!(shop.stock("tea").await, after);
    shop.close().await;
}
