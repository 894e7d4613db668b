use std::{
    collections::{BTreeMap, BTreeSet},
    net::TcpListener,
    sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
    response::IntoResponse,
};
use http_body_util::BodyExt;
use saga_core::{
    id::IdSource,
    runtime::{App, Handle, Service},
    store::Database,
    time::Clock,
    transport::memory::Memory,
};
use serde_json::{Value, json};
use tower::ServiceExt;
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};

use super::*;
use crate::{
    Operators, Problem, Routes, ServiceHttp, harden,
    operators_only::listened,
    routes::{served, served_to_operators},
    schema::answers,
};

/// Serves the router as a listener of the app on a loopback address does.
fn on_this_machine(router: Router) -> Router {
    listened(harden(router, Clock::system(), IdSource::random()), "127.0.0.1:1".parse().expect("an address"))
}

/// A service with everything that it can serve in addition to its own routes.
async fn app() -> Handle {
    app_with(|service| service.operators(Operators::beside_the_routes().open_on_loopback())).await
}

async fn app_with(more: impl FnOnce(Service) -> Service) -> Handle {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let app = App::new("test").service(more(Service::new("shop", Database::memory()).listen(listener)));
    app.start(Arc::new(Memory::with_clock(Clock::system()))).await.expect("it starts")
}

/// What a service without its own routes serves.
async fn router(app: &Handle, also_under: Option<&str>) -> Router {
    let router = served(Routes::default(), app.service("shop").expect("it runs"), also_under).await.expect("it is described");
    on_this_machine(router)
}

async fn ask(router: &Router, method: &str, path: &str) -> axum::http::Response<Body> {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).expect("a request");
    router.clone().oneshot(request).await.expect("an answer")
}

async fn json_at(router: &Router, path: &str) -> Value {
    let response = ask(router, "GET", path).await;
    assert_eq!(response.headers()["content-type"], "application/json", "{path}");
    let body = response.into_body().collect().await.expect("a body").to_bytes();
    serde_json::from_slice(&body).expect("JSON")
}

/// The methods of each path in the description.
fn described(document: &Value) -> BTreeMap<String, BTreeSet<String>> {
    let paths = document["paths"].as_object().expect("paths");
    let methods = |item: &Value| item.as_object().expect("methods").keys().map(|method| method.to_uppercase()).collect();
    paths.iter().map(|(path, item)| (path.clone(), methods(item))).collect()
}

/// The paths of a router, taken from its `Debug` output, because a router does not expose them.
fn paths(router: &Router) -> BTreeSet<String> {
    let shown = format!("{router:?}");
    let fallback = |path: &&str| *path == "/" || path.starts_with("/{*");
    shown.split('"').filter(|text| text.starts_with('/')).filter(|path| !fallback(path)).map(str::to_owned).collect()
}

/// Checks that all routes are described and nothing else, and that a service's own route at any of these paths is rejected. Returns the
/// paths.
async fn told(bare: Router) -> BTreeSet<String> {
    let router = on_this_machine(bare.clone());
    let openapi = paths(&bare).into_iter().find(|path| path.ends_with("/openapi.json")).expect("a description");
    let described = described(&json_at(&router, &openapi).await);
    assert_eq!(paths(&bare), described.keys().cloned().collect());
    for (path, methods) in &described {
        let refused = ask(&router, "TRACE", &path.replace(['{', '}'], "")).await;
        assert_eq!(refused.status(), 405, "{path}");
        let allowed = refused.headers()["allow"].to_str().expect("text").split(',').map(str::to_owned);
        let allowed: BTreeSet<_> = allowed.filter(|method| method != "HEAD").collect();
        assert_eq!(allowed, *methods, "{path}");
    }
    described.into_keys().collect()
}

#[tokio::test]
async fn every_route_is_described_and_nothing_else() {
    let beside = Operators::beside_the_routes;
    for (app, prefix, metrics, letters) in [
        (app_with(|service| service).await, "", false, false),
        (app().await, "", true, true),
        (app_with(|service| service.operators(beside()).prefix("/_sagas")).await, "/_sagas", true, false),
        (app_with(|service| service.operators(beside().metrics_for_everybody())).await, "", true, false),
        (
            app_with(|service| service.operators(beside().open_on_loopback().token("0123456789abcdef")).prefix("/a/b")).await,
            "/a/b",
            true,
            true,
        ),
        (app_with(|service| service.operators(Operators::mounted().metrics_for_everybody())).await, "", true, false),
    ] {
        let service = app.service("shop").expect("it runs");
        let bare = served(Routes::default(), service, None).await.expect("it is described");
        let told = told(bare).await;
        let has = |path: &str| told.contains(&format!("{prefix}{path}"));
        assert!(has("/health/ready") && has("/docs"), "{told:?}");
        // Without a configured credential, no request can pass that route, so it does not exist.
        let metrics = metrics && (letters || surface(service).open_metrics);
        assert_eq!((has("/metrics"), has("/dead-letters/{id}"), has("/sagas")), (metrics, letters, letters), "{told:?}");
        // The service's own route at any of these paths is rejected.
        for path in &told {
            let own = Router::new().route(&path.replace("{id}", "{any}"), axum::routing::any(async || ()));
            let error = served(own.into(), service, None).await.expect_err(path);
            assert!(error.to_string().contains(&format!("(`{path}`)")), "{error}");
        }
        app.stop().await;
    }
}

#[tokio::test]
async fn what_operators_have_for_themselves_is_described_too() {
    let app = app_with(|service| service.operators("127.0.0.1:0").prefix("/_sagas")).await;
    let service = app.service("shop").expect("it runs");
    let told = told(served_to_operators(service, "").expect("it is described")).await;
    assert!(
        ["/health", "/metrics", "/dead-letters", "/sagas", "/replays", "/docs"].iter().all(|path| told.contains(*path)),
        "{told:?}"
    );
    let beneath = Description::for_operators(service, "/shop").expect("it is described");
    assert_eq!(beneath.as_json()["servers"], json!([{"url": "/shop"}]));
    app.stop().await;
}

#[tokio::test]
async fn everything_is_served_under_the_prefix_too() {
    let app = app().await;
    let router = router(&app, Some("/api/v1")).await;
    let document = json_at(&router, "/api/v1/openapi.json").await;
    assert_eq!(document, json_at(&router, "/openapi.json").await);
    let servers: Vec<_> = document["servers"].as_array().expect("servers").iter().map(|server| &server["url"]).collect();
    assert_eq!(servers, ["/api/v1", "/"]);
    for path in described(&document).keys() {
        let path = path.replace(['{', '}'], "");
        for prefix in ["", "/api/v1"] {
            assert_eq!(ask(&router, "TRACE", &format!("{prefix}{path}")).await.status(), 405, "{prefix}{path}");
        }
    }
    app.stop().await;
}

#[tokio::test]
async fn the_page_is_all_here() {
    let app = app().await;
    let router = router(&app, None).await;
    let page = ask(&router, "GET", "/docs").await;
    let policy = page.headers()["content-security-policy"].to_str().expect("text").to_owned();
    assert!(policy.contains("default-src 'none'") && !policy.contains("http"), "{policy}");
    let page = page.into_body().collect().await.expect("a body").to_bytes();
    let page = String::from_utf8(page.into()).expect("text");
    let linked = page.split('"').filter(|text| text.starts_with("docs/"));
    let linked: Vec<_> = linked.collect();
    assert_eq!(linked.len(), 3, "{page}");
    for file in linked {
        let response = ask(&router, "GET", &format!("/{file}")).await;
        assert_eq!(response.status(), 200, "{file}");
        assert!(!response.into_body().collect().await.expect("a body").to_bytes().is_empty(), "{file}");
    }
    assert!(!page.contains("//"), "it names another host: {page}");
    assert_eq!(ask(&router, "GET", "/docs/other.js").await.status(), 404);
    app.stop().await;
}

#[test]
fn the_answers_of_every_service_are_as_described() {
    let quiet = tracing::subscriber::set_default(tracing::subscriber::NoSubscriber::default());
    for problem in [
        Problem::malformed_json(""),
        Problem::validation(""),
        Problem::not_found(""),
        Problem::method_not_allowed(),
        Problem::request_timeout(""),
        Problem::conflict(""),
        Problem::payload_too_large(1),
        Problem::unsupported_media_type(""),
        Problem::internal(""),
        Problem::unavailable(""),
        Problem::new(StatusCode::UNAUTHORIZED, "UNAUTHORIZED", ""),
        Problem::new(StatusCode::FORBIDDEN, "FORBIDDEN", ""),
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "MISDIRECTED_REQUEST", ""),
    ] {
        let answer = answers::ALL.iter().find(|answer| answer.codes.contains(&problem.code())).expect("a described answer");
        assert_eq!(answer.status, problem.status().as_u16());
        let described = serde_json::to_value(answer.response()).expect("JSON");
        let waits = problem.clone().retry_after(Duration::from_secs(1)) == problem || answer.status == 503;
        assert_eq!(described["headers"].get("Retry-After").is_some(), waits, "{}", answer.name);
        let given = problem.into_response();
        assert_eq!(given.headers().contains_key("retry-after"), waits, "{}", answer.name);
    }
    drop(quiet);
}

fn document(paths: Value, schemas: Value) -> OpenApi {
    let whole = json!({
        "openapi": "3.1.0", "info": {"title": "t", "version": "1"}, "paths": paths, "components": {"schemas": schemas},
    });
    serde_json::from_value(whole).expect("a document")
}

#[tokio::test]
async fn what_is_wrong_with_a_description_is_told() {
    let app = app().await;
    let service = app.service("shop").expect("it runs");
    let answer = |schema: &str| {
        let content = json!({"application/json": {"schema": {"$ref": format!("#/components/schemas/{schema}")}}});
        json!({"200": {"description": "It.", "content": content}})
    };
    let lost = document(json!({"/teas": {"get": {"operationId": "teas", "responses": answer("Tea")}}}), json!({}));
    let twice = document(json!({"/up": {"get": {"operationId": "health", "responses": answer("Problem")}}}), json!({}));
    let other = document(json!({}), json!({"HealthReport": {"type": "string"}}));
    let problem = document(json!({}), json!({"Problem": {"type": "string"}}));
    for (own, said) in [
        (lost, "`#/components/schemas/Tea` is named and not described"),
        (twice, "are both the operation `health`"),
        (other, "`HealthReport` is a schema of the framework too"),
        (problem, "`Problem` is a schema of the framework too"),
    ] {
        let error = Description::of(service, own).expect_err(said).to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(error.lines().count(), 2, "{error}");
    }
    app.stop().await;
}

#[tokio::test]
async fn a_title_of_ones_own_stays() {
    let app = app().await;
    let service = app.service("shop").expect("it runs");
    let title = |own: OpenApi| Description::of(service, own).expect("it is described").as_json()["info"]["title"].clone();
    assert_eq!(title(OpenApiRouter::<()>::default().into_openapi()), "shop");
    assert_eq!(title(OpenApiRouter::<()>::new().into_openapi()), "shop");
    assert_eq!(title(OpenApiBuilder::new().info(InfoBuilder::new().title("Teas").build()).build()), "Teas");
    app.stop().await;
}

#[tokio::test]
async fn the_tags_of_a_service_come_first() {
    let app = app().await;
    let service = app.service("shop").expect("it runs");
    let teas = json!({"/teas": {"get": {"operationId": "teas", "tags": ["teas"], "responses": {}}}});
    let whole = Description::of(service, document(teas, json!({}))).expect("it is described");
    let tags: Vec<_> = whole.as_json()["tags"].as_array().expect("tags").iter().map(|tag| &tag["name"]).collect();
    assert_eq!(tags, ["teas", "health", "description", "dead letters", "sagas", "replays"]);
    app.stop().await;
}

#[tokio::test]
async fn a_parameter_is_never_null() {
    let app = app().await;
    let service = app.service("shop").expect("it runs");
    let parameter = |schema: Value| {
        let parameters = json!([{"name": "p", "in": "query", "required": false, "schema": schema}]);
        let paths = json!({"/teas": {"get": {"operationId": "teas", "parameters": parameters, "responses": {}}}});
        let whole = Description::of(service, document(paths, json!({}))).expect("it is described");
        whole.as_json()["paths"]["/teas"]["get"]["parameters"][0]["schema"].clone()
    };
    assert_eq!(parameter(json!({"type": ["string", "null"]})), json!({"type": "string"}));
    let choice = json!({"oneOf": [{"type": "null"}, {"type": "string", "enum": ["a"]}]});
    assert_eq!(parameter(choice), json!({"type": "string", "enum": ["a"]}));
    app.stop().await;
}

#[test]
fn what_is_for_operators_is_described_as_they_are_let_in() {
    let at = |address: &str, token: Option<&str>| {
        let operators = token.into_iter().fold(Operators::beside_the_routes().open_on_loopback(), Operators::token);
        let access = operators.surface(Some(address.parse().expect("an address"))).routes;
        complete::complete(framework(None, Some(&access)))
    };
    let (open, token, none) = (at("127.0.0.1:1", None), at("0.0.0.0:1", Some("0123456789abcdef")), at("0.0.0.0:1", None));
    for (document, security, letters) in [(&open, false, true), (&token, true, true), (&none, false, false)] {
        assert_eq!(complete::problems(document), Vec::<String>::new());
        assert_eq!(document.pointer("/components/securitySchemes/operator").is_some(), security);
        let routes = described(document);
        assert!(routes.contains_key("/health") && routes.contains_key("/docs"));
        for path in ["/dead-letters/{id}/retry", "/sagas", "/replays"] {
            assert_eq!(routes.contains_key(path), letters, "{path}");
        }
        let retry = &document["paths"]["/dead-letters/{id}/retry"]["post"];
        assert_eq!(retry["security"] == json!([{"operator": []}]), security);
        assert_eq!(retry["responses"].get("401").is_some(), security);
        assert_eq!(retry["responses"].get("403").is_some(), letters);
        let local = letters && !security;
        assert_eq!(
            (retry["responses"].get("421").is_some(), document["paths"]["/sagas"]["get"]["responses"].get("421").is_some()),
            (local, local)
        );
        assert!(document["paths"]["/health"]["get"]["responses"].get("421").is_none());
        assert!(document["paths"]["/health"]["get"].get("security").is_none());
    }
}
