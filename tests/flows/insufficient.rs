//! Scenario 2: the goods are not available.

use sagas_tests::Shop;
use serde_json::json;

use crate::trace::assert_traced;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_for_what_is_short_is_cancelled_and_not_charged() {
    let shop = Shop::open().await;
    let items = json!([
        {"productId": "tea", "quantity": 3, "unitPrice": 9.9},
        {"productId": "last-one", "quantity": 2, "unitPrice": 99},
        {"productId": "unicorn", "quantity": 1, "unitPrice": 1},
    ]);
    let order = shop.post("order", "/orders", &json!({"customerId": "ada", "items": items})).await.is(202);
    let order_id = order["orderId"].as_str().unwrap();
    let cancelled = shop.order_is(order_id, "CANCELLED").await;
    shop.quiet().await;

    let reason = cancelled["reason"].as_str().unwrap();
    assert!(reason.contains("last-one") && reason.contains("unicorn") && !reason.contains("tea"), "{reason}");
    assert_eq!(cancelled["paymentMethod"], "CREDIT_CARD", "what an order without a word about it means");
    assert_eq!(shop.history_types(order_id).await, ["OrderCreated", "InventoryInsufficient", "OrderCancelled"]);
    let history = shop.history(order_id).await;
    let missing = json!([
        {"product_id": "last-one", "requested": 2, "available": 1},
        {"product_id": "unicorn", "requested": 1, "available": 0},
    ]);
    assert_eq!(history[1]["data"]["missing"], missing);
    assert_eq!(history[1]["causationId"], history[0]["eventId"]);
    assert_eq!(history[2]["causationId"], history[1]["eventId"]);

    let correlation_id = order["correlationId"].as_str().unwrap();
    let published = assert_traced(&shop, order_id, correlation_id).await;
    assert_eq!(published["orders"], ["OrderCreated", "OrderCancelled"]);
    assert_eq!(published["inventory"], ["InventoryInsufficient"]);
    assert!(published["payments"].is_empty(), "{published:?}");
    assert_eq!(shop.count("payment", "/payments").await, 0);

    assert_eq!(shop.stock("tea").await, (1000, 0, 0));
    assert_eq!(shop.stock("last-one").await, (1, 0, 0));
    assert_eq!(shop.count("inventory", "/reservations").await, 0);
    let sent = |kind: &str| (kind.to_owned(), "SENT".to_owned());
    assert_eq!(shop.notifications(order_id).await, [sent("INVENTORY_INSUFFICIENT"), sent("ORDER_CANCELLED")]);

    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 1, "completed": 0, "cancelled": 1, "inFlight": 0}));
    assert_eq!((&metrics["successRate"], &metrics["cancelReasons"]), (&json!(0.0), &json!({reason: 1})));
    assert_eq!(metrics["topProducts"], json!([]), "only of what was confirmed");
    assert_eq!(shop.check().await["cancelled"], 1);
    shop.close().await;
}
