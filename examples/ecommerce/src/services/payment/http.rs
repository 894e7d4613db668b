//! The HTTP routes of the payment service.

use axum::Extension;
use sagas::{
    http::{Json, List, Listed, Page, Problem, Query, operators_only},
    prelude::*,
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    audit,
    gateway::{Switches, SwitchesChange},
    terminal::Terminal,
};
use crate::{
    check::Findings,
    contracts::{Amount, OrderId, PaymentId, PaymentMethod, PaymentStatus},
    services::{amount, api, parsed},
};

/// The largest latency that the gateway can be set to, in milliseconds.
const MAX_LATENCY_MS: u64 = 600_000;

pub(super) fn routes(service: ServiceHandle, terminal: Terminal) -> OpenApiRouter {
    let operated = OpenApiRouter::default().routes(routes!(switches, switch)).routes(routes!(check));
    api("Payments", "Charges customers through a simulated gateway.")
        .routes(routes!(list))
        .merge(operators_only(&service, operated))
        .layer(Extension(service))
        .layer(Extension(terminal))
}

/// The payment of an order.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Payment)]
#[serde(rename_all = "camelCase")]
struct PaymentView {
    payment_id: PaymentId,
    order_id: OrderId,
    amount: Amount,
    status: PaymentStatus,
    payment_method: PaymentMethod,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
}

impl FromRow<'_, AnyRow> for PaymentView {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            payment_id: parsed(row, "payment_id")?,
            order_id: parsed(row, "order_id")?,
            amount: Amount(amount(row, "amount")?),
            status: parsed(row, "status")?,
            payment_method: parsed(row, "payment_method")?,
            reason: row.try_get("reason")?,
        })
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Filter {
    /// Only payments for this order.
    #[param(inline)]
    order_id: Option<OrderId>,
}

/// Lists payments, newest first.
#[utoipa::path(
    get, path = "/payments", tag = "payments", operation_id = "listPayments",
    params(Filter, Page),
    responses((status = 200, description = "One page of them.", body = [PaymentView])),
)]
async fn list(
    Extension(service): Extension<ServiceHandle>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<PaymentView>, Problem> {
    let payments = List::of("payments").only("order_id", filter.order_id.map(|id| id.to_string()));
    payments.ordered("created_at DESC, payment_id DESC").page(service.database(), &page).await
}

/// Shows the switches of the simulated gateway.
#[utoipa::path(
    get, path = "/gateway", tag = "gateway", operation_id = "showGateway",
    responses((status = 200, description = "The switches.", body = Switches)),
)]
async fn switches(Extension(terminal): Extension<Terminal>) -> Json<Switches> {
    Json(terminal.gateway().switches())
}

/// Changes switches of the simulated gateway. Those that are left out do not change.
#[utoipa::path(
    put, path = "/gateway", tag = "gateway", operation_id = "switchGateway",
    request_body = SwitchesChange,
    responses((status = 200, description = "The present switches.", body = Switches)),
)]
async fn switch(Extension(terminal): Extension<Terminal>, Json(change): Json<SwitchesChange>) -> Result<Json<Switches>, Problem> {
    if change.decline_rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
        return Err(Problem::invalid_field("declineRate", "must be from 0 to 1"));
    }
    if change.latency_ms.is_some_and(|latency| latency > MAX_LATENCY_MS) {
        return Err(Problem::invalid_field("latencyMs", format!("must be from 0 to {MAX_LATENCY_MS}")));
    }
    Ok(Json(terminal.gateway().switch(&change)))
}

/// Returns what the service finds in its own data, for the check of the whole system.
#[utoipa::path(
    get, path = "/check", tag = "check", operation_id = "check",
    responses((status = 200, description = "What the service finds in its own data.", body = Findings)),
)]
async fn check(
    Extension(service): Extension<ServiceHandle>,
    Extension(terminal): Extension<Terminal>,
) -> Result<Json<Findings>, Problem> {
    Ok(Json(audit::audit(service.database(), terminal.gateway()).await?))
}
