//! An event of an unknown order waits for a minute from when it was first seen, whatever time its producer states.

use std::time::Duration;

use sagas::{
    message::{Header, Record},
    time::{Clock, LogTime, Timestamp},
};
use sagas_tests::Shop;
use serde_json::json;

/// The year 2099, seen from a clock of 2026.
const FAR: i64 = 4_070_908_800_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_of_an_unknown_order_is_given_up_a_minute_after_it_came() {
    let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
    let shop = Shop::opening().clock(clock.clone()).open().await;
    let order_id = shop.fresh_id();
    let headers = [
        ("ce_id", shop.fresh_id()),
        ("ce_source", "stranger".to_owned()),
        ("ce_type", "OrderShipped".to_owned()),
        ("ce_specversion", "1.0".to_owned()),
        ("ce_time", "2099-01-01T00:00:00Z".to_owned()),
    ];
    let shipped = json!({"order_id": order_id, "tracking": "T-1"}).to_string();
    let record = Record {
        topic: "orders".to_owned(),
        key: Some(order_id.clone().into()),
        value: Some(shipped.into()),
        headers: headers.into_iter().map(|(name, value)| Header::text(name, value)).collect(),
        // A broker rejects records with that time.
        timestamp: if sagas_tests::on_real_servers() { clock.now().into() } else { LogTime::from_millis(FAR) },
    };
    shop.publish(record).await;
    let given_up = async || (shop.count("notification", "/dead-letters").await == 1).then_some(());
    let ((), took) = shop.pass(Duration::from_secs(1), given_up).await;
    assert!((Duration::from_secs(59)..=Duration::from_secs(63)).contains(&took), "{took:?}");
    let letters = shop.list("notification", "/dead-letters").await;
    let error = letters[0]["error"].as_str().unwrap();
    assert_eq!(error, format!("the customer of order {order_id} is not known yet"));

    // The key can be used.
    let next = shop.place("bob", "tea", 1, 9.9).await;
    let done = async || (shop.order(&next).await["status"] == "COMPLETED").then_some(());
    shop.pass(Duration::from_secs(1), done).await;
    shop.close().await;
}
