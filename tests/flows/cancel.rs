//! Scenario 5: the customer cancels while the saga runs.

use std::time::Duration;

use futures_util::{StreamExt, stream};
use reqwest::Method;
use sagas_tests::{Answer, Shop, TOPICS, event_type, eventually, on_real_servers};
use serde_json::{Value, json};
use sqlx::{Connection, Row, SqliteConnection};
use tokio::time::Instant;

/// Cancels an order without a request body.
async fn cancel(shop: &Shop, order_id: &str) -> Answer {
    Answer::to(shop.request(Method::POST, "order", &format!("/orders/{order_id}/cancel"))).await
}

async fn payment(shop: &Shop, order_id: &str) -> Option<Value> {
    shop.list("payment", &format!("/payments?orderId={order_id}")).await.pop()
}

async fn payment_is(shop: &Shop, order_id: &str, status: &str) -> Value {
    let what = format!("the payment of {order_id} is {status}");
    eventually(&what, async || payment(shop, order_id).await.filter(|payment| payment["status"] == status)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_cancelled_while_the_gateway_is_asked_ends_at_once_and_is_refunded() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"latencyMs": 1_000})).await.is(200);
    let order_id = shop.place("ada", "tea", 2, 9.9).await;
    payment_is(&shop, &order_id, "PROCESSING").await;
    // The order service receives the stock's event independently.
    eventually("the order knows that its stock is reserved", async || {
        shop.history_types(&order_id).await.contains(&"InventoryReserved".to_owned()).then_some(())
    })
    .await;
    let reason = json!({"reason": "changed my mind"});
    let cancelled = shop.post("order", &format!("/orders/{order_id}/cancel"), &reason).await.is(202);
    assert_eq!((&cancelled["status"], &cancelled["reason"]), (&json!("CANCELLED"), &json!("changed my mind")));
    assert_eq!(cancel(&shop, &order_id).await.is(202)["status"], "CANCELLED", "it is cancelled already");

    let refunded = payment_is(&shop, &order_id, "REFUNDED").await;
    assert_eq!(refunded["reason"], "the order was cancelled");
    shop.quiet().await;
    assert_eq!(shop.stock("tea").await, (1_000, 0, 0));
    assert_eq!(shop.order(&order_id).await["status"], "CANCELLED");
    assert_eq!(shop.history_types(&order_id).await, ["OrderCreated", "InventoryReserved", "OrderCancelled"]);

    let mut all = Vec::new();
    for topic in TOPICS {
        for record in shop.records_of(topic, &order_id).await {
            assert_eq!(record.header("ce_causationid").is_none(), event_type(&record) == "OrderCreated", "{record:?}");
            all.push(event_type(&record).to_owned());
        }
    }
    all.retain(|event| event != "NotificationSent");
    all.sort();
    let expected =
        ["InventoryReleased", "InventoryReserved", "OrderCancelled", "OrderCreated", "PaymentProcessed", "PaymentRefunded"];
    assert_eq!(all, expected);
    let saga = shop.get("order", &format!("/orders/{order_id}/saga")).await.is(200);
    assert_eq!(
        (&saga["state"], &saga["notAllowed"], &saga["expectedNext"]),
        (&json!("ABORTED"), &json!(0), &json!([])),
        "{saga}"
    );
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_waits_for_the_gateway_is_cancelled_and_never_charged() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    let order_id = shop.place("ada", "tea", 2, 9.9).await;
    eventually("the payment waits", async || payment(&shop, &order_id).await).await;
    cancel(&shop, &order_id).await.is(202);
    let failed = payment_is(&shop, &order_id, "FAILED").await;
    assert_eq!(failed["reason"], "the order was cancelled");
    eventually("the stock is back", async || (shop.stock("tea").await == (1_000, 0, 0)).then_some(())).await;
    shop.put("payment", "/gateway", &json!({"outage": false})).await.is(200);
    shop.quiet().await;
    assert_eq!(payment(&shop, &order_id).await.unwrap()["status"], "FAILED");
    assert_eq!(shop.records_of("payments", &order_id).await.len(), 0, "nothing was taken and nothing given back");
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_cancelled_says_why() {
    let shop = Shop::open().await;
    let completed = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&completed, "COMPLETED").await;
    let late = cancel(&shop, &completed).await.is_problem(409, "CONFLICT");
    assert_eq!(late["detail"], "it is too late to cancel the order: it is COMPLETED");
    cancel(&shop, &shop.fresh_id()).await.is_problem(404, "NOT_FOUND");
    cancel(&shop, "nonsense").await.is_problem(404, "NOT_FOUND");

    let refused = shop.place("ada", "sold-out", 1, 19.0).await;
    shop.order_is(&refused, "CANCELLED").await;
    assert_eq!(cancel(&shop, &refused).await.is(202)["reason"], "insufficient stock: sold-out", "the first reason counts");

    for (body, field) in [(json!({"reason": ""}), "reason"), (json!({"reason": "a\tb"}), "reason"), (json!({"why": "x"}), "why")]
    {
        let answer = shop.post("order", &format!("/orders/{completed}/cancel"), &body).await;
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), [field]);
    }
    let get = shop.get("order", &format!("/orders/{completed}/cancel")).await;
    assert_eq!((get.status, get.header("allow")), (405, Some("POST")));
    shop.quiet().await;
    shop.check().await;
    shop.close().await;
}

/// The number of orders in the race: fewer on real servers, which take longer for one.
fn races() -> u64 {
    if on_real_servers() { 100 } else { 500 }
}

/// The number of concurrent orders: fewer on real servers, which other shops share.
fn side_by_side() -> usize {
    if on_real_servers() { 6 } else { 16 }
}

/// Measures the median duration, with as many concurrent orders as in the race.
async fn how_long_a_flow_takes(shop: &Shop) -> Duration {
    let flows = stream::iter(0..side_by_side() * 4).map(async |_| {
        let began = Instant::now();
        let order_id = shop.place("bob", "mug", 1, 7.25).await;
        eventually(&format!("order {order_id} has ended"), async || {
            matches!(shop.order(&order_id).await["status"].as_str(), Some("COMPLETED" | "CANCELLED")).then_some(())
        })
        .await;
        began.elapsed()
    });
    let mut took: Vec<_> = flows.buffer_unordered(side_by_side()).collect().await;
    took.sort_unstable();
    took[took.len() / 2]
}

/// Each of many customers cancels at some time during the saga. An order whose cancel was answered 202 ends cancelled, one
/// answered 409 stays confirmed, and money and stock are correct.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cancel_wins_or_loses_its_race_against_the_payment() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"latencyMs": 3, "declineRate": 0.1})).await.is(200);
    let flow = how_long_a_flow_takes(&shop).await;
    let mut rng = fastrand::Rng::with_seed(5);
    let moments: Vec<_> = (0..races()).map(|_| flow.mul_f64(rng.f64() * 2.0)).collect();
    let answers: Vec<(String, u16)> = stream::iter(moments)
        .map(async |moment| {
            let order_id = shop.place("ada", "tea", 1, 9.9).await;
            tokio::time::sleep(moment).await;
            let status = eventually("the order service answers the cancel", async || {
                Some(cancel(&shop, &order_id).await.status).filter(|status| *status != 503)
            })
            .await;
            (order_id, status)
        })
        .buffer_unordered(side_by_side())
        .collect()
        .await;
    for (order_id, _) in &answers {
        eventually(&format!("order {order_id} has ended"), async || {
            matches!(shop.order(order_id).await["status"].as_str(), Some("COMPLETED" | "CANCELLED")).then_some(())
        })
        .await;
    }
    shop.quiet().await;

    let (mut won, mut lost) = (0_u64, 0_u64);
    for (order_id, answer) in &answers {
        let status = shop.order(order_id).await["status"].clone();
        let payment = payment(&shop, order_id).await;
        let paid = payment.as_ref().and_then(|payment| payment["status"].as_str());
        match answer {
            202 => {
                won += 1;
                assert_eq!(status, "CANCELLED", "{order_id}");
                assert!(matches!(paid, None | Some("FAILED" | "REFUNDED")), "{order_id}: {paid:?}");
            }
            409 => {
                lost += 1;
                assert_eq!((&status, paid), (&json!("COMPLETED"), Some("COMPLETED")), "{order_id}");
            }
            other => panic!("{order_id}: the cancel was answered {other}"),
        }
        let saga = shop.get("order", &format!("/orders/{order_id}/saga")).await.is(200);
        let state = if *answer == 202 { "ABORTED" } else { "COMPLETED" };
        assert_eq!((&saga["state"], &saga["notAllowed"]), (&json!(state), &json!(0)), "{saga}");
        assert!(saga["endedAt"].is_string() && saga.get("attention").is_none(), "{saga}");
    }
    assert!(won > races() / 20 && lost > races() / 20, "no race: {won} won, {lost} lost");
    assert_eq!(shop.stock("tea").await, (1_000 - lost, 0, lost));
    let report = shop.check().await;
    assert_eq!(report["inFlight"], 0);
    assert_eq!(kept_by_the_gateway(&shop).await, report["confirmed"], "charges that the gateway has not given back");
    shop.close().await;
}

/// Returns the number of charges that the gateway keeps, from its ledger.
async fn kept_by_the_gateway(shop: &Shop) -> u64 {
    const KEPT: &str = "SELECT COUNT(*) FROM gateway_charges WHERE declined IS NULL
                        AND idempotency_key NOT IN (SELECT idempotency_key FROM gateway_refunds)";
    let kept: i64 = match shop.postgres().await {
        Some(mut ledger) => sqlx::query(KEPT).fetch_one(&mut ledger).await.unwrap().get(0),
        None => {
            assert!(!on_real_servers());
            let path = shop.folder().join("gateway.sqlite");
            let mut ledger = SqliteConnection::connect(&format!("sqlite:{}", path.display())).await.unwrap();
            sqlx::query(KEPT).fetch_one(&mut ledger).await.unwrap().get(0)
        }
    };
    u64::try_from(kept).unwrap()
}
