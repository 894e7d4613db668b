use std::{
    future::pending,
    net::TcpListener,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{Router, body::Body, http::Request as HttpRequest, routing::get};
use opentelemetry::trace::Status;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use saga_core::{
    runtime::{Service, Traces},
    store::Database,
    testing::Pump,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{oneshot, watch},
    time::{sleep, timeout},
};
use tower::ServiceExt;

use super::{
    super::{RequestLimits, ServeLimits, ServiceHttp, harden_service, health_routes, metrics_routes, serve},
    *,
};

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no panic").extend(batch);
        Ok(())
    }
}

impl Kept {
    fn spans(&self) -> Vec<SpanData> {
        self.0.lock().expect("no panic").clone()
    }

    /// Waits until there are this many spans.
    async fn has(&self, count: usize) {
        let there = async {
            while self.spans().len() < count {
                sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, there).await.unwrap_or_else(|_| panic!("no {count} spans: {:#?}", self.spans()));
    }
}

fn said(span: &SpanData, name: &str) -> String {
    span.attributes.iter().find(|said| said.key.as_str() == name).map(|said| said.value.to_string()).unwrap_or_default()
}

const PATIENCE: Duration = Duration::from_secs(60);
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

#[tokio::test]
async fn a_request_is_a_span_within_its_callers() {
    let kept = Kept::default();
    let exporter = kept.clone();
    let service = Service::new("shop", Database::memory());
    let pump = Pump::of([service]).traces(Traces::to(move || exporter.clone())).start().await;
    let shop = pump.service("shop").clone();
    let routes = Router::new()
        .route(
            "/orders/{id}",
            get(async |trace: RequestTrace| Option::<TraceContext>::from(trace).map(|own| own.traceparent()).unwrap_or_default()),
        )
        .route("/broken", get(async || StatusCode::BAD_GATEWAY))
        .merge(health_routes(&shop));
    let router = harden_service(routes, &shop, RequestLimits::default());
    let call = async |method: &str, path: &str, traceparent: Option<String>| {
        let request = HttpRequest::builder().method(method).uri(path);
        let request = traceparent.into_iter().fold(request, |request, parent| request.header("traceparent", parent));
        let answer = router.clone().oneshot(request.body(Body::empty()).expect("a request")).await.expect("an answer");
        let body = axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body");
        String::from_utf8_lossy(&body).into_owned()
    };
    let traced = format!("00-{TRACE}-{CALLER}-01");
    let seen = call("GET", "/orders/7", Some(traced.clone())).await;
    call("GET", "/orders/7", Some(format!("00-{TRACE}-{CALLER}-00"))).await;
    call("GET", "/health/live", None).await;
    call("GET", "/broken", None).await;
    call("BREW", "/nowhere", Some(traced.to_uppercase())).await;
    call("GET", "/health/live", Some(traced)).await;
    pump.stop().await;

    let spans = kept.spans();
    let shown: Vec<_> = spans
        .iter()
        .map(|span| {
            let within = span.span_context.trace_id().to_string() == TRACE && span.parent_span_id.to_string() == CALLER;
            let status = said(span, "http.response.status_code");
            (span.name.to_string(), said(span, "http.route"), status, within, matches!(span.status, Status::Error { .. }))
        })
        .collect();
    let row = |name: &str, route: &str, status: &str, within, failed| {
        (name.to_owned(), route.to_owned(), status.to_owned(), within, failed)
    };
    assert_eq!(
        shown,
        [
            row("GET /orders/{id}", "/orders/{id}", "200", true, false),
            row("GET /broken", "/broken", "502", false, true),
            row("HTTP", "", "404", false, false),
            row("GET /health/live", "/health/live", "200", true, false),
        ]
    );
    assert_eq!((said(&spans[2], "http.request.method"), said(&spans[0], "url.path")), ("_OTHER".into(), "/orders/7".into()));
    // The handler gets the request's own span, so that what it publishes belongs to it.
    let own = spans[0].span_context.span_id();
    assert_eq!(seen, format!("00-{TRACE}-{own}-01"));
}

#[tokio::test]
async fn probes_and_scrapes_begin_no_trace_wherever_they_are_served() {
    let kept = Kept::default();
    let exporter = kept.clone();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let service = Service::new("shop", Database::memory()).listen(listener).prefix("/_sagas").also_under("/api/v1");
    let pump = Pump::of([service]).traces(Traces::to(move || exporter.clone())).start().await;
    let shop = pump.service("shop").clone();
    let shown = health_routes(&shop).merge(metrics_routes(&shop));
    let shown = shown.route("/orders/metrics", get(async || "no scrape"));
    // As on a listener that several services share: each service under its name.
    let call = async |place: &str, path: &str| {
        let router = Router::new().nest(place, harden_service(shown.clone(), &shop, RequestLimits::default()));
        let request = HttpRequest::get(format!("{place}{path}")).body(Body::empty()).expect("a request");
        let answer = router.oneshot(request).await.expect("an answer");
        assert_ne!(answer.status(), StatusCode::NOT_FOUND, "{place}{path}");
    };
    for place in ["/shop", "/shop/_sagas", "/_sagas", "/api/v1", "/api/v1/_sagas"] {
        for path in ["/health", "/health/live", "/health/ready", "/metrics"] {
            call(place, path).await;
        }
    }
    call("/shop", "/orders/metrics").await;
    call("/shopping", "/health").await;
    pump.stop().await;
    let names: Vec<_> = kept.spans().iter().map(|span| span.name.to_string()).collect();
    assert_eq!(names, ["GET /shop/orders/metrics", "GET /shopping/health"]);
}

#[tokio::test]
async fn a_request_that_nobody_waits_for_any_more_is_a_span_that_says_so() {
    let kept = Kept::default();
    let exporter = kept.clone();
    let traces = Traces::to(move || exporter.clone()).every(Duration::from_millis(10));
    let pump = Pump::of([Service::new("shop", Database::memory())]).traces(traces).start().await;
    let (hold, mut held) = watch::channel(0);
    let hold = Arc::new(hold);
    let routes = Router::new().route("/orders/{id}", get(async || "here")).route(
        "/held/{id}",
        get(async move || {
            hold.send_modify(|held| *held += 1);
            pending::<()>().await;
        }),
    );
    let limits = RequestLimits { answer_timeout: 10 * PATIENCE, ..RequestLimits::default() };
    let router = harden_service(routes, pump.service("shop"), limits);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let limits = ServeLimits { stop_timeout: Duration::from_millis(50), ..ServeLimits::default() };
    let serving = tokio::spawn(serve(listener, router, limits, async move { stopped.await.unwrap_or_default() }));
    let send = async |path: &str| {
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let head = format!("GET {path} HTTP/1.1\r\nhost: here\r\nconnection: close\r\nx-correlation-id: c-7\r\n");
        let head = format!("{head}traceparent: 00-{TRACE}-{CALLER}-01\r\n\r\n");
        client.write_all(head.as_bytes()).await.expect("sent");
        client
    };

    let mut answer = String::new();
    send("/orders/7").await.read_to_string(&mut answer).await.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let leaving = send("/held/7").await;
    timeout(PATIENCE, held.wait_for(|held| *held == 1)).await.expect("the handler waits").expect("it is there");
    drop(leaving);
    kept.has(2).await;
    // A request that runs until the server stops.
    let _staying = send("/held/8").await;
    timeout(PATIENCE, held.wait_for(|held| *held == 2)).await.expect("the handler waits").expect("it is there");
    stop.send(()).expect("it serves");
    assert!(!serving.await.expect("no panic").expect("served"), "one has not finished");
    kept.has(3).await;
    pump.stop().await;

    let spans = kept.spans();
    let names: Vec<_> = spans.iter().map(|span| &*span.name).collect();
    assert_eq!(names, ["GET /orders/{id}", "GET /held/{id}", "GET /held/{id}"], "each is told once");
    for span in &spans {
        assert_eq!((span.span_context.trace_id().to_string(), span.parent_span_id.to_string()), (TRACE.into(), CALLER.into()));
        assert_eq!(said(span, "messaging.message.conversation_id"), "c-7");
    }
    let [answered, left, stopped] = &spans[..] else { panic!("three") };
    assert_eq!((said(answered, "http.response.status_code"), &answered.status), ("200".into(), &Status::Unset));
    assert_eq!((said(left, "url.path"), said(stopped, "url.path")), ("/held/7".into(), "/held/8".into()));
    for cancelled in [left, stopped] {
        assert_eq!(
            (said(cancelled, "error.type"), said(cancelled, "http.response.status_code")),
            ("cancelled".into(), "".into())
        );
        assert!(
            matches!(&cancelled.status, Status::Error { description } if description.starts_with("dropped before it was answered")),
            "{:?}",
            cancelled.status
        );
    }
}
