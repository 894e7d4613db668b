use std::sync::Arc;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use saga_core::{
    runtime::{App, Service},
    store::Database,
    transport::memory::Memory,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

async fn send(router: &Router, method: &str, uri: &str, body: &Value) -> (u16, Value) {
    let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let answer = router.clone().oneshot(request.body(body).expect("a request")).await.expect("an answer");
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    (parts.status.as_u16(), if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") })
}

#[tokio::test]
async fn what_is_wrong_with_a_replay_is_named() {
    let app = App::new("test").service(Service::new("shop", Database::memory()));
    let app = app.start(Arc::new(Memory::new())).await.expect("it starts");
    let router = routes(app.service("shop").expect("it runs").clone());
    let who = |mut body: Value| {
        body["by"] = json!("ada");
        body["reason"] = json!("a wrong handler");
        body
    };
    let table = [
        (json!({"topic": "orders", "fromOffset": 0}), "reason: is missing"),
        (who(json!({"topic": "orders"})), "fromOffset or fromTime"),
        (who(json!({"topic": "orders", "fromOffset": 0, "fromTime": "2026-01-01T00:00:00Z"})), "not both"),
        (who(json!({"topic": "orders", "fromOffset": 0, "toOffset": -1})), "offsets begin at 0"),
        (who(json!({"topic": "orders", "fromOffset": 0})), "this service handles no topic `orders`"),
        (who(json!({"topic": "orders", "fromTime": "yesterday"})), "yesterday"),
        (who(json!({"topic": "orders", "fromOffset": 0, "force": true})), "force"),
    ];
    for (body, expected) in table {
        let (status, answer) = send(&router, "POST", "/replays", &body).await;
        assert!(status == 400 && answer.to_string().contains(expected), "{body}: {status} {answer}");
    }
    assert_eq!(send(&router, "GET", "/replays?open=true", &Value::Null).await, (200, json!([])));
    assert_eq!(send(&router, "POST", "/replays/unknown/cancel", &Value::Null).await.0, 404);
    app.stop().await;
}
