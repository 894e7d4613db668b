//! Health, metrics, and all of it together.

use axum::{
    Router,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Json, dead_letter_routes, operators_only, replay_routes, saga_routes};
use crate::runtime::{
    ServiceHandle,
    health::{Health, HealthReport, Status},
    metrics::{Metrics, ready},
};

/// Everything that a service shows about itself: [`health_routes`], [`metrics_routes`], [`dead_letter_routes`],
/// [`saga_routes`] and [`replay_routes`]; the last three for the service's [`operators`](ServiceHandle::operators) only.
pub fn service_routes(service: &ServiceHandle) -> Router {
    let operated = dead_letter_routes(service.clone()).merge(saga_routes(service.clone())).merge(replay_routes(service.clone()));
    health_routes(service.health().clone())
        .merge(scraped(service.health().clone(), service.metrics().clone()))
        .merge(operators_only(service, operated))
}

/// `/health/live`: 200 while the process answers. `/health/ready`: 200 when the service can take work, else 503. `/health`: all
/// checks by name, 503 when one that is needed is down. Each answers within two seconds.
pub fn health_routes(health: Health) -> Router {
    let (ready, full) = (health.clone(), health);
    Router::new()
        .route("/health/live", get(async || Json(serde_json::json!({"status": Status::Up}))))
        .route("/health/ready", get(async move || answer(ready.ready().await)))
        .route("/health", get(async move || answer(full.report().await)))
}

fn answer(report: HealthReport) -> Response {
    let status = if report.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

/// `/metrics`, in Prometheus' text format.
pub fn metrics_routes(metrics: Metrics) -> Router {
    Router::new().route("/metrics", get(async move || text(&metrics)))
}

/// The same, with `sagas_ready`: what `/health/ready` answers at that moment.
fn scraped(health: Health, metrics: Metrics) -> Router {
    let gauge = ready(&metrics);
    let answer = async move || {
        gauge.set(f64::from(u8::from(health.ready().await.status != Status::Down)));
        text(&metrics)
    };
    Router::new().route("/metrics", get(answer))
}

fn text(metrics: &Metrics) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use crate::runtime::health::CheckResult;

    async fn get(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.into()).expect("text"))
    }

    #[tokio::test]
    async fn each_question_has_its_answer() {
        let health = Health::new();
        health.check("database", || Box::pin(async { CheckResult::down("gone") }));
        health.watch("lag", || Box::pin(async { CheckResult::up() }));
        let router = health_routes(health);
        assert_eq!(get(&router, "/health/live").await, (200, r#"{"status":"UP"}"#.to_owned()));
        let database = r#""database":{"status":"DOWN","detail":"gone"}"#;
        assert_eq!(get(&router, "/health/ready").await, (503, format!(r#"{{"status":"DOWN","checks":{{{database}}}}}"#)));
        let full = format!(r#"{{"status":"DOWN","checks":{{{database},"lag":{{"status":"UP"}}}}}}"#);
        assert_eq!(get(&router, "/health").await, (503, full));
    }

    #[tokio::test]
    async fn what_is_only_watched_answers_200() {
        let health = Health::new();
        health.watch("lag", || Box::pin(async { CheckResult::down("far behind") }));
        let router = health_routes(health);
        assert_eq!(get(&router, "/health/ready").await.0, 200);
        let (status, body) = get(&router, "/health").await;
        assert_eq!(status, 200);
        assert!(body.starts_with(r#"{"status":"DEGRADED""#), "{body}");
    }

    #[tokio::test]
    async fn a_scrape_says_whether_the_service_is_ready() {
        let health = Health::new();
        let router = scraped(health.clone(), Metrics::new("s"));
        assert!(get(&router, "/metrics").await.1.contains("sagas_ready{service=\"s\"} 1\n"));
        health.check("database", || Box::pin(async { CheckResult::down("gone") }));
        assert!(get(&router, "/metrics").await.1.contains("sagas_ready{service=\"s\"} 0\n"));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let metrics = Metrics::new("s");
        metrics.counter("seen_total", &[]).increment();
        let response = metrics_routes(metrics).oneshot(Request::get("/metrics").body(Body::empty()).expect("a request")).await;
        let response = response.expect("an answer");
        assert!(response.headers()["content-type"].as_bytes().starts_with(b"text/plain; version=0.0.4"));
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(body.ends_with(b"seen_total{service=\"s\"} 1\n\n"), "{body:?}");
    }
}
