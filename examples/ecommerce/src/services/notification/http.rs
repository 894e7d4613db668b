//! The HTTP routes of the notification service.

use axum::Extension;
use sagas::{
    Fault,
    http::{Json, Listed, Page, Problem, Query, operators_only},
    prelude::*,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use sqlx::{Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::providers::{AllSwitches, AllSwitchesChange, Providers};
use crate::{
    contracts::{Channel, CustomerId, Kind, NotificationId, NotificationStatus, OrderId},
    services::{Statement, api, listed},
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

impl TryFrom<&AnyRow> for NotificationView {
    type Error = Fault;

    fn try_from(row: &AnyRow) -> Result<Self, Fault> {
        let text = |column: &str| row.try_get::<String, _>(column);
        Ok(Self {
            notification_id: text("notification_id")?.parse()?,
            order_id: text("order_id")?.parse()?,
            customer_id: CustomerId::try_from(text("customer_id")?).map_err(Fault::new)?,
            kind: text("kind")?.parse()?,
            channel: text("channel")?.parse()?,
            message: text("message")?,
            status: text("status")?.parse()?,
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
    let (notifications, total) = notifications(service.database(), &filter, &page).await.map_err(Problem::unavailable)?;
    Ok(page.list(notifications, total))
}

async fn notifications(db: &Database, filter: &Filter, page: &Page) -> Result<(Vec<NotificationView>, u64), Fault> {
    let select = |what: &str| {
        let mut sql = Statement::new(format!("SELECT {what} FROM notifications WHERE 1 = 1"));
        if let Some(order_id) = filter.order_id {
            sql.push(" AND order_id = ").bind(order_id.to_string())?;
        }
        if let Some(customer_id) = &filter.customer_id {
            sql.push(" AND customer_id = ").bind(customer_id.to_string())?;
        }
        Ok(sql)
    };
    listed(db, page, "at DESC, notification_id DESC", select).await
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
