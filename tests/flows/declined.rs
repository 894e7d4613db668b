//! Scenario 3: the payment is declined.

use sagas_tests::Shop;
use serde_json::json;

use crate::trace::assert_traced;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_that_cannot_be_paid_is_cancelled_and_the_stock_returned() {
    let shop = Shop::open().await;
    // 103 × 49.00 exceeds the limit of the gateway; 102 × 49.00 does not.
    shop.post("inventory", "/products/teapot/restock", &json!({"quantity": 200})).await.is(200);
    let order_id = shop.place("ada", "teapot", 103, 49.0).await;
    let cancelled = shop.order_is(&order_id, "CANCELLED").await;
    shop.quiet().await;

    let flow = ["OrderCreated", "InventoryReserved", "PaymentFailed", "InventoryReleased", "OrderCancelled"];
    assert_eq!(shop.history_types(&order_id).await, flow);
    let history = shop.history(&order_id).await;
    for pair in history.windows(2) {
        assert_eq!(pair[1]["causationId"], pair[0]["eventId"], "{}", pair[1]);
    }
    assert_eq!(history[3]["data"]["released"], json!([{"product_id": "teapot", "quantity": 103}]));
    let published = assert_traced(&shop, &order_id, cancelled["correlationId"].as_str().unwrap()).await;
    assert_eq!(published["orders"], ["OrderCreated", "OrderCancelled"]);
    assert_eq!(published["inventory"], ["InventoryReserved", "InventoryReleased"]);
    assert_eq!(published["payments"], ["PaymentFailed"]);
    assert_eq!(published["notifications"], ["NotificationSent"]);

    assert_eq!(shop.stock("teapot").await, (250, 0, 0));
    let reservations = shop.list("inventory", &format!("/reservations?orderId={order_id}")).await;
    assert_eq!(reservations.len(), 1);
    assert_eq!((&reservations[0]["status"], &reservations[0]["quantity"]), (&json!("RELEASED"), &json!(103)));
    let payments = shop.list("payment", &format!("/payments?orderId={order_id}")).await;
    assert_eq!(payments.len(), 1);
    assert_eq!(payments[0]["status"], "FAILED");
    assert_eq!(
        (payments[0]["reason"].as_str().unwrap(), &payments[0]["reason"]),
        (cancelled["reason"].as_str().unwrap(), &history[2]["data"]["reason"])
    );
    assert_eq!(shop.notifications(&order_id).await, [("ORDER_CANCELLED".to_owned(), "SENT".to_owned())]);
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 1, "completed": 0, "cancelled": 1, "inFlight": 0}));
    assert_eq!(metrics["cancelReasons"], json!({cancelled["reason"].as_str().unwrap(): 1}));
    shop.check().await;

    let order_id = shop.place("ada", "teapot", 102, 49.0).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    assert_eq!(shop.stock("teapot").await, (148, 0, 102));
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_declines_what_its_switches_say() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"declineRate": 1})).await.is(200);
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "CANCELLED").await;
    shop.put("payment", "/gateway", &json!({"declineRate": 0, "declineAbove": 9.89})).await.is(200);
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "CANCELLED").await;
    shop.put("payment", "/gateway", &json!({"declineAbove": null})).await.is(200);
    let order_id = shop.place("ada", "tea", 1, 1_000_000.0).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    assert_eq!(shop.stock("tea").await, (999, 0, 1));
    shop.check().await;
    shop.close().await;
}
