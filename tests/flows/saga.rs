//! The order service's view of an order's saga instance.

use sagas_tests::{Shop, eventually};
use serde_json::{Value, json};

fn steps(saga: &Value) -> Vec<(&str, &str)> {
    let done = saga["done"].as_array().unwrap();
    done.iter().map(|done| (done["step"].as_str().unwrap(), done["event"].as_str().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_flow_of_an_order_is_told_while_it_runs_and_when_it_has_ended() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    let path = format!("/orders/{order_id}/saga");
    let waiting = eventually("the saga waits for the payment", async || {
        Some(shop.get("order", &path).await.is(200)).filter(|saga| saga["current"] == "ProcessPayment")
    })
    .await;
    let mut names: Vec<_> = waiting.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    for name in ["sagaId", "saga", "version", "state", "done", "current", "expectedNext", "deadline"] {
        assert!(names.contains(&name), "no {name} in {waiting}");
    }
    assert_eq!(
        (&waiting["sagaId"], &waiting["saga"], &waiting["version"], &waiting["state"]),
        (&json!(order_id), &json!("PlaceOrder"), &json!(1), &json!("RUNNING"))
    );
    assert_eq!(steps(&waiting), [("ReserveInventory", "InventoryReserved")]);
    assert!(waiting["done"][0]["at"].is_string(), "{waiting}");

    shop.put("payment", "/gateway", &json!({"outage": false})).await.is(200);
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    let ended = shop.get("order", &format!("/api/v1{path}")).await.is(200);
    assert_eq!((&ended["state"], &ended["current"], &ended["deadline"]), (&json!("COMPLETED"), &Value::Null, &Value::Null));
    let all =
        [("ReserveInventory", "InventoryReserved"), ("ProcessPayment", "PaymentProcessed"), ("ConfirmOrder", "OrderConfirmed")];
    assert_eq!((steps(&ended).as_slice(), &ended["expectedNext"]), (&all[..], &json!([])));
    shop.get("order", &format!("/orders/{}/saga", shop.fresh_id())).await.is_problem(404, "NOT_FOUND");
    shop.get("order", "/orders/nonsense/saga").await.is_problem(404, "NOT_FOUND");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_event_of_the_flow_is_in_its_history_with_what_led_to_it() {
    let shop = Shop::open().await;
    let order_id = shop.place("ada", "teapot", 1, 5_000.01).await;
    shop.order_is(&order_id, "CANCELLED").await;
    shop.quiet().await;
    let saga = shop.get("order", &format!("/sagas/PlaceOrder/{order_id}")).await.is(200);
    let history = saga["history"].as_array().unwrap();
    let mut events: Vec<_> =
        history.iter().map(|entry| (entry["event"].as_str().unwrap(), entry["source"].as_str().unwrap())).collect();
    events.sort_unstable();
    let expected = [
        ("InventoryReleased", "inventory"),
        ("InventoryReserved", "inventory"),
        ("OrderCancelled", "order"),
        ("OrderCreated", "order"),
        ("PaymentFailed", "payment"),
    ];
    assert_eq!(events, expected);
    for entry in history {
        let known = |id: &Value| history.iter().any(|other| other["messageId"] == *id);
        assert_eq!(known(&entry["causationId"]), entry["event"] != "OrderCreated", "{entry}");
    }
    assert_eq!(saga["correlationId"], shop.order(&order_id).await["correlationId"]);

    assert_eq!(shop.list("order", "/sagas?state=ABORTED").await[0]["sagaId"], order_id);
    assert_eq!(shop.count("order", "/sagas?open=true").await, 0);
    assert_eq!(shop.count("payment", "/sagas").await, 0, "the payment service tracks nothing");
    let by_hand =
        shop.post("order", &format!("/sagas/PlaceOrder/{order_id}/complete"), &json!({"by": "ada", "reason": "r"})).await;
    by_hand.is_problem(409, "CONFLICT");
    shop.close().await;
}

/// An operator gives an instance up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flow_can_be_given_up_by_hand() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "INVENTORY_RESERVED").await;
    let compensate = format!("/sagas/PlaceOrder/{order_id}/compensate");
    let why = json!({"by": "ada", "reason": "the gateway is down for the night"});
    assert_eq!(shop.post("order", &compensate, &why).await.status, 202);
    let cancelled = shop.order_is(&order_id, "CANCELLED").await;
    assert_eq!(cancelled["reason"], "given up by an operator: the gateway is down for the night");
    let saga = shop.get("order", &format!("/sagas/PlaceOrder/{order_id}")).await.is(200);
    let audited = saga["history"].as_array().unwrap().iter().find(|entry| entry["event"] == "operator.compensate");
    assert_eq!(audited.unwrap()["note"], "by ada: the gateway is down for the night");
    assert_eq!(shop.post("order", &compensate, &json!({"by": "ada", "reason": "r"})).await.status, 409, "it is decided");
    shop.put("payment", "/gateway", &json!({"outage": false})).await.is(200);
    shop.quiet().await;
    assert_eq!(shop.stock("tea").await, (1_000, 0, 0));
    shop.check().await;
    shop.close().await;
}
