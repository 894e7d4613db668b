//! The analytics service's calls.

use std::collections::BTreeMap;

use axum::{
    Extension, Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use sagas::{
    http::{Json, Problem},
    prelude::*,
};

use super::{
    domain::{self, Metrics},
    stream::{self, Stream},
};
use crate::services::versioned;

const DASHBOARD: &str = include_str!("dashboard.html");

pub(super) fn routes(service: ServiceHandle, stream: Stream) -> Router {
    stream.observe(&service);
    let api = Router::new()
        .route("/analytics/metrics", get(metrics))
        .route("/analytics/events", get(events))
        .route("/analytics/stream", get(stream::answer))
        .route("/analytics/dashboard", get(dashboard));
    versioned(api, &service).layer(Extension(service)).layer(Extension(stream))
}

async fn metrics(Extension(service): Extension<ServiceHandle>) -> Result<Json<Metrics>, Problem> {
    let metrics = domain::metrics(service.database(), service.clock().now()).await;
    metrics.map(Json).map_err(Problem::unavailable)
}

async fn events(Extension(service): Extension<ServiceHandle>) -> Result<Json<BTreeMap<String, i64>>, Problem> {
    domain::event_totals(service.database()).await.map(Json).map_err(Problem::unavailable)
}

async fn dashboard() -> Response {
    let policy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; img-src data:";
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, policy)], DASHBOARD).into_response()
}
