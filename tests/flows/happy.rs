//! Scenario 1: goods and payment are available, the order is confirmed and then shipped.

use futures_util::future::join_all;
use reqwest::Method;
use sagas::time::Timestamp;
use sagas_tests::{Answer, Shop, eventually};
use serde_json::{Value, json};

use crate::trace::assert_traced;

fn names(value: &Value) -> Vec<&str> {
    let mut names: Vec<_> = value.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

async fn place(shop: &Shop) -> Answer {
    let order = json!({
        "customerId": "ada",
        "items": [
            {"productId": "tea", "productName": "Green tea", "quantity": 2, "unitPrice": 9.9},
            {"productId": "mug", "quantity": 1, "unitPrice": 7.25},
        ],
        "paymentMethod": "PAYPAL",
    });
    Answer::to(shop.request(Method::POST, "order", "/api/v1/orders").header("X-Correlation-Id", "checkout-1").json(&order)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_order_is_completed() {
    let shop = Shop::open().await;

    let placed = place(&shop).await;
    let order = placed.is(202);
    let order_id = order["orderId"].as_str().unwrap();
    assert_eq!(placed.header("location"), Some(format!("/api/v1/orders/{order_id}").as_str()));
    assert_eq!(placed.header("x-correlation-id"), Some("checkout-1"));
    let expected = [
        "correlationId",
        "createdAt",
        "currency",
        "customerId",
        "items",
        "orderId",
        "paymentMethod",
        "status",
        "totalAmount",
        "updatedAt",
    ];
    assert_eq!(names(&order), expected);
    assert_eq!((&order["customerId"], &order["paymentMethod"]), (&json!("ada"), &json!("PAYPAL")));
    assert_eq!((&order["correlationId"], &order["currency"]), (&json!("checkout-1"), &json!("EUR")));
    assert!(placed.text.contains(r#""totalAmount":27.05,"#), "{}", placed.text);
    let items = r#""items":[{"productId":"tea","productName":"Green tea","quantity":2,"unitPrice":9.90},"#;
    assert!(placed.text.contains(items), "{}", placed.text);

    let done = shop.order_is(order_id, "COMPLETED").await;
    shop.quiet().await;
    assert_eq!(shop.get("order", placed.header("location").unwrap()).await.is(200), done);
    for name in ["createdAt", "updatedAt"] {
        let at = done[name].as_str().unwrap();
        assert_eq!(at.parse::<Timestamp>().unwrap().to_string(), at, "{name}: UTC with milliseconds");
    }
    assert!(done["updatedAt"].as_str() >= done["createdAt"].as_str());
    let status = shop.get("order", &format!("/orders/{order_id}/status")).await.is(200);
    assert_eq!(status, json!({"orderId": order_id, "status": "COMPLETED", "updatedAt": done["updatedAt"]}));

    let flow = ["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed"];
    assert_eq!(shop.history_types(order_id).await, flow);
    let history = shop.history(order_id).await;
    for pair in history.windows(2) {
        assert_eq!(pair[1]["causationId"], pair[0]["eventId"], "{}", pair[1]);
    }
    let published = assert_traced(&shop, order_id, "checkout-1").await;
    assert_eq!(published["orders"], ["OrderCreated", "OrderConfirmed"]);
    assert_eq!(published["inventory"], ["InventoryReserved"]);
    assert_eq!(published["payments"], ["PaymentProcessed"]);
    assert_eq!(published["notifications"], ["NotificationSent", "NotificationSent"]);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_service_has_done_its_part() {
    let shop = Shop::open().await;
    let order = place(&shop).await.is(202);
    let order_id = order["orderId"].as_str().unwrap();
    shop.order_is(order_id, "COMPLETED").await;
    shop.quiet().await;

    assert_eq!(shop.stock("tea").await, (998, 0, 2));
    assert_eq!(shop.stock("mug").await, (499, 0, 1));
    let reservations = shop.list("inventory", &format!("/reservations?orderId={order_id}")).await;
    assert_eq!(reservations.len(), 2);
    for reservation in &reservations {
        assert_eq!(names(reservation), ["orderId", "productId", "quantity", "reservationId", "status"]);
        assert_eq!((&reservation["status"], &reservation["orderId"]), (&json!("SOLD"), &json!(order_id)));
    }

    let payments = shop.get("payment", &format!("/payments?orderId={order_id}")).await;
    assert!(payments.text.contains(r#""amount":27.05"#), "{}", payments.text);
    let [payment] = payments.json().as_array().unwrap().clone().try_into().unwrap();
    assert_eq!(names(&payment), ["amount", "orderId", "paymentId", "paymentMethod", "status"]);
    assert_eq!((&payment["status"], &payment["paymentMethod"]), (&json!("COMPLETED"), &json!("PAYPAL")));

    let sent = |kind: &str| (kind.to_owned(), "SENT".to_owned());
    assert_eq!(shop.notifications(order_id).await, [sent("ORDER_CONFIRMATION"), sent("PAYMENT_CONFIRMATION")]);
    for notification in shop.list("notification", "/notifications?customerId=ada").await {
        let expected = ["at", "channel", "customerId", "kind", "message", "notificationId", "orderId", "status"];
        assert_eq!(names(&notification), expected);
        assert_eq!((&notification["channel"], &notification["customerId"]), (&json!("EMAIL"), &json!("ada")));
    }

    let metrics = shop.get("analytics", "/analytics/metrics").await;
    assert!(metrics.text.contains(r#""revenue":27.05"#), "{}", metrics.text);
    let metrics = metrics.is(200);
    assert_eq!(metrics["orders"], json!({"created": 1, "completed": 1, "cancelled": 0, "inFlight": 0}));
    assert_eq!(metrics["successRate"], 1.0);
    assert_eq!(metrics["cancelReasons"], json!({}));
    assert_eq!(metrics["topProducts"], json!([{"productId": "tea", "quantity": 2}, {"productId": "mug", "quantity": 1}]));
    for rank in ["p50", "p95", "p99"] {
        assert!(metrics["processingMs"][rank].is_u64(), "{metrics}");
    }
    assert_eq!(metrics["ordersPerMinute"].as_array().unwrap().len(), 1, "{metrics}");
    assert_eq!(shop.check().await["confirmed"], 1);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_completed_order_is_shipped() {
    let shop = Shop::open().await;
    shop.put("payment", "/gateway", &json!({"outage": true})).await.is(200);
    let order = place(&shop).await.is(202);
    let order_id = order["orderId"].as_str().unwrap();
    let path = format!("/orders/{order_id}/ship");
    let shipment = json!({"trackingNumber": "T-1"});
    shop.post("order", &path, &shipment).await.is_problem(409, "CONFLICT");
    shop.put("payment", "/gateway", &json!({"outage": false})).await.is(200);
    shop.order_is(order_id, "COMPLETED").await;

    let request = shop.request(Method::POST, "order", &path).header("X-Correlation-Id", "warehouse-9").json(&shipment);
    let shipped = Answer::to(request).await;
    assert_eq!(shipped.is(202)["status"], "SHIPPED");
    assert_eq!(shipped.header("x-correlation-id"), Some("warehouse-9"));
    shop.post("order", &path, &shipment).await.is_problem(409, "CONFLICT");

    let sent = ("SHIPPING_NOTIFICATION".to_owned(), "SENT".to_owned());
    eventually("the customer hears of it", async || shop.notifications(order_id).await.contains(&sent).then_some(())).await;
    shop.quiet().await;
    let history = shop.history(order_id).await;
    let last = history.last().unwrap();
    assert_eq!((&last["type"], &last["causationId"]), (&json!("OrderShipped"), &Value::Null));
    assert_eq!(last["data"], json!({"order_id": order_id, "tracking": "T-1"}));
    let published = assert_traced(&shop, order_id, "checkout-1").await;
    assert_eq!(published["orders"], ["OrderCreated", "OrderConfirmed", "OrderShipped"]);
    let notifications = shop.list("notification", &format!("/notifications?orderId={order_id}")).await;
    let shipping = notifications.iter().find(|one| one["kind"] == "SHIPPING_NOTIFICATION").unwrap();
    assert_eq!(shipping["channel"], "SMS");
    let metrics = shop.get("analytics", "/analytics/metrics").await.is(200);
    assert_eq!(metrics["orders"], json!({"created": 1, "completed": 1, "cancelled": 0, "inFlight": 0}));
    assert_eq!(shop.stock("tea").await, (998, 0, 2));
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_several_shipments_at_once_one_is_taken() {
    let shop = Shop::open().await;
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "COMPLETED").await;
    let path = format!("/orders/{order_id}/ship");
    let answers =
        join_all((0..10).map(async |number| shop.post("order", &path, &json!({"trackingNumber": format!("T-{number}")})).await))
            .await;
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [202, 409, 409, 409, 409, 409, 409, 409, 409, 409]);
    shop.quiet().await;
    assert_eq!(shop.history_types(&order_id).await.iter().filter(|name| *name == "OrderShipped").count(), 1);
    shop.close().await;
}
