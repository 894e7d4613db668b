//! The HTTP routes of the analytics service.

use std::collections::BTreeMap;

use axum::{
    Extension,
    http::header,
    response::{IntoResponse, Response},
};
use sagas::{
    http::{Json, Problem},
    prelude::*,
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    domain::{self, Metrics},
    stream::{self, Stream},
};
use crate::services::api;

const DASHBOARD: &str = include_str!("dashboard.html");

pub(super) fn routes(service: ServiceHandle, stream: Stream) -> OpenApiRouter {
    stream.observe(&service);
    api("Analytics", "Receives every event, and computes the numbers of the shop.")
        .routes(routes!(metrics))
        .routes(routes!(events))
        .routes(routes!(stream::http::stream))
        .routes(routes!(dashboard))
        .layer(Extension(service))
        .layer(Extension(stream))
}

/// Shows the key figures of the shop.
#[utoipa::path(
    get, path = "/analytics/metrics", tag = "analytics", operation_id = "showMetrics",
    responses((status = 200, description = "The numbers.", body = Metrics)),
)]
async fn metrics(Extension(service): Extension<ServiceHandle>) -> Result<Json<Metrics>, Problem> {
    Ok(Json(domain::metrics(service.database(), service.clock().now()).await?))
}

/// Counts the events of each type.
#[utoipa::path(
    get, path = "/analytics/events", tag = "analytics", operation_id = "countEvents",
    responses((status = 200, description = "The numbers, by the names of the events.", body = BTreeMap<String, i64>)),
)]
async fn events(Extension(service): Extension<ServiceHandle>) -> Result<Json<BTreeMap<String, i64>>, Problem> {
    Ok(Json(domain::event_totals(service.database()).await?))
}

/// Shows the dashboard, an HTML page. It loads nothing from other hosts.
#[utoipa::path(
    get, path = "/analytics/dashboard", tag = "analytics", operation_id = "dashboard",
    responses((
        status = 200, description = "The page.", body = String, content_type = "text/html",
        headers(("Content-Security-Policy" = String, description = "Allows nothing from other hosts.")),
    )),
)]
async fn dashboard() -> Response {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)], DASHBOARD).into_response()
}
