use std::sync::{Arc, Mutex};

use axum::{Router, body::Body, http::Request as HttpRequest, routing::get};
use opentelemetry::trace::Status;
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{SpanData, SpanExporter},
};
use tower::ServiceExt;

use super::{
    super::{RequestLimits, harden_service, health_routes},
    *,
};
use crate::{
    runtime::{Service, Traces},
    store::Database,
    testing::Pump,
};

#[derive(Debug, Clone, Default)]
struct Kept(Arc<Mutex<Vec<SpanData>>>);

impl SpanExporter for Kept {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        self.0.lock().expect("no panic").extend(batch);
        Ok(())
    }
}

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
        .merge(health_routes(shop.health().clone()));
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

    let spans = kept.0.lock().expect("no panic").clone();
    let said = |span: &SpanData, name: &str| {
        span.attributes.iter().find(|said| said.key.as_str() == name).map(|said| said.value.to_string()).unwrap_or_default()
    };
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
    // What the handler is given is the request's own span, so that what it publishes is within that.
    let own = spans[0].span_context.span_id();
    assert_eq!(seen, format!("00-{TRACE}-{own}-01"));
}
