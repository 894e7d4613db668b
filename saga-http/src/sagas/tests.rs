use std::sync::Arc;

use axum::{body::Body, http::Request};
use http_body_util::BodyExt;
use saga_core::{
    runtime::{App, Handle, Service},
    saga::{InstanceKey, InstanceRecord},
    store::Database,
    transport::memory::Memory,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// A service with instances of a saga that it no longer defines.
struct Fixture {
    app: Handle,
    router: Router,
}

impl Fixture {
    async fn with(instances: &[InstanceRecord]) -> Self {
        let database = Database::memory();
        let clock = Clock::manual(Timestamp::from_millis(1_000_000));
        let app = App::new("test").service(Service::new("shop", database.clone())).clock(clock.clone());
        let app = app.start(Arc::new(Memory::with_clock(clock))).await.expect("it starts");
        let mut tx = database.store().begin().await.expect("a transaction");
        tx.save_instances("shop", instances).await.expect("saved");
        tx.commit().await.expect("committed");
        let router = routes(app.service("shop").expect("it runs").clone());
        Self { app, router }
    }

    async fn send(&self, method: &str, uri: &str, body: &Value) -> (u16, Value) {
        let request = Request::builder().method(method).uri(uri).header("content-type", "application/json");
        let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
        let answer = self.router.clone().oneshot(request.body(body).expect("a request")).await.expect("an answer");
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
        (parts.status.as_u16(), body)
    }

    async fn ids(&self, query: &str) -> Vec<String> {
        let (status, body) = self.send("GET", &format!("/sagas{query}"), &Value::Null).await;
        assert_eq!(status, 200, "{body}");
        body.as_array().expect("a list").iter().map(|one| one["sagaId"].as_str().expect("text").to_owned()).collect()
    }
}

fn instance(number: i64) -> InstanceRecord {
    let at = Timestamp::from_millis(number * 100_000);
    InstanceRecord {
        instance: InstanceKey { saga: "PlaceOrder".to_owned(), id: format!("order-{number}") },
        version: 1,
        state: InstanceState::Running,
        attention: None,
        due: None,
        started_at: at,
        updated_at: at,
        ended_at: None,
        body: "{}".to_owned(),
    }
}

#[tokio::test]
async fn instances_are_listed_by_what_is_asked() {
    let ended =
        InstanceRecord { state: InstanceState::Completed, ended_at: Some(Timestamp::from_millis(300_001)), ..instance(3) };
    let stuck = InstanceRecord { attention: Some("payment gave up".to_owned()), ..instance(2) };
    let fixture = Fixture::with(&[instance(1), stuck, ended]).await;
    assert_eq!(fixture.ids("").await, ["order-3", "order-2", "order-1"]);
    assert_eq!(fixture.ids("?open=true").await, ["order-2", "order-1"]);
    assert_eq!(fixture.ids("?open=true&order=stalest").await, ["order-1", "order-2"]);
    assert_eq!(fixture.ids("?attention=true").await, ["order-2"]);
    assert_eq!(fixture.ids("?state=COMPLETED&saga=PlaceOrder").await, ["order-3"]);
    assert_eq!(fixture.ids("?idle=800").await, ["order-1"], "nothing has happened to it for 900 s");
    assert_eq!(fixture.ids("?saga=Another").await, [""; 0]);
    assert_eq!(fixture.ids("?size=1&page=1").await, ["order-2"]);
    fixture.app.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_is_named() {
    let fixture = Fixture::with(&[instance(1)]).await;
    for (query, field, says) in [
        ("state=DONE", "state", "RUNNING"),
        ("oder=stalest", "oder", "not known"),
        ("order=oldest", "order", "stalest"),
        ("idle=10m", "idle", ""),
    ] {
        let (status, body) = fixture.send("GET", &format!("/sagas?{query}"), &Value::Null).await;
        assert_eq!((status, body["errors"][0]["field"].as_str()), (400, Some(field)), "{body}");
        assert!(body["errors"][0]["message"].as_str().is_some_and(|message| message.contains(says)), "{body}");
    }
    let complete = "/sagas/PlaceOrder/order-1/complete";
    for (body, field) in [
        (json!({"by": "ada"}), "reason"),
        (json!({"by": "", "reason": "r"}), "by"),
        (json!({"by": "ada", "reason": "a\nb"}), "reason"),
        (json!({"by": "ada", "reason": "r", "force": true}), "force"),
    ] {
        let (status, answer) = fixture.send("POST", complete, &body).await;
        assert_eq!((status, answer["errors"][0]["field"].as_str()), (400, Some(field)), "{answer}");
    }
    fixture.app.stop().await;
}

#[tokio::test]
async fn the_unknown_is_not_found() {
    let fixture = Fixture::with(&[instance(1)]).await;
    let (status, body) = fixture.send("GET", "/sagas/PlaceOrder/order-1", &Value::Null).await;
    assert_eq!((status, &body["state"], &body["history"]), (200, &json!("RUNNING"), &json!([])), "{body}");
    assert_eq!(fixture.send("GET", "/sagas/PlaceOrder/order-2", &Value::Null).await.0, 404);
    let (status, body) = fixture.send("POST", "/sagas/PlaceOrder/order-1/retry", &json!({"by": "ada"})).await;
    assert_eq!((status, body["detail"].as_str()), (404, Some("this service tracks no saga `PlaceOrder`")));
    fixture.app.stop().await;
}
