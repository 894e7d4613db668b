//! The route for metrics.

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};
use saga_core::runtime::{Health, Metrics, ServiceHandle};

use super::{operators::surface, operators_only::only};

/// The path of [`metrics_routes`].
pub(crate) const METRICS: &str = "/metrics";

/// Returns the route `/metrics`, in Prometheus' text format, for the [operators](crate::Operators) of the service only. The metric
/// `sagas_ready` is what `/health/ready` would answer at that moment. Wherever the route is mounted, it answers 401 without a token or a
/// layer.
pub fn metrics_routes(service: &ServiceHandle) -> Router {
    only(service, &surface(service).mounted, scraped(service))
}

/// Returns the same route without the check for operators.
pub(crate) fn scraped(service: &ServiceHandle) -> Router {
    scraped_of(service.health().clone(), service.metrics().clone())
}

fn scraped_of(health: Health, metrics: Metrics) -> Router {
    let answer = async move || {
        metrics.set_ready(health.is_ready().await);
        text(&metrics)
    };
    Router::new().route(METRICS, get(answer))
}

/// The metrics of the service, in the text format of Prometheus.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = 200, description = "Series, each with its help and its type.", body = String, content_type = "text/plain")),
))]
fn text(metrics: &Metrics) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

/// The description of the route for metrics.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(paths(text), tags((name = "health", description = "The health of the service.")))]
pub(super) struct DescribedMetrics;

#[cfg(test)]
mod tests {
    use axum::{body::Body, http::Request};
    use http_body_util::BodyExt;
    use tower::ServiceExt;

    use super::*;
    use saga_core::runtime::health::CheckResult;

    async fn get(router: &Router, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router.clone().oneshot(request).await.expect("an answer");
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        (status, String::from_utf8(body.into()).expect("text"))
    }

    #[tokio::test]
    async fn a_scrape_says_whether_the_service_is_ready() {
        let health = Health::new();
        let router = scraped_of(health.clone(), Metrics::new("s"));
        assert!(get(&router, "/metrics").await.1.contains("sagas_ready{service=\"s\"} 1\n"));
        health.check("database", || Box::pin(async { CheckResult::down("gone") }));
        assert!(get(&router, "/metrics").await.1.contains("sagas_ready{service=\"s\"} 0\n"));
    }

    #[tokio::test]
    async fn metrics_are_prometheus_text() {
        let metrics = Metrics::new("s");
        metrics.counter("seen_total", &[]).increment();
        let response =
            scraped_of(Health::new(), metrics).oneshot(Request::get("/metrics").body(Body::empty()).expect("a request")).await;
        let response = response.expect("an answer");
        assert!(response.headers()["content-type"].as_bytes().starts_with(b"text/plain; version=0.0.4"));
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert!(String::from_utf8_lossy(&body).contains("seen_total{service=\"s\"} 1\n"), "{body:?}");
    }
}
