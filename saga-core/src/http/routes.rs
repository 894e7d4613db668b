//! Health, metrics, and all of it together.

use axum::{
    Router,
    extract::State,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Json, dead_letter_routes, operators_only, replay_routes, saga_routes};
use crate::runtime::{
    Routes, ServiceHandle,
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

/// What a service serves: its own routes, and beside them what it shows about itself; and all of it under `prefix` too.
///
/// # Errors
/// When the routes cannot be described.
pub(crate) fn served(own: Routes, service: &ServiceHandle, prefix: Option<&str>) -> Result<Router, Undescribed> {
    let all = own.router.merge(service_routes(service));
    #[cfg(feature = "openapi")]
    let all = {
        let mut description = super::openapi::Description::of(service, own.description)?;
        if let Some(prefix) = prefix {
            description = description.also_under(prefix);
        }
        all.merge(super::openapi::openapi_routes(&description))
    };
    Ok(match prefix {
        Some(prefix) => all.clone().nest(prefix, all),
        None => all,
    })
}

#[cfg(feature = "openapi")]
pub(crate) use super::openapi::Undescribed;
/// Nothing is described, and nothing goes wrong with it.
#[cfg(not(feature = "openapi"))]
pub(crate) type Undescribed = std::convert::Infallible;

/// `/health/live`: 200 while the process answers. `/health/ready`: 200 when the service can take work, else 503. `/health`: all
/// checks by name, 503 when one that is needed is down. Each answers within two seconds.
pub fn health_routes(health: Health) -> Router {
    Router::new()
        .route("/health/live", get(show_live))
        .route("/health/ready", get(show_ready))
        .route("/health", get(show_all))
        .with_state(health)
}

/// Whether the process answers.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(serde::Serialize)]
struct Live {
    /// `UP`: there is an answer.
    status: Status,
}

/// Whether the process answers.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/health/live", tag = "health", operation_id = "live",
    responses((status = 200, description = "It does.", body = Live)),
))]
async fn show_live() -> Json<Live> {
    Json(Live { status: Status::Up })
}

/// Whether the service can take work.
///
/// Asks what it needs to, and answers within two seconds.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/health/ready", tag = "health", operation_id = "ready",
    responses(
        (status = 200, description = "It can.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 503, description = "It cannot: the checks say why.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
    ),
))]
async fn show_ready(State(health): State<Health>) -> Response {
    answer(health.ready().await)
}

/// Every check by name.
///
/// Also those that do not decide whether the service can take work. Answers within two seconds.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/health", tag = "health", operation_id = "health",
    responses(
        (status = 200, description = "What is needed is there.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 503, description = "What is needed is not there.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
    ),
))]
async fn show_all(State(health): State<Health>) -> Response {
    answer(health.report().await)
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

/// The numbers of the service, in the text format of Prometheus.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/metrics", tag = "health", operation_id = "metrics",
    responses((status = 200, description = "Series, each with its help and its type.", body = String, content_type = "text/plain")),
))]
fn text(metrics: &Metrics) -> Response {
    const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, TEXT)], metrics.render()).into_response()
}

/// The routes, as they are described.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(paths(show_live, show_ready, show_all, text), tags((name = "health", description = "How the service is doing.")))]
pub(super) struct Described;

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
