//! More units are ordered than are available.

use futures_util::future::join_all;
use sagas_tests::{Shop, eventually};
use serde_json::json;

/// Of 200 orders for one of 50 units each, 50 are completed. Nothing is lost or duplicated.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn exactly_as_many_orders_complete_as_there_are_units() {
    let shop = Shop::open().await;
    let orders = join_all((0..200).map(async |number| shop.place(&format!("customer-{number}"), "teapot", 1, 49.0).await)).await;
    let ended = async |status: &str| shop.count("order", &format!("/orders?status={status}&size=1")).await;
    eventually("every order has ended", async || (ended("COMPLETED").await + ended("CANCELLED").await == 200).then_some(()))
        .await;
    shop.quiet().await;

    assert_eq!((ended("COMPLETED").await, ended("CANCELLED").await), (50, 150));
    assert_eq!(shop.stock("teapot").await, (0, 0, 50));
    let reservations = shop.list("inventory", "/reservations?size=500").await;
    assert_eq!(reservations.len(), 50);
    assert!(reservations.iter().all(|reservation| reservation["status"] == "SOLD"));
    let payments = shop.list("payment", "/payments?size=500").await;
    assert_eq!(payments.len(), 50);
    assert!(payments.iter().all(|payment| payment["status"] == "COMPLETED"));
    for order in shop.list("order", "/orders?status=CANCELLED&size=500").await {
        assert!(order["reason"].as_str().unwrap().contains("teapot"), "{order}");
        assert!(orders.contains(&order["orderId"].as_str().unwrap().to_owned()));
    }
    // Two notifications for each customer, whatever the result of the order.
    assert_eq!(shop.count("notification", "/notifications").await, 400);
    let metrics = shop.get("analytics", "/analytics/metrics").await;
    assert!(metrics.text.contains(r#""revenue":2450.00"#), "{}", metrics.text);
    let metrics = metrics.is(200);
    assert_eq!(metrics["orders"], json!({"created": 200, "completed": 50, "cancelled": 150, "inFlight": 0}));
    assert_eq!(metrics["successRate"], 0.25);
    let report = shop.check().await;
    assert_eq!((&report["confirmed"], &report["cancelled"], &report["inFlight"]), (&json!(50), &json!(150), &json!(0)));
    shop.close().await;
}
