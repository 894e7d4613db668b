//! The REST representation of orders, read from the folded rows.

use sagas::{
    Fault,
    http::{List, Listed, Page, Problem},
    prelude::*,
    time::Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{FromRow, Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};

use super::history::Entry;
use crate::{
    contracts::{
        Amount, Currency, CustomerId, OrderCreated, OrderId, OrderItem, OrderStatus, PaymentMethod, ProductId, Quantity,
    },
    services::{amount, damaged, parsed},
};

/// An order.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Order)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderView {
    pub(super) order_id: OrderId,
    customer_id: CustomerId,
    items: Vec<ItemView>,
    pub(super) status: OrderStatus,
    /// The price of all items.
    total_amount: Amount,
    currency: Currency,
    payment_method: PaymentMethod,
    /// The correlation id of the order, in events and log lines.
    correlation_id: String,
    /// Why it was cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    reason: Option<String>,
    created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// One line of an order.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[schema(as = Item)]
#[serde(rename_all = "camelCase")]
struct ItemView {
    product_id: ProductId,
    product_name: String,
    quantity: Quantity,
    unit_price: Amount,
}

impl From<OrderItem> for ItemView {
    fn from(item: OrderItem) -> Self {
        Self {
            product_id: item.product_id,
            product_name: item.product_name,
            quantity: item.quantity,
            unit_price: Amount(item.unit_price),
        }
    }
}

impl OrderView {
    /// The view of an order that was placed `at` this time.
    pub(super) fn placed(created: OrderCreated, correlation_id: &str, at: Timestamp) -> Self {
        Self {
            order_id: created.order_id,
            customer_id: created.customer_id,
            items: created.items.into_iter().map(ItemView::from).collect(),
            status: OrderStatus::Created,
            total_amount: Amount(created.total),
            currency: created.total.currency(),
            payment_method: created.payment_method,
            correlation_id: correlation_id.to_owned(),
            reason: None,
            created_at: at,
            updated_at: at,
        }
    }
}

impl FromRow<'_, AnyRow> for OrderView {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let items: Vec<OrderItem> = serde_json::from_str(row.try_get("items")?).map_err(|error| damaged("items", error))?;
        let total = amount(row, "total")?;
        Ok(Self {
            order_id: parsed(row, "order_id")?,
            customer_id: parsed(row, "customer_id")?,
            items: items.into_iter().map(ItemView::from).collect(),
            status: parsed(row, "status")?,
            total_amount: Amount(total),
            currency: total.currency(),
            payment_method: parsed(row, "payment_method")?,
            correlation_id: row.try_get("correlation_id")?,
            reason: row.try_get("reason")?,
            created_at: Timestamp::from_millis(row.try_get("created_at")?),
            updated_at: Timestamp::from_millis(row.try_get("updated_at")?),
        })
    }
}

/// Which orders a list contains.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(rename_all = "camelCase")]
pub(super) struct Filter {
    /// Only orders of this customer.
    #[param(inline)]
    customer_id: Option<CustomerId>,
    /// Only orders with this status.
    #[param(inline)]
    status: Option<OrderStatus>,
}

/// Reads one order; `None` when it does not exist.
pub(super) async fn order(db: &Database, order_id: OrderId) -> sqlx::Result<Option<OrderView>> {
    let row = sqlx::query("SELECT * FROM orders WHERE order_id = $1").bind(order_id.to_string()).fetch_optional(db).await?;
    row.as_ref().map(OrderView::from_row).transpose()
}

/// Reads one page of the orders that match `filter`, newest first.
pub(super) async fn orders(db: &Database, filter: &Filter, page: &Page) -> Result<Listed<OrderView>, Problem> {
    let orders = List::of("orders")
        .only("customer_id", filter.customer_id.as_ref().map(CustomerId::as_str))
        .only("status", filter.status.map(OrderStatus::as_str));
    orders.ordered("created_at DESC, order_id DESC").page(db, page).await
}

/// An event of an order's history.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OrderEvent)]
#[serde(rename_all = "camelCase")]
pub(super) struct EventView {
    #[schema(format = Uuid)]
    event_id: String,
    /// The event's name.
    #[serde(rename = "type")]
    #[schema(example = "OrderCreated")]
    event_type: String,
    /// The version of the event.
    version: i64,
    /// When the event was added to the order's history.
    occurred_at: Timestamp,
    correlation_id: String,
    /// The id of the event that caused it; null if a request caused it.
    #[schema(required)]
    causation_id: Option<String>,
    /// The value of the event, as it was published.
    #[schema(value_type = Object)]
    data: Box<RawValue>,
}

impl TryFrom<Entry> for EventView {
    type Error = Fault;

    fn try_from(entry: Entry) -> Result<Self, Fault> {
        Ok(Self {
            event_id: entry.event_id,
            event_type: entry.event_type,
            version: entry.version,
            occurred_at: entry.occurred_at,
            correlation_id: entry.correlation_id,
            causation_id: entry.causation_id,
            data: RawValue::from_string(entry.data)?,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sqlx::Row;

    use super::*;
    use crate::services::order::MIGRATIONS;

    #[tokio::test]
    async fn a_list_is_counted_without_looking_at_orders_that_are_not_on_it() {
        let db = Database::open("sqlite::memory:").await.unwrap();
        db.store().migrate_set("order", MIGRATIONS).await.unwrap();
        for (plan, index) in [
            (
                "EXPLAIN QUERY PLAN SELECT COUNT(*) FROM orders WHERE customer_id = 'ada' AND status = 'COMPLETED'",
                "COVERING INDEX orders_by_customer (customer_id=? AND status=?)",
            ),
            (
                "EXPLAIN QUERY PLAN SELECT COUNT(*) FROM orders WHERE customer_id = 'ada'",
                "COVERING INDEX orders_by_customer (customer_id=?)",
            ),
            (
                "EXPLAIN QUERY PLAN SELECT COUNT(*) FROM orders WHERE status = 'COMPLETED'",
                "COVERING INDEX orders_by_status (status=?)",
            ),
        ] {
            let plan: String = sqlx::query(plan).fetch_one(&db).await.unwrap().try_get("detail").unwrap();
            assert!(plan.ends_with(index), "{plan}");
        }
    }
}
