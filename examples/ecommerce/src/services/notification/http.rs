//! The HTTP routes of the notification service.

use axum::Extension;
use sagas::{
    http::{Json, List, Listed, Page, Problem, Query, operators_only},
    prelude::*,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::providers::{AllSwitches, AllSwitchesChange, Providers};
use crate::{
    contracts::{Channel, CustomerId, Kind, NotificationId, NotificationStatus, OrderId},
    services::{api, parsed},
};

pub(super) fn routes(service: ServiceHandle, providers: Providers) -> OpenApiRouter {
    api("Notifications", "Notifies customers of the outcome of their orders, through simulated providers.")
        .routes(routes!(list))
        .merge(operators_only(&service, OpenApiRouter::default().routes(routes!(switches, switch))))
        .layer(Extension(service))
        .layer(Extension(providers))
}

/// A notification to a customer.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notification)]
#[serde(rename_all = "camelCase")]
struct NotificationView {
    notification_id: NotificationId,
    order_id: OrderId,
    customer_id: CustomerId,
    kind: Kind,
    channel: Channel,
    message: String,
    status: NotificationStatus,
    at: Timestamp,
}

impl FromRow<'_, AnyRow> for NotificationView {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            notification_id: parsed(row, "notification_id")?,
            order_id: parsed(row, "order_id")?,
            customer_id: parsed(row, "customer_id")?,
            kind: parsed(row, "kind")?,
            channel: parsed(row, "channel")?,
            message: row.try_get("message")?,
            status: parsed(row, "status")?,
            at: Timestamp::from_millis(row.try_get("at")?),
        })
    }
}

#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
struct Filter {
    /// Only notifications about this order.
    #[param(inline)]
    order_id: Option<OrderId>,
    /// Only notifications to this customer.
    #[param(inline)]
    customer_id: Option<CustomerId>,
}

/// Lists notifications, newest first.
#[utoipa::path(
    get, path = "/notifications", tag = "notifications", operation_id = "listNotifications",
    params(Filter, Page),
    responses((status = 200, description = "One page of them.", body = [NotificationView])),
)]
async fn list(
    Extension(service): Extension<ServiceHandle>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<NotificationView>, Problem> {
    let notifications = List::of("notifications")
        .only("order_id", filter.order_id.map(|id| id.to_string()))
        .only("customer_id", filter.customer_id.map(|id| id.to_string()));
    notifications.ordered("at DESC, notification_id DESC").page(service.database(), &page).await
}

/// Shows the switches of the simulated providers.
#[utoipa::path(
    get, path = "/providers", tag = "providers", operation_id = "showProviders",
    responses((status = 200, description = "The switches.", body = AllSwitches)),
)]
async fn switches(Extension(providers): Extension<Providers>) -> Json<AllSwitches> {
    Json(providers.switches())
}

/// Changes switches of the simulated providers. Those that are left out do not change.
#[utoipa::path(
    put, path = "/providers", tag = "providers", operation_id = "switchProviders",
    request_body = AllSwitchesChange,
    responses((status = 200, description = "The present switches.", body = AllSwitches)),
)]
async fn switch(
    Extension(providers): Extension<Providers>,
    Json(change): Json<AllSwitchesChange>,
) -> Result<Json<AllSwitches>, Problem> {
    for (field, rate) in [("email.failureRate", change.email.failure_rate), ("sms.failureRate", change.sms.failure_rate)] {
        if rate.is_some_and(|rate| !(0.0..=1.0).contains(&rate)) {
            return Err(Problem::invalid_field(field, "must be from 0 to 1"));
        }
    }
    Ok(Json(providers.switch(change)))
}
