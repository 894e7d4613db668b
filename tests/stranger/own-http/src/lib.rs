//! A service of a team that already has axum routes, a `/health`, a metrics recorder and authentication for its operators.

use axum::{
    Json, Router,
    extract::{Path, Request, State},
    http::StatusCode,
    middleware::Next,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use metrics_exporter_prometheus::PrometheusHandle;
use sagas::{
    Operator,
    http::{Problem, RequestContext},
    prelude::*,
    store::Migration,
};
use serde::{Deserialize, Serialize};

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "orders",
    sql: "CREATE TABLE orders (id TEXT PRIMARY KEY, correlation_id TEXT, trace_id TEXT)",
}];

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: String,
}

/// The order, with the ids in its event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    pub correlation_id: Option<String>,
    pub trace_id: Option<String>,
}

#[handler]
pub async fn follow(On(order): On<OrderCreated>, meta: Meta, mut tx: Tx) -> Result<(), Failure> {
    // The program's own metrics, recorded with the macros of `metrics`.
    metrics::counter!("orders_followed_total").increment(1);
    sqlx::query("UPDATE orders SET correlation_id = $1, trace_id = $2 WHERE id = $3")
        .bind(&*meta.envelope.correlation_id)
        .bind(meta.trace.traceparent().split('-').nth(1).unwrap_or_default().to_owned())
        .bind(order.order_id)
        .execute(&mut tx)
        .await?;
    Ok(())
}

async fn place(
    State(service): State<ServiceHandle>,
    request: RequestContext,
    Json(order): Json<OrderCreated>,
) -> Result<StatusCode, Problem> {
    let mut work = service.begin_for(&request).await?;
    sqlx::query("INSERT INTO orders (id) VALUES ($1)").bind(&order.order_id).execute(&mut *work).await?;
    work.publish(&order)?;
    work.commit().await?;
    Ok(StatusCode::ACCEPTED)
}

async fn show(State(service): State<ServiceHandle>, Path(order_id): Path<String>) -> Result<Json<Followed>, Problem> {
    let found = sqlx::query_as("SELECT correlation_id, trace_id FROM orders WHERE id = $1").bind(order_id);
    let found: Option<(Option<String>, Option<String>)> = found.fetch_optional(service.database()).await?;
    let (correlation_id, trace_id) = found.ok_or_else(|| Problem::not_found("there is no such order"))?;
    Ok(Json(Followed { correlation_id, trace_id }))
}

/// Returns the team's own routes, with their own health and metrics.
pub fn routes(service: ServiceHandle, recorded: PrometheusHandle) -> Router {
    Router::new()
        .route("/health", get(async || "the team's own"))
        .route("/metrics", get(async move || recorded.render()))
        .route("/orders", post(place))
        .route("/orders/{order_id}", get(show))
        .with_state(service)
}

pub fn orders(database: Database) -> Service {
    Service::new("orders", database).migrations(SCHEMA).handlers(handlers![follow])
}

/// Takes the operator that the organization's proxy has verified.
pub async fn authenticate(mut request: Request, next: Next) -> Response {
    let Some(operator) = request.headers().get("x-verified-user").and_then(|name| name.to_str().ok()).map(Operator::new) else {
        return (StatusCode::UNAUTHORIZED, "log in first").into_response();
    };
    request.extensions_mut().insert(operator);
    next.run(request).await
}
