use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, Request},
};
use bytes::Bytes;
use http_body_util::BodyExt;
use saga_core::{
    message::{Header, Received, Record, headers},
    runtime::{App, Handle, Service},
    store::{Database, DeadLetterState, HELD, ParkedMessage},
    time::{Clock, LogTime},
    transport::memory::Memory,
};
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;

/// A service without handlers that has these dead letters.
struct Fixture {
    app: Handle,
    router: Router,
}

impl Fixture {
    async fn with(letters: &[DeadLetter]) -> Self {
        Self::holding(letters, &[]).await
    }

    /// Like [`with`](Self::with); the dead letters `holding` hold their keys.
    async fn holding(letters: &[DeadLetter], holding: &[DeadLetter]) -> Self {
        let database = Database::memory();
        let clock = Clock::manual(Timestamp::from_millis(0));
        let service = Service::new("shop", database.clone());
        let app = App::new("test").service(service).clock(clock.clone());
        let app = app.start(Arc::new(Memory::with_clock(clock))).await.expect("it starts");
        let mut tx = database.store().begin().await.expect("a transaction");
        tx.insert_dead_letters("shop", letters).await.expect("buried");
        let parked = holding.iter().map(|letter| ParkedMessage {
            id: 0,
            received: letter.received.clone(),
            attempts: letter.attempts,
            due: HELD,
            error: letter.error.clone(),
            seen: letter.at,
        });
        tx.park("shop", &parked.collect::<Vec<_>>()).await.expect("parked");
        tx.commit().await.expect("committed");
        let router = routes(app.service("shop").expect("it runs").clone());
        Self { app, router }
    }

    async fn send(&self, method: &str, uri: &str) -> (u16, HeaderMap, Value) {
        let request = Request::builder().method(method).uri(uri).body(Body::empty()).expect("a request");
        self.answer(request).await
    }

    async fn post(&self, uri: &str, body: &Value) -> (u16, Value) {
        let request = Request::post(uri).header("content-type", "application/json");
        let (status, _, answer) = self.answer(request.body(Body::from(body.to_string())).expect("a request")).await;
        (status, answer)
    }

    async fn answer(&self, request: Request<Body>) -> (u16, HeaderMap, Value) {
        let (parts, body) = self.router.clone().oneshot(request).await.expect("an answer").into_parts();
        let body = body.collect().await.expect("a body").to_bytes();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).expect("JSON") };
        (parts.status.as_u16(), parts.headers, body)
    }
}

fn letter(number: i64, value: Option<&'static [u8]>) -> DeadLetter {
    let record = Record {
        topic: "orders".to_owned(),
        key: Some(Bytes::from_static(b"order-1")),
        value: value.map(Bytes::from_static),
        headers: Vec::new(),
        timestamp: LogTime::from_millis(0),
    };
    DeadLetter {
        id: MessageId::new(format!("letter-{number}")),
        received: Received { record: record.into(), partition: 2, offset: number },
        event_type: Some("OrderCreated".to_owned()),
        error: "the gateway said no".to_owned(),
        attempts: 5,
        at: Timestamp::from_millis(1_700_000_000_000 + number),
        state: DeadLetterState::Open,
        unpublished: None,
    }
}

#[tokio::test]
async fn they_are_listed_in_pages_newest_first() {
    let shop = Fixture::with(&[letter(1, None), letter(2, None), letter(3, None)]).await;
    let (status, headers, list) = shop.send("GET", "/dead-letters?size=2").await;
    assert_eq!((status, &headers["x-total-count"]), (200, &"3".parse().expect("a header")));
    assert_eq!(headers["link"], "</dead-letters?page=1&size=2>; rel=\"next\"");
    let newest = json!({
        "id": "letter-3", "topic": "orders", "partition": 2, "offset": 3, "key": "order-1", "type": "OrderCreated", "handler": null,
        "error": "the gateway said no", "attempts": 5, "at": "2023-11-14T22:13:20.003Z",
    });
    assert_eq!(list[0], newest);
    let (_, headers, list) = shop.send("GET", "/dead-letters?size=2&page=1").await;
    assert_eq!((list[0]["id"].as_str(), list.as_array().map(Vec::len)), (Some("letter-1"), Some(1)));
    assert!(!headers.contains_key("link"));
    shop.app.stop().await;
}

#[tokio::test]
async fn it_is_said_whose_it_is() {
    let mut of_one = letter(1, None);
    Arc::make_mut(&mut of_one.received.record).headers.push(Header::text(headers::HANDLER, "reserve"));
    let shop = Fixture::with(&[of_one, letter(2, None)]).await;
    let (_, _, list) = shop.send("GET", "/dead-letters").await;
    assert_eq!((&list[0]["handler"], &list[1]["handler"]), (&Value::Null, &json!("reserve")));
    let (_, _, shown) = shop.send("GET", "/dead-letters/letter-1").await;
    assert_eq!(shown["handler"], json!("reserve"));
    shop.app.stop().await;
}

#[tokio::test]
async fn the_one_that_holds_its_key_is_marked() {
    let shop = Fixture::holding(&[letter(1, None), letter(2, None)], &[letter(1, None)]).await;
    let (_, _, list) = shop.send("GET", "/dead-letters").await;
    assert_eq!((list[0].get("holdsKey"), list[1].get("holdsKey")), (None, Some(&json!(true))));
    let (_, _, shown) = shop.send("GET", "/dead-letters/letter-1").await;
    assert_eq!(shown["holdsKey"], json!(true));
    let (status, _, _) = shop.send("POST", "/dead-letters/letter-1/discard").await;
    let (_, _, shown) = shop.send("GET", "/dead-letters/letter-1").await;
    assert_eq!((status, shown.get("holdsKey")), (202, None));
    shop.app.stop().await;
}

#[tokio::test]
async fn a_list_has_no_other_parameters() {
    let shop = Fixture::with(&[]).await;
    let (status, _, problem) = shop.send("GET", "/dead-letters?size=2&topik=orders").await;
    assert_eq!((status, &problem["code"]), (400, &json!("VALIDATION_ERROR")));
    let error = json!({"field": "topik", "message": "is not known"});
    assert_eq!(problem["errors"], json!([error]));
    shop.app.stop().await;
}

#[tokio::test]
async fn one_is_shown_with_its_value() {
    let shop = Fixture::with(&[letter(1, Some(br#"{"a": 1}"#)), letter(2, Some(b"\xff\x00")), letter(3, None)]).await;
    for (id, value, base64) in
        [("letter-1", json!("{\"a\": 1}"), None), ("letter-2", Value::Null, Some(json!("/wA="))), ("letter-3", Value::Null, None)]
    {
        let (status, _, shown) = shop.send("GET", &format!("/dead-letters/{id}")).await;
        assert_eq!((status, &shown["id"]), (200, &json!(id)));
        assert_eq!((&shown["value"], shown.get("valueBase64")), (&value, base64.as_ref()), "{id}");
    }
    shop.app.stop().await;
}

#[tokio::test]
async fn one_is_settled_once() {
    for action in ["retry", "discard"] {
        let shop = Fixture::with(&[letter(1, Some(b"{}"))]).await;
        let uri = format!("/dead-letters/letter-1/{action}");
        assert_eq!(shop.send("POST", &uri).await.0, 202, "{action}");
        let (status, _, problem) = shop.send("POST", &uri).await;
        assert_eq!((status, &problem["code"]), (409, &json!("CONFLICT")), "{action}");
        shop.app.stop().await;
    }
}

#[tokio::test]
async fn an_unknown_one_is_not_found() {
    let shop = Fixture::with(&[]).await;
    for (method, uri) in
        [("GET", "/dead-letters/nobody"), ("POST", "/dead-letters/nobody/retry"), ("POST", "/dead-letters/nobody/discard")]
    {
        let (status, _, problem) = shop.send(method, uri).await;
        assert_eq!((status, &problem["code"]), (404, &json!("NOT_FOUND")), "{method} {uri}");
    }
    shop.app.stop().await;
}

/// Three dead letters with different topics, keys and types.
fn mixed() -> [DeadLetter; 3] {
    let mut other = letter(2, None);
    let mut record = (*other.received.record).clone();
    (record.topic, record.key) = ("payments".to_owned(), Some(Bytes::from_static(b"\xff")));
    other.received.record = record.into();
    (other.event_type, other.error) = (Some("PaymentFailed".to_owned()), "a timeout".to_owned());
    [letter(1, Some(b"{}")), other, letter(3, None)]
}

#[tokio::test]
async fn they_are_found_by_a_filter() {
    let shop = Fixture::with(&mixed()).await;
    for (query, found) in [
        ("topic=orders", &["letter-3", "letter-1"][..]),
        ("key=order-1&size=1", &["letter-3"]),
        ("keyBase64=/w%3D%3D", &["letter-2"]),
        ("type=PaymentFailed", &["letter-2"]),
        ("error=gateway", &["letter-3", "letter-1"]),
        ("since=2023-11-14T22:13:20.002Z&until=2023-11-14T22:13:20.003Z", &["letter-2"]),
        ("state=discarded", &[]),
        ("state=all", &["letter-3", "letter-2", "letter-1"]),
    ] {
        let (status, _, list) = shop.send("GET", &format!("/dead-letters?{query}")).await;
        let ids: Vec<_> = list.as_array().expect("a list").iter().map(|one| one["id"].as_str().expect("an id")).collect();
        assert_eq!((status, &ids[..]), (200, found), "{query}");
    }
    for (query, field) in [
        ("key=a&keyBase64=YQ%3D%3D", "keyBase64"),
        ("keyBase64=%23", "keyBase64"),
        ("state=lost", "state"),
        ("since=yesterday", "since"),
        ("since=2024-01-01T00:00:00Z&until=2023-01-01T00:00:00Z", "until"),
    ] {
        let (status, _, problem) = shop.send("GET", &format!("/dead-letters?{query}")).await;
        assert_eq!((status, problem["errors"][0]["field"].as_str()), (400, Some(field)), "{query} {problem}");
    }
    shop.app.stop().await;
}

#[tokio::test]
async fn many_are_settled_by_a_filter() {
    for action in ["retry", "discard"] {
        let (shop, uri) = (Fixture::with(&mixed()).await, format!("/dead-letters/{action}"));
        let (status, answer) = shop.post(&uri, &json!({"topic": "orders", "dryRun": true})).await;
        assert_eq!((status, &answer["matching"], answer["samples"].as_array().map(Vec::len)), (200, &json!(2), Some(2)));
        let done = |settled: u64, left: u64| (200, json!({"settled": settled, "left": left}));
        assert_eq!(shop.post(&uri, &json!({"topic": "orders", "limit": 1})).await, done(1, 1), "{action}");
        assert_eq!(shop.post(&uri, &json!({"error": "timeout"})).await, done(1, 0), "{action}");
        assert_eq!(shop.post(&uri, &json!({"all": true})).await, done(1, 0), "{action}");
        assert_eq!(shop.post(&uri, &json!({"all": true})).await, done(0, 0), "{action}");
        let (_, headers, _) =
            shop.send("GET", &format!("/dead-letters?state={}", if action == "retry" { "retried" } else { "discarded" })).await;
        assert_eq!(headers["x-total-count"], "3", "{action}");
        shop.app.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_meant_settles_nothing() {
    let shop = Fixture::with(&mixed()).await;
    for (body, field) in [
        (json!({}), "all"),
        (json!({"limit": 5}), "all"),
        (json!({"all": false}), "all"),
        (json!({"state": "open"}), "all"),
        (json!({"topik": "orders", "all": true}), "topik"),
        (json!({"all": true, "limit": 0}), "limit"),
        (json!({"all": true, "limit": 10_001}), "limit"),
        (json!({"all": true, "state": "discarded"}), "state"),
        (json!({"all": true, "since": "soon"}), "since"),
        (json!({"all": true, "dryRun": "yes"}), "dryRun"),
    ] {
        for action in ["retry", "discard"] {
            let (status, problem) = shop.post(&format!("/dead-letters/{action}"), &body).await;
            assert_eq!((status, problem["errors"][0]["field"].as_str()), (400, Some(field)), "{body} {problem}");
        }
    }
    let (_, headers, _) = shop.send("GET", "/dead-letters").await;
    assert_eq!(headers["x-total-count"], "3");
    shop.app.stop().await;
}
