use std::{future::pending, sync::Arc};

use axum::{
    http::request::Builder,
    middleware::{self, Next},
};
use http_body_util::BodyExt;
use saga_core::{
    runtime::{App, Service, health::CheckResult},
    store::Database,
    transport::memory::Memory,
};
use tower::ServiceExt;

use super::*;
use crate::{
    HandleHttp, Operator, Operators, Routes, ServiceHttp,
    operators_only::{guarded, listened},
    routes::served,
};

const TOKEN: &str = "a-token-of-thirty-two-characters";

async fn ask(router: &Router, request: Builder) -> (u16, String) {
    let request = request.body(Body::empty()).expect("a request");
    let response = router.clone().oneshot(request).await.expect("an answer");
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    (status, String::from_utf8(body.into()).expect("text"))
}

async fn get(router: &Router, path: &str) -> (u16, String) {
    ask(router, Request::get(path)).await
}

/// A health whose database is gone.
fn unwell() -> Health {
    let health = Health::new();
    health.check("database", || Box::pin(async { CheckResult::down("gone from 10.0.0.7").with("waiting", 3) }));
    health.watch("lag", || Box::pin(async { CheckResult::up().with("records", 12) }));
    health
}

const FULL: &str = r#"{"status":"DOWN","checks":{"database":{"status":"DOWN","detail":"gone from 10.0.0.7","waiting":3},"lag":{"status":"UP","records":12}}}"#;
const SHORT: &str = r#"{"status":"DOWN","checks":{"database":{"status":"DOWN"},"lag":{"status":"UP"}}}"#;

/// The routes of a service that listens on `address`.
fn listening(operators: Operators, address: &str) -> Router {
    let address = address.parse().expect("an address");
    let access = operators.surface(Some(address)).routes;
    listened(routes(unwell(), Readers::Operators(guarded(&"shop".into(), &access, asked()))), address)
}

#[tokio::test]
async fn each_question_has_its_answer() {
    let router = routes(unwell(), Readers::Everybody);
    assert_eq!(get(&router, "/health/live").await, (200, r#"{"status":"UP"}"#.to_owned()));
    let needed = r#"{"status":"DOWN","checks":{"database":{"status":"DOWN","detail":"gone from 10.0.0.7","waiting":3}}}"#;
    assert_eq!(get(&router, "/health/ready").await, (503, needed.to_owned()));
    assert_eq!(get(&router, "/health").await, (503, FULL.to_owned()));
}

#[tokio::test]
async fn what_is_only_watched_answers_200() {
    let health = Health::new();
    health.watch("lag", || Box::pin(async { CheckResult::down("far behind") }));
    let router = routes(health, Readers::Everybody);
    assert_eq!(get(&router, "/health/ready").await.0, 200);
    let (status, body) = get(&router, "/health").await;
    assert_eq!(status, 200);
    assert!(body.starts_with(r#"{"status":"DEGRADED""#), "{body}");
}

#[tokio::test]
async fn who_is_no_operator_learns_the_status_of_each_check_alone() {
    let with = |token: &str| Request::get("/health").header("authorization", format!("Bearer {token}"));
    let on = |host: &str| Request::get("/health").header("host", host);
    let open = || Operators::beside_the_routes().open_on_loopback();
    for (operators, address, request, expected) in [
        (Operators::mounted(), "127.0.0.1:1", on("localhost"), SHORT),
        (Operators::at("127.0.0.1:0"), "127.0.0.1:1", on("localhost"), SHORT),
        (Operators::beside_the_routes(), "127.0.0.1:1", on("localhost"), SHORT),
        (open(), "0.0.0.0:1", on("localhost"), SHORT),
        (open(), "127.0.0.1:1", on("evil.example"), SHORT),
        (open(), "127.0.0.1:1", on("localhost"), FULL),
        (open().token(TOKEN), "0.0.0.0:1", on("localhost"), SHORT),
        (open().token(TOKEN), "0.0.0.0:1", with("another-token-of-some-length"), SHORT),
        (open().token(TOKEN), "0.0.0.0:1", with(TOKEN), FULL),
        (Operators::mounted().token(TOKEN), "0.0.0.0:1", with(TOKEN), FULL),
        (Operators::at("127.0.0.1:0").token(TOKEN), "0.0.0.0:1", with(TOKEN), FULL),
    ] {
        let what = format!("{operators:?} at {address}: {request:?}");
        let router = listening(operators, address);
        assert_eq!(ask(&router, request).await, (503, expected.to_owned()), "{what}");
        assert_eq!(get(&router, "/health/live").await, (200, r#"{"status":"UP"}"#.to_owned()), "{what}");
    }
    let router = listening(open().token(TOKEN), "0.0.0.0:1");
    let needed = r#"{"status":"DOWN","checks":{"database":{"status":"DOWN"}}}"#;
    assert_eq!(get(&router, "/health/ready").await, (503, needed.to_owned()));
}

/// Accepts one name, refuses another, and never answers for a third.
async fn authenticate(mut request: Request, next: Next) -> Response {
    match request.headers().get("x-user").map(|name| name.as_bytes().to_owned()).as_deref() {
        Some(b"ada") => drop(request.extensions_mut().insert(Operator::new("ada"))),
        Some(b"mallory") => return StatusCode::NO_CONTENT.into_response(),
        Some(_) => pending().await,
        None => {}
    }
    next.run(request).await
}

#[tokio::test(start_paused = true)]
async fn an_authentication_that_refuses_or_hangs_does_not_keep_the_status_from_a_probe() {
    let router = listening(Operators::beside_the_routes().layer(middleware::from_fn(authenticate)), "0.0.0.0:1");
    for (user, expected) in [("ada", FULL), ("mallory", SHORT), ("eve", SHORT)] {
        let asked = ask(&router, Request::get("/health").header("x-user", user));
        let answer = tokio::time::timeout(Duration::from_secs(2), asked).await.expect("an answer within two seconds");
        assert_eq!(answer, (503, expected.to_owned()), "{user}");
    }
    assert_eq!(get(&router, "/health").await, (503, SHORT.to_owned()));
}

#[tokio::test]
async fn wherever_they_are_served_a_token_shows_the_details_and_a_layer_does() {
    let service =
        Service::new("shop", Database::memory()).prefix("/_sagas").operators(Operators::beside_the_routes().token(TOKEN));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let app = App::new("test").service(service.listen(listener));
    let app = app.start(Arc::new(Memory::new())).await.expect("it starts");
    let shop = app.service("shop").expect("it runs");
    shop.health().watch("mailServer", || Box::pin(async { CheckResult::degraded("slow: 10.0.0.8") }));

    let router = served(Routes::default(), shop, Some("/api/v1")).await.expect("no path twice");
    for path in ["/_sagas/health", "/api/v1/_sagas/health"] {
        let (_, short) = get(&router, path).await;
        assert!(short.contains(r#""mailServer":{"status":"DEGRADED"}"#), "{short}");
        let (_, full) = ask(&router, Request::get(path).header("authorization", format!("Bearer {TOKEN}"))).await;
        assert!(full.contains("slow: 10.0.0.8"), "{full}");
    }
    let own = Router::new().nest("/of-a-team", health_routes(shop)).layer(middleware::from_fn(authenticate));
    assert!(!get(&own, "/of-a-team/health").await.1.contains("10.0.0.8"));
    let (_, full) = ask(&own, Request::get("/of-a-team/health").header("x-user", "ada")).await;
    assert!(full.contains("slow: 10.0.0.8"), "{full}");

    let operated = app.operators_router();
    assert_eq!(get(&operated, "/shop/health").await.0, 401);
    let (_, full) = ask(&operated, Request::get("/shop/health").header("authorization", format!("Bearer {TOKEN}"))).await;
    assert!(full.contains("slow: 10.0.0.8"), "{full}");
    app.stop().await;
}
