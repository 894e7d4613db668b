//! The HTTP routes of the order service.

use axum::{
    Extension,
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use sagas::{
    http::{
        CorrelationId, Json, Listed, Page, Path, Problem, Query, RequestContext,
        openapi::{Conflict, NotFound},
        operators_only,
    },
    prelude::*,
    saga::InstanceView,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    audit,
    domain::Change,
    history::{self, OpenOrder},
    placing::{self, NewOrder, Placed},
    views::{self, EventView, Filter, OrderView},
};
use crate::{
    check::{Peers, Report},
    contracts::{OrderId, OrderShipped, OrderStatus, PlaceOrder, short_text, text, text_or_null},
    services::api,
};

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

pub(super) fn routes(service: ServiceHandle, peers: Peers) -> OpenApiRouter {
    api("Orders", "Accepts orders, and decides their outcome.")
        .routes(routes!(place, list))
        .routes(routes!(show))
        .routes(routes!(status))
        .routes(routes!(events))
        .routes(routes!(saga))
        .routes(routes!(cancel))
        .routes(routes!(ship))
        .merge(operators_only(&service, OpenApiRouter::default().routes(routes!(check))))
        .layer(Extension(service))
        .layer(Extension(peers))
}

/// Places an order.
///
/// The order is accepted but not decided yet; its status shows the result. A request with the same `Idempotency-Key` and the same
/// body returns the same order.
#[utoipa::path(
    post, path = "/orders", tag = "orders", operation_id = "placeOrder",
    params((
        "Idempotency-Key" = Option<String>, Header, min_length = 1, max_length = 255, pattern = "^[!-~]+$",
        description = "The identity of the request: 1 to 255 visible ASCII characters, kept for a week.",
    )),
    request_body(content = NewOrder, description = "The customer and the items. The total has the same limit as an amount."),
    responses(
        (
            status = 202, description = "The accepted order.", body = OrderView,
            headers(("Location" = String, description = "The path of the order.")),
        ),
        Conflict,
    ),
)]
async fn place(
    Extension(service): Extension<ServiceHandle>,
    correlation_id: CorrelationId,
    request: RequestContext,
    headers: HeaderMap,
    Json(order): Json<NewOrder>,
) -> Result<Response, Problem> {
    let key = idempotency_key(&headers)?;
    let order = match placing::place(&service, &request, &order, key).await? {
        Placed::Now { created, at } => OrderView::placed(created, correlation_id.as_str(), at),
        Placed::Before(order_id) => find(&service, order_id).await?,
    };
    let location = [(header::LOCATION, format!("/api/v1/orders/{}", order.order_id))];
    Ok((StatusCode::ACCEPTED, location, Json(order)).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<&str>, Problem> {
    let Some(key) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let acceptable = (1..=255).contains(&key.len()) && key.as_bytes().iter().all(u8::is_ascii_graphic);
    let key = key.to_str().ok().filter(|_| acceptable);
    key.map(Some).ok_or_else(|| Problem::invalid_field("Idempotency-Key", "must be 1 to 255 visible ASCII characters"))
}

/// Lists orders, newest first.
#[utoipa::path(
    get, path = "/orders", tag = "orders", operation_id = "listOrders",
    params(Filter, Page),
    responses((status = 200, description = "One page of them.", body = [OrderView])),
)]
async fn list(
    Extension(service): Extension<ServiceHandle>,
    Query(filter): Query<Filter>,
    page: Page,
) -> Result<Listed<OrderView>, Problem> {
    views::orders(service.database(), &filter, &page).await
}

/// Shows an order.
#[utoipa::path(
    get, path = "/orders/{orderId}", tag = "orders", operation_id = "showOrder",
    params(("orderId" = OrderId, Path, description = "The order.")),
    responses((status = 200, description = "The order.", body = OrderView), NotFound),
)]
async fn show(Extension(service): Extension<ServiceHandle>, Path(order_id): Path<String>) -> Result<Json<OrderView>, Problem> {
    find(&service, known(&order_id)?).await.map(Json)
}

/// The status of an order.
#[derive(Serialize, ToSchema)]
#[schema(as = OrderStatusView)]
#[serde(rename_all = "camelCase")]
struct StatusView {
    order_id: OrderId,
    status: OrderStatus,
    updated_at: Timestamp,
}

/// Shows the status of an order. It never goes backwards.
#[utoipa::path(
    get, path = "/orders/{orderId}/status", tag = "orders", operation_id = "showStatus",
    params(("orderId" = OrderId, Path, description = "The order.")),
    responses((status = 200, description = "The status.", body = StatusView), NotFound),
)]
async fn status(Extension(service): Extension<ServiceHandle>, Path(order_id): Path<String>) -> Result<Json<StatusView>, Problem> {
    let OrderView { order_id, status, updated_at, .. } = find(&service, known(&order_id)?).await?;
    Ok(Json(StatusView { order_id, status, updated_at }))
}

/// Lists the events that changed an order, oldest first.
#[utoipa::path(
    get, path = "/orders/{orderId}/events", tag = "orders", operation_id = "listEvents",
    params(("orderId" = OrderId, Path, description = "The order.")),
    responses((status = 200, description = "Its history.", body = [EventView]), NotFound),
)]
async fn events(
    Extension(service): Extension<ServiceHandle>,
    Path(order_id): Path<String>,
) -> Result<Json<Vec<EventView>>, Problem> {
    let history = history::history(service.database(), known(&order_id)?).await?;
    if history.is_empty() {
        return Err(unknown(&order_id));
    }
    Ok(Json(history.into_iter().map(EventView::try_from).collect::<Result<_, _>>()?))
}

/// Shows the saga instance of an order.
#[utoipa::path(
    get, path = "/orders/{orderId}/saga", tag = "orders", operation_id = "showOrderSaga",
    params(("orderId" = OrderId, Path, description = "The order.")),
    responses((status = 200, description = "The instance of `PlaceOrder`.", body = InstanceView), NotFound),
)]
async fn saga(Extension(service): Extension<ServiceHandle>, Path(order_id): Path<String>) -> Result<Json<InstanceView>, Problem> {
    let order_id = known(&order_id)?;
    let found = service.sagas().find(PlaceOrder::NAME, &order_id.to_string()).await?;
    found.map(Json).ok_or_else(|| unknown(order_id))
}

/// Why an order is cancelled.
#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Cancellation {
    /// The reason that the order shows. Default: `cancelled by the customer`.
    #[schema(schema_with = text_or_null)]
    reason: Option<String>,
}

/// Cancels the order, unless it was confirmed before: one commit decides.
///
/// An order for which this returns 202 ends as `CANCELLED`; a payment that was taken is refunded.
#[utoipa::path(
    post, path = "/orders/{orderId}/cancel", tag = "orders", operation_id = "cancelOrder",
    params(("orderId" = OrderId, Path, description = "The order.")),
    request_body(content = Option<Cancellation>, description = "The reason, which is optional."),
    responses((status = 202, description = "The cancelled order.", body = OrderView), NotFound, Conflict),
)]
async fn cancel(
    Extension(service): Extension<ServiceHandle>,
    request: RequestContext,
    Path(order_id): Path<String>,
    cancellation: Option<Json<Cancellation>>,
) -> Result<(StatusCode, Json<OrderView>), Problem> {
    let Cancellation { reason } = cancellation.map(|Json(cancellation)| cancellation).unwrap_or_default();
    let reason = reason.unwrap_or_else(|| "cancelled by the customer".to_owned());
    short_text(&reason).map_err(|rule| Problem::invalid_field("reason", rule))?;
    let order_id = known(&order_id)?;
    let mut work = service.begin_for(&request).await?;
    if work.abort::<PlaceOrder>(&order_id).await? != Aborting::Now {
        // The transaction that decided the order may not be committed yet. It is committed once this transaction is.
        work.commit().await?;
        let order = find(&service, order_id).await?;
        return match order.status {
            OrderStatus::Cancelled => Ok((StatusCode::ACCEPTED, Json(order))),
            status => Err(Problem::conflict(format!("it is too late to cancel the order: it is {status}"))),
        };
    }
    let open = OpenOrder::load(&mut work, order_id).await?;
    let mut open = open.ok_or_else(|| unknown(order_id))?;
    work.correlate(open.correlation_id.clone());
    let cancelled = open.order.cancelled(&reason);
    let event_id = work.publish(&cancelled)?;
    let (cause, now) = (open.begun_by.to_string(), work.now());
    open.take(&Change::Cancelled(cancelled), &event_id, Some(cause), now)?;
    open.save(&mut work).await?;
    work.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(find(&service, order_id).await?)))
}

/// A shipment.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Shipment {
    /// The carrier's tracking number.
    #[schema(schema_with = text, example = "1Z999AA10123456784")]
    tracking_number: String,
}

/// Ships a confirmed order.
#[utoipa::path(
    post, path = "/orders/{orderId}/ship", tag = "orders", operation_id = "shipOrder",
    params(("orderId" = OrderId, Path, description = "The order.")),
    request_body = Shipment,
    responses((status = 202, description = "The shipped order.", body = OrderView), NotFound, Conflict),
)]
async fn ship(
    Extension(service): Extension<ServiceHandle>,
    request: RequestContext,
    Path(order_id): Path<String>,
    Json(shipment): Json<Shipment>,
) -> Result<(StatusCode, Json<OrderView>), Problem> {
    short_text(&shipment.tracking_number).map_err(|rule| Problem::invalid_field("trackingNumber", rule))?;
    let order_id = known(&order_id)?;
    let mut work = service.begin_for(&request).await?;
    let open = OpenOrder::load(&mut work, order_id).await?;
    let mut open = open.ok_or_else(|| unknown(order_id))?;
    if open.order.status != OrderStatus::Completed {
        return Err(Problem::conflict(format!("only a COMPLETED order can be shipped; this one is {}", open.order.status)));
    }
    work.correlate(open.correlation_id.clone());
    let shipped = OrderShipped { order_id, tracking: shipment.tracking_number };
    let event_id = work.publish(&shipped)?;
    let now = work.now();
    open.take(&Change::Shipped(shipped), &event_id, None, now)?;
    open.save(&mut work).await?;
    work.commit().await?;
    Ok((StatusCode::ACCEPTED, Json(find(&service, order_id).await?)))
}

/// Checks the invariants of the whole system, for which it queries the other services.
#[utoipa::path(
    get, path = "/check", tag = "check", operation_id = "check",
    responses((status = 200, description = "The invariants, and whether each holds.", body = Report)),
)]
async fn check(
    Extension(service): Extension<ServiceHandle>,
    Extension(peers): Extension<Peers>,
) -> Result<Json<Report>, Problem> {
    let own = || audit::audit(service.database());
    // Money is compared from both sides. The payment of an order that was confirmed in `before` is captured by the time the
    // payment service is queried. A payment that is captured by then belongs to an order that is confirmed or in flight in
    // `after`.
    let before = own().await?;
    let others = peers.ask().await;
    let mut after = own().await?;
    audit::overdue(&service, &mut after).await?;
    Ok(Json(Report::of(before, others, after)))
}

async fn find(service: &ServiceHandle, order_id: OrderId) -> Result<OrderView, Problem> {
    let order = views::order(service.database(), order_id).await?;
    order.ok_or_else(|| unknown(order_id))
}

/// Parses the id in a path. A text that is not an id gets the answer for an unknown order.
fn known(order_id: &str) -> Result<OrderId, Problem> {
    order_id.parse().map_err(|_| unknown(order_id))
}

fn unknown(order_id: impl std::fmt::Display) -> Problem {
    Problem::not_found(format!("there is no order {order_id}"))
}
