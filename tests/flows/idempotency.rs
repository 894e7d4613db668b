//! An order that is placed again with its idempotency key.

use std::time::Duration;

use futures_util::future::join_all;
use reqwest::{Method, header::HeaderValue};
use sagas::time::{Clock, Timestamp};
use sagas_tests::{Answer, Shop, eventually};
use serde_json::{Value, json};

fn order(quantity: u32) -> Value {
    json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": quantity, "unitPrice": 9.9}]})
}

async fn place(shop: &Shop, key: &[u8], body: &Value) -> Answer {
    let key = HeaderValue::from_bytes(key).unwrap();
    Answer::to(shop.request(Method::POST, "order", "/orders").header("Idempotency-Key", key).json(body)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_key_and_body_give_the_same_order_and_one_event() {
    let shop = Shop::open().await;
    let first = place(&shop, b"key-1", &order(1)).await;
    let order_id = first.is(202)["orderId"].clone();
    shop.order_is(order_id.as_str().unwrap(), "COMPLETED").await;

    let again = place(&shop, b"key-1", &order(1)).await;
    assert_eq!(again.is(202)["orderId"], order_id);
    assert_eq!(again.header("location"), first.header("location"));
    assert_eq!(again.json()["status"], "COMPLETED", "the order as it is");
    let reordered = r#"{"items":[{"unitPrice":9.90,"quantity":1,"productId":"tea"}], "customerId":"ada"}"#;
    let request = shop.request(Method::POST, "order", "/api/v1/orders").header("Idempotency-Key", "key-1");
    let request = request.header("Content-Type", "application/json").body(reordered);
    assert_eq!(Answer::to(request).await.is(202)["orderId"], order_id, "the same, written in another way");

    place(&shop, b"key-1", &order(2)).await.is_problem(409, "CONFLICT");
    let other = place(&shop, b"key-2", &order(1)).await.is(202);
    assert_ne!(other["orderId"], order_id);
    shop.quiet().await;
    assert_eq!(shop.count("order", "/orders").await, 2);
    assert_eq!(shop.records_of("orders", order_id.as_str().unwrap()).await.len(), 2, "created and confirmed, once");
    assert_eq!(shop.stock("tea").await, (998, 0, 2));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_at_once_are_one_order() {
    let shop = Shop::open().await;
    let body = order(1);
    let answers = join_all((0..20).map(|_| place(&shop, b"at-once", &body))).await;
    let ids: Vec<_> = answers.iter().map(|answer| answer.is(202)["orderId"].as_str().unwrap().to_owned()).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    shop.order_is(&ids[0], "COMPLETED").await;
    shop.quiet().await;
    assert_eq!(shop.count("order", "/orders").await, 1);
    assert_eq!(shop.records("orders").await.len(), 2);
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_1_to_255_visible_characters() {
    let shop = Shop::open().await;
    for bad in [&b""[..], b"two words", "caf\u{e9}".as_bytes(), &[b'k'; 256]] {
        let problem = place(&shop, bad, &order(1)).await;
        problem.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(problem.blamed(), ["Idempotency-Key"]);
    }
    assert_eq!(shop.count("order", "/orders").await, 0);
    place(&shop, &[b'~'; 255], &order(1)).await.is(202);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_is_forgotten_a_week_later_and_no_sooner() {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
    let shop = Shop::opening().clock(clock.clone()).open().await;
    let first = place(&shop, b"key", &order(1)).await.is(202)["orderId"].clone();
    shop.quiet().await;
    clock.advance(DAY * 6);
    shop.quiet().await;
    assert_eq!(place(&shop, b"key", &order(1)).await.is(202)["orderId"], first);

    // The job that removes keys sleeps for a day from the time that it reads after its work, which can be later than the test expects.
    eventually("the key is forgotten", async || {
        clock.advance(DAY);
        let again = place(&shop, b"key", &order(1)).await.is(202)["orderId"].clone();
        (again != first).then_some(())
    })
    .await;
    shop.close().await;
}
