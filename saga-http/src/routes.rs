//! The route for metrics, and the complete routers of a service.

use axum::{
    Router,
    http::{HeaderValue, header},
    response::{IntoResponse, Response},
    routing::get,
};

#[cfg(doc)]
use super::{dead_letter_routes, replay_routes, saga_routes};
use super::{dead_letters, health, operators::only, overlap, replays, sagas};
use crate::runtime::{
    Access, Routes, ServiceHandle,
    health::Health,
    metrics::{Metrics, show_ready},
};

/// Returns the routes that only the [operators](crate::runtime::Operators) of a service can use: [`metrics_routes`],
/// [`dead_letter_routes`], [`saga_routes`] and [`replay_routes`].
///
/// A listener for operators serves them without further code. An axum app of your own mounts them, with a layer that identifies the
/// operator by an [`Operator`](crate::runtime::Operator). Mounted this way they are never open to this machine, whatever is configured for
/// listeners: without a token or a layer they answer 401.
///
/// ```
/// # use axum::{Router, extract::Request, middleware::{self, Next}, response::Response};
/// # use saga_core::{http, runtime::ServiceHandle};
/// # async fn authenticate(request: Request, next: Next) -> Response { next.run(request).await }
/// fn app(service: &ServiceHandle) -> Router {
///     let operated = http::operator_routes(service).layer(middleware::from_fn(authenticate));
///     Router::new().merge(http::health_routes(service)).nest("/operators", operated)
/// }
/// ```
pub fn operator_routes(service: &ServiceHandle) -> Router {
    operated(service, &service.core().surface.mounted, true)
}

/// Returns the [`operator_routes`] of one of several services, with its health.
pub(crate) fn mounted_with_health(service: &ServiceHandle) -> Router {
    operator_routes(service).merge(only(service, &service.core().surface.mounted, health::shown_to_everybody(service)))
}

fn operated(service: &ServiceHandle, access: &Access, with_metrics: bool) -> Router {
    let acting = dead_letters::routes(service.clone()).merge(sagas::routes(service.clone()));
    let acting = acting.merge(replays::routes(service.clone()));
    only(service, access, if with_metrics { acting.merge(scraped(service)) } else { acting })
}

/// Returns what the listener of a service serves: its own routes and those of the framework, and all of them also under `also_under`.
///
/// # Errors
/// Returns an error if both have the same path, or if the routes cannot be described.
pub(crate) async fn served(own: Routes, service: &ServiceHandle, also_under: Option<&str>) -> Result<Router, Unserved> {
    let surface = &service.core().surface;
    let mut shown = health::shown_to_operators(service, &surface.routes);
    if surface.open_metrics {
        shown = shown.merge(scraped(service));
    }
    if surface.beside {
        shown = shown.merge(operated(service, &surface.routes, !surface.open_metrics));
    }
    let mut paths = [&health::PATHS[..]].concat();
    if surface.open_metrics || surface.beside && surface.routes.exists() {
        paths.push(METRICS);
    }
    if surface.beside && surface.routes.exists() {
        paths.extend(dead_letters::PATHS.iter().chain(&sagas::PATHS).chain(&replays::PATHS));
    }
    #[cfg(feature = "openapi")]
    {
        paths.extend(super::openapi::PATHS);
        let mut description = super::openapi::Description::of(service, own.description)?;
        if let Some(prefix) = also_under {
            description = description.also_under(prefix);
        }
        shown = shown.merge(super::openapi::openapi_routes(&description));
    }
    let problems = overlap::problems(&own.router, &paths, surface.prefix.as_deref(), also_under).await;
    if !problems.is_empty() {
        return Err(Unserved::Overlapping(problems));
    }
    let all = own.router.merge(match &surface.prefix {
        Some(prefix) => Router::new().nest(prefix, shown),
        None => shown,
    });
    match also_under {
        Some(prefix) => overlap::nested(all, prefix).map_err(|problem| Unserved::Overlapping(vec![problem])),
        None => Ok(all),
    }
}

/// Returns what a listener for operators serves for a service, under `place`.
///
/// # Errors
/// Returns an error if the routes cannot be described.
pub(crate) fn served_to_operators(service: &ServiceHandle, place: &str) -> Result<Router, Unserved> {
    let shown = health::shown_to_everybody(service).merge(operated(service, &service.core().surface.operators, true));
    #[cfg(feature = "openapi")]
    let shown = shown.merge(super::openapi::openapi_routes(&super::openapi::Description::for_operators(service, place)?));
    #[cfg(not(feature = "openapi"))]
    let _ = place;
    Ok(shown)
}

/// The reason why routes cannot be served.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unserved {
    /// Paths that both the service and the framework use.
    #[error("{}", .0.join("\n"))]
    Overlapping(Vec<String>),
    #[cfg(feature = "openapi")]
    #[error(transparent)]
    Undescribed(#[from] super::openapi::Undescribed),
}

impl Unserved {
    /// Returns each problem separately.
    pub(crate) fn problems(self) -> Vec<String> {
        match self {
            Self::Overlapping(problems) => problems,
            #[cfg(feature = "openapi")]
            Self::Undescribed(undescribed) => vec![undescribed.to_string()],
        }
    }
}

/// The path of [`metrics_routes`].
const METRICS: &str = "/metrics";

/// Whether `route` of `service` is one that probes request all the time. The route can be on the service's own listener, on a listener for
/// operators, or on a listener that several services share, where each is under its name.
pub(super) fn is_probed(service: &ServiceHandle, route: &str) -> bool {
    let surface = &service.core().surface;
    let under_its_name = route.strip_prefix('/').and_then(|route| route.strip_prefix(service.name()));
    let also_under = surface.also_under.as_deref().and_then(|place| route.strip_prefix(place));
    let mut places = [Some(route), under_its_name, also_under].into_iter().flatten();
    let moved = |path: &str| surface.prefix.as_deref().and_then(|prefix| path.strip_prefix(prefix)).is_some_and(is_shown);
    places.any(|path| is_shown(path) || moved(path))
}

/// Whether this is a path of the framework for health or metrics.
fn is_shown(path: &str) -> bool {
    path == METRICS || health::PATHS.contains(&path)
}

/// Returns the route `/metrics`, in Prometheus' text format, for the [operators](crate::runtime::Operators) of the service only. The metric
/// `sagas_ready` is what `/health/ready` would answer at that moment. Wherever the route is mounted, it answers 401 without a token or a
/// layer.
pub fn metrics_routes(service: &ServiceHandle) -> Router {
    only(service, &service.core().surface.mounted, scraped(service))
}

/// Returns the same route without the check for operators.
fn scraped(service: &ServiceHandle) -> Router {
    scraped_of(service.health().clone(), service.metrics().clone())
}

fn scraped_of(health: Health, metrics: Metrics) -> Router {
    let answer = async move || {
        show_ready(&metrics, health.is_ready().await);
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
    use crate::runtime::health::CheckResult;

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
