//! The whole program over real HTTP.

use std::{
    net::TcpListener,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{Router, middleware};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use own_http::{Followed, OrderCreated, authenticate, orders, routes};
use reqwest::{Client, RequestBuilder, Response};
use sagas::{health::CheckResult, http, metrics::GlobalRecorder, prelude::*, transport::memory::Memory, Handle, Operators};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);
const TOKEN: &str = "a-token-that-this-test-has-made-up";

/// Installs the program's recorder for the process, as its exporters do.
fn recorded() -> PrometheusHandle {
    static RECORDED: OnceLock<PrometheusHandle> = OnceLock::new();
    let install = || PrometheusBuilder::new().install_recorder().expect("it is the first");
    RECORDED.get_or_init(install).clone()
}

/// Creates the service on a free port, with a database in a folder that is removed with the test.
async fn service(folder: &tempfile::TempDir) -> Service {
    let url = format!("sqlite://{}", folder.path().join("orders.db").display());
    orders(Database::open(&url).await.unwrap())
}

fn free() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").unwrap()
}

async fn start(service: Service) -> Handle {
    recorded();
    App::new("own-http").service(service).recorder(GlobalRecorder).start(Arc::new(Memory::new())).await.unwrap()
}

struct Site(String);

impl Site {
    fn get(&self, path: &str) -> RequestBuilder {
        Client::new().get(format!("{}{path}", self.0))
    }

    fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        Client::new().post(format!("{}{path}", self.0)).json(body)
    }

    fn public(app: &Handle) -> Self {
        Self(format!("http://{}", app.address("orders").unwrap()))
    }

    fn operators(app: &Handle) -> Self {
        Self(format!("http://{}", app.operators_address("orders").unwrap()))
    }
}

async fn sent(request: RequestBuilder) -> Response {
    request.timeout(PATIENCE).send().await.unwrap()
}

async fn status(request: RequestBuilder) -> u16 {
    sent(request).await.status().as_u16()
}

async fn text(request: RequestBuilder) -> String {
    sent(request).await.text().await.unwrap()
}

/// Publishes a record that can be replayed.
async fn publish(app: &Handle) {
    let mut work = app.service("orders").unwrap().begin().await.unwrap();
    work.publish(&OrderCreated { order_id: "o-1".to_owned() }).unwrap();
    work.commit().await.unwrap();
    app.quiet().await;
}

fn replay(by: Option<&str>) -> Value {
    let mut body = json!({"topic": "orders", "fromOffset": 0, "reason": "a test"});
    if let Some(by) = by {
        body["by"] = json!(by);
    }
    body
}

/// Returns an order, once its event was handled.
async fn followed(site: &Site, order_id: &str) -> Followed {
    let begun = Instant::now();
    loop {
        let shown: Followed = sent(site.get(&format!("/orders/{order_id}"))).await.json().await.unwrap();
        if shown.correlation_id.is_some() {
            return shown;
        }
        assert!(begun.elapsed() < PATIENCE, "the event of {order_id} was not handled");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until a series with this prefix is not 0. All tests here share the recorder of the process.
async fn shows(page: RequestBuilder, series: &str) {
    let begun = Instant::now();
    loop {
        let shown = text(page.try_clone().unwrap()).await;
        if shown.lines().any(|line| line.starts_with(series) && !line.ends_with(" 0")) {
            return;
        }
        assert!(begun.elapsed() < PATIENCE, "no {series} in: {shown}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_routes_are_beside_the_frameworks_and_metrics_on_its_own_recorder() {
    let folder = tempfile::tempdir().unwrap();
    let with_routes = service(&folder).await.routes(|service| routes(service, recorded())).prefix("/_sagas");
    let app = start(with_routes.listen(free()).operators(Operators::on(free()))).await;
    let (site, operators) = (Site::public(&app), Site::operators(&app));

    assert_eq!(text(site.get("/health")).await, "the team's own");
    assert_eq!(status(site.get("/_sagas/health/live")).await, 200);
    for path in
        ["/health/live", "/_sagas/metrics", "/dead-letters", "/_sagas/dead-letters", "/sagas", "/_sagas/sagas", "/replays"]
    {
        assert_eq!(status(site.get(path)).await, 404, "{path}");
    }

    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let order = site.post("/orders", &json!({"order_id": "o-1"})).header("x-correlation-id", "checkout-7");
    let placed = sent(order.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))).await;
    assert_eq!((placed.status().as_u16(), placed.headers()["x-correlation-id"].to_str().unwrap()), (202, "checkout-7"));
    let expected = Followed { correlation_id: Some("checkout-7".to_owned()), trace_id: Some(trace.to_owned()) };
    assert_eq!(followed(&site, "o-1").await, expected);

    // The program's page has its own series and the framework's; the framework's page has those of the service.
    let delivered = "sagas_deliveries_total{service=\"orders\"";
    shows(site.get("/metrics"), "orders_followed_total").await;
    shows(site.get("/metrics"), delivered).await;
    shows(site.get("/metrics"), "sagas_ready{service=\"orders\"} 1").await;
    shows(operators.get("/metrics"), delivered).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_of_both_is_a_problem_that_the_start_lists() {
    let folder = tempfile::tempdir().unwrap();
    let with_routes = service(&folder).await.routes(|service| routes(service, recorded())).listen(free());
    let open = Operators::beside_the_routes().open_on_loopback();
    let app = App::new("own-http").service(with_routes.operators(open));
    let error = app.start(Arc::new(Memory::new())).await.err().expect("it does not start");
    assert_eq!(error.problems.len(), 2, "{error}");
    for path in ["/health", "/metrics"] {
        let told = format!(
            "service `orders`: `{path}` is a route of its own, given to `Service::routes(..)`, and one of the framework's"
        );
        let problem = error.problems.iter().find(|problem| problem.starts_with(&told)).unwrap_or_else(|| panic!("{error}"));
        assert!(problem.contains("Service::prefix(\"/_sagas\")"), "{problem}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn its_own_layer_says_who_an_operator_is() {
    let folder = tempfile::tempdir().unwrap();
    let operators = Operators::on(free()).layer(middleware::from_fn(authenticate));
    let app = start(service(&folder).await.listen(free()).operators(operators)).await;
    let site = Site::operators(&app);
    publish(&app).await;
    let ada = |request: RequestBuilder| request.header("x-verified-user", "ada");

    assert_eq!(status(site.get("/health/ready")).await, 200, "health is for everybody");
    let public = Site::public(&app);
    let cache = |health: &str| health.contains("cache-1.internal");
    app.service("orders").unwrap().health().watch("cache", || Box::pin(async { CheckResult::degraded("cache-1.internal is slow") }));
    let (everybody, operator) = (text(public.get("/health")).await, text(ada(public.get("/health"))).await);
    assert!(everybody.contains(r#""cache":{"status":"DEGRADED"}"#) && cache(&operator), "{everybody} {operator}");
    assert!(cache(&text(site.get("/health")).await), "the listener of operators shows the details");
    for path in ["/metrics", "/dead-letters", "/sagas", "/replays"] {
        let refused = sent(site.get(path)).await;
        assert_eq!((refused.status().as_u16(), refused.text().await.unwrap().as_str()), (401, "log in first"), "{path}");
        assert_eq!(status(ada(site.get(path))).await, 200, "{path}");
        assert_eq!(status(ada(Site::public(&app).get(path))).await, 404, "{path}");
    }
    assert_eq!(status(ada(site.post("/replays", &replay(Some("bob"))))).await, 400, "who sends it is not who it says");
    let page = ada(site.post("/replays", &replay(None))).header("origin", "https://evil.example");
    assert_eq!(status(page).await, 403, "a page of another site");
    assert_eq!(status(ada(site.post("/replays", &replay(None)))).await, 202);
    let replays: Value = sent(ada(site.get("/replays"))).await.json().await.unwrap();
    assert!(!replays.as_array().unwrap().is_empty(), "{replays}");
    assert!(replays.as_array().unwrap().iter().all(|replay| replay["by"] == "ada"), "{replays}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_a_file_lets_in_and_is_compared_whole() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("operator-token");
    std::fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let operators = Operators::at("0.0.0.0:0").token_file(&file).token_of("backup", "another-token-of-one-program");
    let app = start(service(&folder).await.operators(operators)).await;
    let site = Site(format!("http://127.0.0.1:{}", app.operators_address("orders").unwrap().port()));
    publish(&app).await;
    assert_eq!(status(site.get("/dead-letters")).await, 401);
    for wrong in [&TOKEN[1..], &TOKEN[..TOKEN.len() - 1], "another-token-of-one-programm"] {
        assert_eq!(status(site.get("/dead-letters").bearer_auth(wrong)).await, 401, "{wrong}");
    }
    assert_eq!(status(site.get("/dead-letters").bearer_auth(TOKEN)).await, 200);
    // Everyone sends the same token, so the request must name the operator. The other token belongs to one program.
    assert_eq!(status(site.post("/replays", &replay(None)).bearer_auth(TOKEN)).await, 400);
    let dry = |by: Option<&str>| {
        let mut body = replay(by);
        body["dryRun"] = json!(true);
        body
    };
    assert_eq!(status(site.post("/replays", &dry(Some("bob"))).bearer_auth(TOKEN)).await, 200);
    let named = |by| site.post("/replays", &dry(by)).bearer_auth("another-token-of-one-program");
    assert_eq!((status(named(None)).await, status(named(Some("bob"))).await), (200, 400));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_on_an_open_address_need_a_credential() {
    let folder = tempfile::tempdir().unwrap();
    let app = App::new("own-http").service(service(&folder).await.operators("0.0.0.0:0"));
    let error = app.start(Arc::new(Memory::new())).await.err().expect("it does not start").to_string();
    assert!(error.contains("operators listen on 0.0.0.0:0, which others can reach") && error.contains("token_file"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_app_shares_one_listener_between_its_services() {
    recorded();
    let folder = tempfile::tempdir().unwrap();
    let billing = Service::new("billing", Database::memory());
    let shop =
        App::new("own-http").service(service(&folder).await.listen(free())).service(billing).operators(Operators::on(free()));
    let app = shop.start(Arc::new(Memory::new())).await.unwrap();
    let site = Site::operators(&app);
    assert_eq!(app.operators_address("billing"), app.operators_address("orders"));
    for path in ["/orders/dead-letters", "/billing/dead-letters", "/billing/metrics", "/orders/health/ready"] {
        assert_eq!(status(site.get(path)).await, 200, "{path}");
    }
    assert!(text(site.get("/dead-letters")).await.contains("/billing, /orders"));
    assert_eq!(status(Site::public(&app).get("/dead-letters")).await, 404);

    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_axum_app_mounts_what_operators_have() {
    // Without a configuration of operators, only operators that a layer has authenticated are admitted.
    let alone = App::new("own-http").service(Service::new("billing", Database::memory()));
    let app = alone.start(Arc::new(Memory::new())).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mount = Site(format!("http://{}", listener.local_addr().unwrap()));
    let mounted = Router::new().nest("/bare", app.operators_router());
    let mounted = mounted.nest("/admin", app.operators_router().layer(middleware::from_fn(authenticate)));
    let serving = tokio::spawn(async move { axum::serve(listener, mounted).await });
    let ada = |path: &str| mount.get(path).header("x-verified-user", "ada");
    assert_eq!(status(ada("/bare/billing/dead-letters")).await, 401);
    assert_eq!(status(ada("/admin/billing/dead-letters")).await, 200);
    serving.abort();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_axum_app_mounts_is_closed_though_the_listener_of_operators_is_open() {
    let billing = Service::new("billing", Database::memory()).operators("127.0.0.1:0");
    let app = App::new("own-http").service(billing).start(Arc::new(Memory::new())).await.unwrap();
    let own = Site(format!("http://{}", app.operators_address("billing").unwrap()));
    assert_eq!(status(own.get("/dead-letters").header("host", "localhost")).await, 200, "it is open to this machine");

    let service = app.service("billing").unwrap();
    let mounted = Router::new()
        .nest("/app", app.operators_router())
        .nest("/all", http::operator_routes(service))
        .nest("/scraped", http::metrics_routes(service))
        .nest("/letters", http::dead_letter_routes(service))
        .nest("/flows", http::saga_routes(service))
        .nest("/again", http::replay_routes(service));
    let mounted = Router::new().nest("/admin", mounted.clone().layer(middleware::from_fn(authenticate))).merge(mounted);
    // On an address that others can reach, who can send any `Host`.
    let listener = tokio::net::TcpListener::bind("0.0.0.0:0").await.unwrap();
    let mount = Site(format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port()));
    let serving = tokio::spawn(async move { axum::serve(listener, mounted).await });
    for path in [
        "/app/billing/dead-letters",
        "/app/billing/metrics",
        "/app/billing/health",
        "/all/dead-letters",
        "/all/metrics",
        "/scraped/metrics",
        "/letters/dead-letters",
        "/flows/sagas",
        "/again/replays",
    ] {
        for host in ["localhost", "127.0.0.1", "evil.example"] {
            assert_eq!(status(mount.get(path).header("host", host)).await, 401, "{path} of {host}");
        }
        let admin = mount.get(&format!("/admin{path}")).header("x-verified-user", "ada");
        assert_eq!(status(admin).await, 200, "{path}");
        let nobody = mount.get(&format!("/admin{path}")).header("x-verified-user", "");
        assert_eq!(status(nobody).await, 401, "{path}: without a name it is nobody");
    }
    serving.abort();
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_itself_where_operators_are_is_not_on_the_listener_of_the_app() {
    recorded();
    let service = |name| Service::new(name, Database::memory());
    let services = [
        service("billing"),
        service("alone").operators(Operators::on(free())),
        service("beside").listen(free()).operators(Operators::beside_the_routes().open_on_loopback()),
        service("mounted").operators(Operators::mounted()),
    ];
    let shared = Operators::at("0.0.0.0:0").token(TOKEN);
    let app = App::new("own-http").services(services).operators(shared).start(Arc::new(Memory::new())).await.unwrap();
    let address = app.operators_address("billing").unwrap();
    let site = Site(format!("http://127.0.0.1:{}", address.port()));
    assert_eq!(status(site.get("/billing/dead-letters")).await, 401);
    assert_eq!(status(site.get("/billing/dead-letters").bearer_auth(TOKEN)).await, 200);
    for name in ["alone", "beside", "mounted"] {
        for path in ["dead-letters", "metrics", "health"] {
            let there = site.get(&format!("/{name}/{path}"));
            assert_eq!(status(there.header("host", "localhost").bearer_auth(TOKEN)).await, 404, "{name} {path}");
        }
    }
    assert!(text(site.get("/")).await.contains("under its name: /billing\""));
    assert_eq!((app.operators_address("beside"), app.operators_address("mounted")), (None, None));
    assert_ne!(app.operators_address("alone").unwrap(), address);
    let own = [app.operators_address("alone"), app.address("beside")];
    for address in own.into_iter().flatten() {
        assert_eq!(status(Site(format!("http://{address}")).get("/dead-letters")).await, 200, "{address}");
    }
    app.stop().await;
}
