//! The invariants hold at any time, not only when the system is idle.

use futures_util::future::join_all;
use sagas_tests::{Shop, eventually};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_hold_while_orders_are_on_their_way() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"declineRate": 0.3, "latencyMs": 20})).await.is(200);
    let place = join_all((0..90).map(async |number| {
        let (product, quantity, price) = [("tea", 3, 9.9), ("teapot", 2, 49.0), ("mug", 30, 7.25)][number % 3];
        shop.place(&format!("customer-{number}"), product, quantity, price).await;
    }));
    let check = eventually("every order has ended", async || {
        let report = shop.check().await;
        (report["inFlight"] == 0 && report["confirmed"].as_u64().unwrap() + report["cancelled"].as_u64().unwrap() == 90)
            .then_some(())
    });
    tokio::join!(place, check);
    shop.quiet().await;
    let report = shop.check().await;
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!((&metrics["orders"]["completed"], &metrics["orders"]["cancelled"]), (&report["confirmed"], &report["cancelled"]));
    for product in ["tea", "teapot", "mug"] {
        assert_eq!(shop.stock(product).await.1, 0, "nothing is held any more of {product}");
    }
    shop.close().await;
}
