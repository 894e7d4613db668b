//! The health routes. Every caller gets the status of the service and of each check. Operators also get the details.
//!
//! The details name addresses, databases, topics and their errors, which a client of the service must not read. A probe must get the status
//! without a credential, so these routes never refuse a request.

use std::time::Duration;

use axum::{
    Router,
    body::Body,
    extract::{Request, State},
    http::{StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
    routing::get,
};
use futures_util::future::join;
use saga_core::runtime::{
    ServiceHandle,
    health::{Health, HealthReport, Status},
};
use tower_service::Service;

use super::{
    Json,
    operators::{Access, surface},
    operators_only::only,
};

/// The paths of [`health_routes`].
pub(super) const PATHS: [&str; 3] = ["/health", "/health/live", "/health/ready"];

/// How long the authentication of an operator can take, so that there is an answer within two seconds. It is the time limit of a check.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Returns the routes for health. `/health/live` is 200 while the process responds. `/health/ready` is 200 if the service can accept work,
/// and 503 otherwise. `/health` has all checks by name, and is 503 if a required one is down. Each responds within two seconds.
///
/// Every caller gets the status and the names of the checks with their status. The details are for the
/// [operators](crate::Operators) of the service: for requests with their credential, and for those to which a layer around these
/// routes adds an [`Operator`](crate::Operator). Such a layer has to pass on the requests of others, because probes have no
/// credential.
///
/// The listeners of an app serve these routes without further code. Your own axum app mounts them, beside [`operator_routes`](crate::operator_routes).
pub fn health_routes(service: &ServiceHandle) -> Router {
    shown_to_operators(service, &surface(service).mounted)
}

/// Returns the routes, with details for operators with `access`.
pub(super) fn shown_to_operators(service: &ServiceHandle, access: &Access) -> Router {
    routes(service.health().clone(), Readers::Operators(only(service, access, asked())))
}

/// The routes whose restriction to operators decides who sees the details.
fn asked() -> Router {
    Router::new().route("/health", get(async || Recognised)).route("/health/ready", get(async || Recognised))
}

/// Returns the routes, with details for everybody.
pub(super) fn shown_to_everybody(service: &ServiceHandle) -> Router {
    routes(service.health().clone(), Readers::Everybody)
}

fn routes(health: Health, readers: Readers) -> Router {
    Router::new()
        .route("/health/live", get(show_live))
        .route("/health/ready", get(show_ready))
        .route("/health", get(show_all))
        .with_state(Shown { health, readers })
}

#[derive(Clone)]
struct Shown {
    health: Health,
    readers: Readers,
}

/// Who sees the details.
#[derive(Clone)]
enum Readers {
    Everybody,
    /// Those whose requests these routes answer with [`Recognised`].
    Operators(Router),
}

/// The answer to an operator. Only this module can add the type to a response.
#[derive(Clone, Copy)]
struct Recognised;

impl IntoResponse for Recognised {
    fn into_response(self) -> Response {
        let mut response = StatusCode::NO_CONTENT.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl Readers {
    /// Whether the sender of this request sees the details. An authentication that refuses the request, or takes too long, means no.
    async fn include(&self, request: Parts) -> bool {
        let Self::Operators(asked) = self else { return true };
        let answer = asked.clone().call(Request::from_parts(request, Body::empty()));
        let recognised = |response: Response| response.extensions().get::<Recognised>().is_some();
        tokio::time::timeout(PATIENCE, answer).await.is_ok_and(|Ok(response)| recognised(response))
    }
}

/// The response of a live process.
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[derive(serde::Serialize)]
struct Live {
    /// Always `UP`.
    status: Status,
}

/// Reports that the process responds.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/health/live", tag = "health", operation_id = "live",
    responses((status = 200, description = "It does.", body = Live)),
))]
async fn show_live() -> Json<Live> {
    Json(Live { status: Status::Up })
}

/// Reports whether the service can accept work.
///
/// Shows the required checks. Their details and values are for operators only. Responds within two seconds.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/health/ready", tag = "health", operation_id = "ready",
    responses(
        (status = 200, description = "It can.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 503, description = "The service cannot accept work; the checks that are `DOWN` show why.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
    ),
))]
async fn show_ready(State(shown): State<Shown>, request: Parts) -> Response {
    let (report, full) = join(shown.health.ready(), shown.readers.include(request)).await;
    answer(report, full)
}

/// Reports every check by name.
///
/// Includes the checks that do not decide whether the service can accept work. Their details and values are for operators only. Responds
/// within two seconds.
#[cfg_attr(feature = "openapi", utoipa::path(
    get, path = "/health", tag = "health", operation_id = "health",
    responses(
        (status = 200, description = "Every check. The service can accept work.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
        (status = 503, description = "Every check. The service cannot accept work: a required check is `DOWN`.", body = HealthReport, headers(("Cache-Control" = String, description = "`no-store`"))),
    ),
))]
async fn show_all(State(shown): State<Shown>, request: Parts) -> Response {
    let (report, full) = join(shown.health.report(), shown.readers.include(request)).await;
    answer(report, full)
}

fn answer(report: HealthReport, full: bool) -> Response {
    let status = if report.status == Status::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let report = if full { report } else { report.without_details() };
    (status, [(header::CACHE_CONTROL, "no-store")], Json(report)).into_response()
}

/// The description of the routes for health.
#[cfg(feature = "openapi")]
#[derive(utoipa::OpenApi)]
#[openapi(paths(show_live, show_ready, show_all), tags((name = "health", description = "The health of the service.")))]
pub(super) struct Described;

#[cfg(test)]
mod tests;
