//! What a client sees that polls an order continuously.

use futures_util::future::join_all;
use sagas_tests::{Shop, eventually};
use serde_json::json;

/// Returns the rank of a status.
fn rank(status: &str) -> u32 {
    match status {
        "CREATED" => 0,
        "INVENTORY_RESERVED" | "INVENTORY_INSUFFICIENT" => 1,
        "PAYMENT_PROCESSED" | "PAYMENT_FAILED" => 2,
        "COMPLETED" | "CANCELLED" => 3,
        "SHIPPED" => 4,
        other => panic!("no status: {other}"),
    }
}

/// Polls an order until its end.
async fn follow(shop: &Shop, order_id: &str) {
    let (mut seen, mut updated_at) = (vec!["CREATED".to_owned()], String::new());
    eventually("the order ends", async || {
        let view = shop.get("order", &format!("/orders/{order_id}/status")).await.is(200);
        let (status, at) = (view["status"].as_str().unwrap(), view["updatedAt"].as_str().unwrap());
        assert!(rank(status) >= rank(&seen[seen.len() - 1]), "{status} after {seen:?}");
        assert!(at >= updated_at.as_str(), "{at} after {updated_at}");
        updated_at = at.to_owned();
        if seen[seen.len() - 1] != status {
            seen.push(status.to_owned());
        }
        // The list must agree.
        let order = shop.order(order_id).await;
        assert!(rank(order["status"].as_str().unwrap()) >= rank(status));
        (rank(status) == 3).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_never_goes_backwards() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"latencyMs": 30})).await.is(200);
    join_all((0..15).map(async |number| {
        let (product, quantity, price) = [("tea", 1, 9.9), ("sold-out", 1, 19.0), ("coffee", 400, 14.5)][number % 3];
        let order_id = shop.place("ada", product, quantity, price).await;
        follow(&shop, &order_id).await;
    }))
    .await;
    shop.close().await;
}
