//! The REST representation of orders, read from the folded rows.

use sagas::{Fault, http::Page, prelude::*, time::Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sqlx::{Row, any::AnyRow};
use utoipa::{IntoParams, ToSchema};

use super::history::Entry;
use crate::{
    contracts::{
        Amount, Currency, CustomerId, Money, OrderCreated, OrderId, OrderItem, OrderStatus, PaymentMethod, ProductId, Quantity,
    },
    services::{Statement, listed},
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

impl TryFrom<&AnyRow> for OrderView {
    type Error = Fault;

    fn try_from(row: &AnyRow) -> Result<Self, Fault> {
        let text = |column: &str| row.try_get::<String, _>(column);
        let items: Vec<OrderItem> = serde_json::from_str(&text("items")?)?;
        let total = Money::stored(row.try_get("total")?)?;
        Ok(Self {
            order_id: text("order_id")?.parse()?,
            customer_id: CustomerId::try_from(text("customer_id")?).map_err(Fault::new)?,
            items: items.into_iter().map(ItemView::from).collect(),
            status: text("status")?.parse()?,
            total_amount: Amount(total),
            currency: total.currency(),
            payment_method: text("payment_method")?.parse()?,
            correlation_id: text("correlation_id")?,
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

impl Filter {
    fn select(&self, what: &str) -> Result<Statement, Fault> {
        self.begin(&format!("SELECT {what}"))
    }

    fn begin(&self, verb: &str) -> Result<Statement, Fault> {
        let mut sql = Statement::new(format!("{verb} FROM orders WHERE 1 = 1"));
        if let Some(customer_id) = &self.customer_id {
            sql.push(" AND customer_id = ").bind(customer_id.to_string())?;
        }
        if let Some(status) = self.status {
            sql.push(" AND status = ").bind(status.as_str())?;
        }
        Ok(sql)
    }
}

/// Reads one order; `None` when it does not exist.
pub(super) async fn order(db: &Database, order_id: OrderId) -> Result<Option<OrderView>, Fault> {
    let row = sqlx::query("SELECT * FROM orders WHERE order_id = $1").bind(order_id.to_string()).fetch_optional(db).await?;
    row.as_ref().map(OrderView::try_from).transpose()
}

/// Reads one page of the orders that match `filter`, newest first, and their total number.
pub(super) async fn orders(db: &Database, filter: &Filter, page: &Page) -> Result<(Vec<OrderView>, u64), Fault> {
    listed(db, page, "created_at DESC, order_id DESC", |what| filter.select(what)).await
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

    /// Returns the query plan of SQLite for counting the orders that match `filter`.
    async fn plan(db: &Database, filter: Filter) -> String {
        let row = filter.begin("EXPLAIN QUERY PLAN SELECT COUNT(*)").unwrap().query().fetch_one(db).await.unwrap();
        row.try_get("detail").unwrap()
    }

    #[tokio::test]
    async fn a_list_is_counted_without_looking_at_orders_that_are_not_on_it() {
        let db = Database::open("sqlite::memory:").await.unwrap();
        db.store().migrate_set("order", MIGRATIONS).await.unwrap();
        let customer_id = || Some(CustomerId::try_from("customer".to_owned()).unwrap());
        let status = Some(OrderStatus::Completed);
        for (filter, index) in [
            (Filter { customer_id: customer_id(), status }, "COVERING INDEX orders_by_customer (customer_id=? AND status=?)"),
            (Filter { customer_id: customer_id(), status: None }, "COVERING INDEX orders_by_customer (customer_id=?)"),
            (Filter { customer_id: None, status }, "COVERING INDEX orders_by_status (status=?)"),
        ] {
            let plan = plan(&db, filter).await;
            assert!(plan.ends_with(index), "{plan}");
        }
    }
}
