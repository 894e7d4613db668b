//! Requests that no service can answer: invalid paths, methods and media types.

use reqwest::Method;
use sagas_tests::{Answer, SERVICES, Shop, TOPICS};
use serde_json::json;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_another_media_type_is_refused() {
    let shop = Shop::open().await;
    let order = json!({"customerId": "ada", "items": [{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]}).to_string();
    for content_type in [None, Some("text/plain"), Some("application/xml"), Some("application/x-www-form-urlencoded"), Some("")] {
        for (method, service, path) in [
            (Method::POST, "order", "/orders"),
            (Method::POST, "inventory", "/products"),
            (Method::POST, "inventory", "/products/tea/restock"),
            (Method::PUT, "payment", "/gateway"),
            (Method::PUT, "notification", "/providers"),
        ] {
            // A request that a page of another site can send without a preflight request is first rejected as forbidden, on
            // routes for operators.
            let form = content_type.is_some_and(|kind| kind == "text/plain" || kind.ends_with("form-urlencoded"));
            let (status, code) = if form && method == Method::PUT { (403, "FORBIDDEN") } else { (415, "UNSUPPORTED_MEDIA_TYPE") };
            let mut request = shop.request(method, service, path).body(order.clone());
            if let Some(content_type) = content_type {
                request = request.header("Content-Type", content_type);
            }
            Answer::to(request).await.is_problem(status, code);
        }
    }
    for content_type in ["application/json; charset=utf-8", "Application/JSON"] {
        let request = shop.request(Method::POST, "order", "/orders").header("Content-Type", content_type).body(order.clone());
        Answer::to(request).await.is(202);
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_method_is_told_the_right_ones() {
    let shop = Shop::open().await;
    for (method, service, path, allowed) in [
        (Method::DELETE, "order", "/orders", vec!["GET", "HEAD", "POST"]),
        (Method::PUT, "order", "/orders/1", vec!["GET", "HEAD"]),
        (Method::POST, "order", "/orders/1/status", vec!["GET", "HEAD"]),
        (Method::POST, "order", "/orders/1/events", vec!["GET", "HEAD"]),
        (Method::GET, "order", "/orders/1/ship", vec!["POST"]),
        (Method::PATCH, "inventory", "/products", vec!["GET", "HEAD", "POST"]),
        (Method::DELETE, "inventory", "/products/tea", vec!["GET", "HEAD"]),
        (Method::GET, "inventory", "/products/tea/restock", vec!["POST"]),
        (Method::POST, "inventory", "/reservations", vec!["GET", "HEAD"]),
        (Method::POST, "payment", "/payments", vec!["GET", "HEAD"]),
        (Method::POST, "payment", "/gateway", vec!["GET", "HEAD", "PUT"]),
        (Method::POST, "notification", "/notifications", vec!["GET", "HEAD"]),
        (Method::DELETE, "notification", "/providers", vec!["GET", "HEAD", "PUT"]),
        (Method::POST, "analytics", "/analytics/metrics", vec!["GET", "HEAD"]),
    ] {
        for prefix in ["", "/api/v1"] {
            assert_not_allowed(&shop, method.clone(), service, &format!("{prefix}{path}"), &allowed).await;
        }
    }
    for service in SERVICES {
        assert_not_allowed(&shop, Method::POST, service, "/health", &["GET", "HEAD"]).await;
        assert_not_allowed(&shop, Method::DELETE, service, "/metrics", &["GET", "HEAD"]).await;
        assert_not_allowed(&shop, Method::POST, service, "/dead-letters", &["GET", "HEAD"]).await;
        assert_not_allowed(&shop, Method::GET, service, "/dead-letters/1/retry", &["POST"]).await;
    }
    shop.close().await;
}

async fn assert_not_allowed(shop: &Shop, method: Method, service: &str, path: &str, allowed: &[&str]) {
    let answer = Answer::to(shop.request(method, service, path)).await;
    answer.is_problem(405, "METHOD_NOT_ALLOWED");
    let mut allow: Vec<_> = answer.header("allow").unwrap_or_default().split(',').map(str::trim).collect();
    allow.sort_unstable();
    assert_eq!(allow, allowed, "{service}{path}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_not_found() {
    let shop = Shop::open().await;
    for service in SERVICES {
        for path in ["/", "/nowhere", "/api/v1", "/api/v1/nowhere", "/api/v2/orders", "/orders/1/2/3/4", "//", "/%00", "/%ff"] {
            shop.get(service, path).await.is_problem(404, "NOT_FOUND");
        }
    }
    let nobody = shop.fresh_id();
    for id in [nobody.as_str(), "nonsense", "1", "%00", "%F0%9F%8D%B5", "'; DROP TABLE orders; --", "..%2f..%2fetc"] {
        for rest in ["", "/status", "/events"] {
            shop.get("order", &format!("/orders/{id}{rest}")).await.is_problem(404, "NOT_FOUND");
        }
        let ship = shop.post("order", &format!("/orders/{id}/ship"), &json!({"trackingNumber": "T"})).await;
        ship.is_problem(404, "NOT_FOUND");
        shop.get("inventory", &format!("/products/{id}")).await.is_problem(404, "NOT_FOUND");
        let restock = shop.post("inventory", &format!("/products/{id}/restock"), &json!({"quantity": 1})).await;
        restock.is_problem(404, "NOT_FOUND");
    }
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shipment_is_checked() {
    let shop = Shop::open().await;
    let order_id = shop.place("ada", "tea", 1, 9.9).await;
    shop.order_is(&order_id, "COMPLETED").await;
    shop.quiet().await;
    let before = shop.records("orders").await.len();
    for (body, field) in [
        (json!({}), "trackingNumber"),
        (json!({"trackingNumber": 5}), "trackingNumber"),
        (json!({"trackingNumber": ""}), "trackingNumber"),
        (json!({"trackingNumber": "a\u{0}b"}), "trackingNumber"),
        (json!({"trackingNumber": "x".repeat(101)}), "trackingNumber"),
        (json!({"trackingNumber": "T", "carrier": "DHL"}), "carrier"),
    ] {
        let answer = shop.post("order", &format!("/orders/{order_id}/ship"), &body).await;
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), [field], "{body}");
    }
    shop.quiet().await;
    assert_eq!(shop.records("orders").await.len(), before);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn products_are_checked() {
    let shop = Shop::open().await;
    let long = "x".repeat(101);
    let usual = json!({"productId": "pot", "name": "Pot", "price": 1.5, "quantity": 3});
    for (field, value) in [
        ("productId", json!("")),
        ("productId", json!(long)),
        ("productId", json!("a\tb")),
        ("productId", json!(5)),
        ("name", json!("a\u{7f}b")),
        ("name", json!(null)),
        ("price", json!(0)),
        ("price", json!(-1)),
        ("price", json!(1.999)),
        ("price", json!("1.50")),
        ("price", json!(1e300)),
        ("quantity", json!(-1)),
        ("quantity", json!(1.5)),
        ("quantity", json!("3")),
        ("quantity", json!(u64::MAX)),
        ("quantity", json!(1e300)),
        ("colour", json!("red")),
    ] {
        let mut body = usual.clone();
        body[field] = value;
        let answer = shop.post("inventory", "/products", &body).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text);
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), [field], "{body}");
    }
    let added = shop.post("inventory", "/products", &usual).await;
    assert!(added.text.contains(r#""price":1.50"#), "{}", added.text);
    let product = json!({"productId": "pot", "name": "Pot", "price": 1.5, "available": 3, "reserved": 0, "sold": 0});
    assert_eq!(added.is(201), product);
    assert_eq!(shop.get("inventory", "/api/v1/products/pot").await.is(200), product);
    assert_eq!(shop.list("inventory", "/products").await[0], product, "newest first");
    shop.post("inventory", "/products", &usual).await.is_problem(409, "CONFLICT");

    let odd = json!({"productId": "a/ü b?", "name": "Odd", "price": 1, "quantity": 0});
    let added = shop.post("inventory", "/products", &odd).await;
    assert_eq!(added.is(201), shop.get("inventory", added.header("location").unwrap()).await.is(200));

    for quantity in [json!(0), json!(-1), json!(1_000_000_001), json!(1.5), json!("1"), json!(null), json!(u64::MAX)] {
        let answer = shop.post("inventory", "/products/pot/restock", &json!({"quantity": quantity})).await;
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.blamed(), ["quantity"], "{quantity}");
    }
    let restocked = shop.post("inventory", "/products/pot/restock", &json!({"quantity": 1_000_000_000})).await.is(200);
    assert_eq!(restocked["available"], 1_000_000_003);
    for topic in TOPICS {
        assert!(shop.records(topic).await.is_empty(), "{topic}");
    }
    shop.check().await;
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_is_none_is_told_what_it_must_be() {
    let shop = Shop::open().await;
    for (service, path) in [
        ("inventory", "/reservations?orderId=abc"),
        ("payment", "/payments?orderId=abc"),
        ("notification", "/notifications?orderId=abc"),
    ] {
        let answer = shop.get(service, path).await;
        answer.is_problem(400, "VALIDATION_ERROR");
        assert_eq!(answer.json()["errors"], json!([{"field": "orderId", "message": "must be a UUID"}]), "{service}{path}");
    }
    shop.close().await;
}
