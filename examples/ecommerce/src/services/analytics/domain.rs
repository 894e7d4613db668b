//! The numbers of the shop: how a batch of events changes them, and how they are read.

use std::collections::BTreeMap;

use sagas::{Fault, message::Event, prelude::*, time::Timestamp};
use serde::Serialize;
use sqlx::Row;
use utoipa::ToSchema;

use super::handlers::Anything;
use crate::contracts::{
    Amount, InventoryInsufficient, InventoryReleased, InventoryReserved, Money, NotificationFailed, NotificationSent,
    OrderCancelled, OrderConfirmed, OrderCreated, OrderId, OrderShipped, PaymentFailed, PaymentProcessed, PaymentRefunded,
    ProductId,
};
use crate::{
    percentile::percentile,
    services::{Statement, sum, summed},
};

/// The number of latest orders from which the processing times are computed.
const SAMPLE: i64 = 10_000;
/// The longest time from an order's creation to its end that is counted. Both times come from the clocks of the services that
/// published the events. No order is open for this long, so a longer time means that the clocks are wrong.
const LONGEST_MS: i64 = 30 * 24 * 60 * 60 * 1000;
/// The number of minutes for which orders per minute are shown.
const MINUTES: i64 = 60;
const MINUTE_MS: i64 = 60_000;
/// The number of products in the list of best-selling products.
const TOP: i64 = 10;
/// The number of rows in one statement. A row has at most three values, and a statement can have at most 999.
const ROWS: usize = 300;

/// The changes that a batch of events makes to the numbers.
#[derive(Debug, Default)]
pub struct Tally {
    totals: BTreeMap<&'static str, i64>,
    created: Vec<(OrderId, Timestamp, Money)>,
    items: BTreeMap<(OrderId, ProductId), i64>,
    ended: Vec<(OrderId, Timestamp, Option<String>)>,
}

impl Tally {
    /// Adds `event`, which its service published at `at`.
    pub fn take(&mut self, event: &Anything, at: Timestamp) {
        let name = match event {
            Anything::OrderCreated(order) => {
                self.create(order, at);
                OrderCreated::NAME
            }
            Anything::OrderConfirmed(order) => {
                self.ended.push((order.order_id, at, None));
                OrderConfirmed::NAME
            }
            Anything::OrderCancelled(order) => {
                self.ended.push((order.order_id, at, Some(order.reason.clone())));
                OrderCancelled::NAME
            }
            Anything::OrderShipped(_) => OrderShipped::NAME,
            Anything::InventoryReserved(_) => InventoryReserved::NAME,
            Anything::InventoryInsufficient(_) => InventoryInsufficient::NAME,
            Anything::InventoryReleased(_) => InventoryReleased::NAME,
            Anything::PaymentProcessed(_) => PaymentProcessed::NAME,
            Anything::PaymentFailed(_) => PaymentFailed::NAME,
            Anything::PaymentRefunded(_) => PaymentRefunded::NAME,
            Anything::NotificationSent(_) => NotificationSent::NAME,
            Anything::NotificationFailed(_) => NotificationFailed::NAME,
        };
        *self.totals.entry(name).or_default() += 1;
    }

    fn create(&mut self, order: &OrderCreated, at: Timestamp) {
        if self.created.iter().any(|(order_id, ..)| *order_id == order.order_id) {
            return;
        }
        self.created.push((order.order_id, at, order.total));
        for item in &order.items {
            let quantity = self.items.entry((order.order_id, item.product_id.clone())).or_default();
            *quantity = quantity.saturating_add(i64::from(item.quantity.units()));
        }
    }

    /// Writes the orders. A second creation or end of an order changes nothing.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn write(&self, tx: &mut Tx) -> Result<(), Fault> {
        for created in self.created.chunks(ROWS) {
            let mut sql = Statement::new("INSERT INTO orders (order_id, created_at, total) VALUES ");
            sql.rows(created, |row, (order_id, at, total)| {
                row.bind(order_id.to_string())?.bind(at.as_millis())?.bind(total.minor_units()).map(drop)
            })?;
            sql.push(" ON CONFLICT (order_id) DO NOTHING");
            sql.query().execute(&mut *tx).await?;
        }
        let items: Vec<_> = self.items.iter().collect();
        for items in items.chunks(ROWS) {
            let mut sql = Statement::new("INSERT INTO order_items (order_id, product_id, quantity) VALUES ");
            sql.rows(items, |row, ((order_id, product_id), quantity)| {
                row.bind(order_id.to_string())?.bind(product_id.to_string())?.bind(*quantity).map(drop)
            })?;
            sql.push(" ON CONFLICT (order_id, product_id) DO NOTHING");
            sql.query().execute(&mut *tx).await?;
        }
        for (order_id, at, reason) in &self.ended {
            let outcome = if reason.is_some() { "CANCELLED" } else { "COMPLETED" };
            sqlx::query("UPDATE orders SET ended_at = $1, outcome = $2, reason = $3 WHERE order_id = $4 AND ended_at IS NULL")
                .bind(at.as_millis())
                .bind(outcome)
                .bind(reason)
                .bind(order_id.to_string())
                .execute(&mut *tx)
                .await?;
        }
        Ok(())
    }

    /// Adds the number of events to the totals of their types.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub async fn count(&self, tx: &mut Tx) -> Result<(), Fault> {
        let mut sql = Statement::new("INSERT INTO event_totals (type, total) VALUES ");
        sql.rows(&self.totals, |row, (name, count)| row.bind(*name)?.bind(*count).map(drop))?;
        sql.push(" ON CONFLICT (type) DO UPDATE SET total = event_totals.total + excluded.total");
        sql.query().execute(&mut *tx).await?;
        Ok(())
    }
}

/// The key figures of the shop.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Metrics {
    orders: OrderCounts,
    /// The share of completed orders among those that have ended.
    #[schema(minimum = 0, maximum = 1)]
    success_rate: f64,
    /// The total of the completed orders.
    revenue: Amount,
    /// How long orders took, in milliseconds.
    processing_ms: Percentiles,
    /// The number of cancelled orders for each reason.
    cancel_reasons: BTreeMap<String, i64>,
    /// The ten products with the most sold units.
    #[schema(max_items = 10)]
    top_products: Vec<ProductSales>,
    /// The number of orders placed in each minute of the last hour, without minutes that had none.
    orders_per_minute: Vec<Minute>,
}

/// Numbers of orders.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct OrderCounts {
    created: i64,
    completed: i64,
    cancelled: i64,
    /// Orders that have not ended.
    in_flight: i64,
}

/// Percentiles of the time from an order's creation to its end, by the clocks of the services that published the two events.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
struct Percentiles {
    p50: i64,
    p95: i64,
    p99: i64,
}

/// The number of sold units of a product.
#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct ProductSales {
    product_id: String,
    quantity: i64,
}

/// The number of orders placed in a minute.
#[derive(Debug, Serialize, ToSchema)]
struct Minute {
    /// The beginning of the minute.
    minute: Timestamp,
    orders: i64,
}

/// Reads the key figures as of `now`.
///
/// # Errors
/// When the database cannot be read.
pub async fn metrics(db: &Database, now: Timestamp) -> Result<Metrics, Fault> {
    let revenue = sum("CASE outcome WHEN 'COMPLETED' THEN total ELSE 0 END", "revenue");
    let counts = Statement::new(format!(
        "SELECT COUNT(*) AS created,
             CAST(COALESCE(SUM(CASE outcome WHEN 'COMPLETED' THEN 1 ELSE 0 END), 0) AS BIGINT) AS completed,
             CAST(COALESCE(SUM(CASE outcome WHEN 'CANCELLED' THEN 1 ELSE 0 END), 0) AS BIGINT) AS cancelled,
             {revenue}
         FROM orders"
    ));
    let counts = counts.query().fetch_one(db).await?;
    let count = |column: &str| counts.try_get::<i64, _>(column);
    let (created, completed, cancelled) = (count("created")?, count("completed")?, count("cancelled")?);
    let ended = completed + cancelled;
    Ok(Metrics {
        orders: OrderCounts { created, completed, cancelled, in_flight: created - ended },
        success_rate: if ended == 0 { 0.0 } else { completed as f64 / ended as f64 },
        revenue: Amount(Money::stored(summed(&counts, "revenue")?)?),
        processing_ms: processing(db).await?,
        cancel_reasons: cancel_reasons(db).await?,
        top_products: top_products(db).await?,
        orders_per_minute: orders_per_minute(db, now).await?,
    })
}

/// Returns the number of events of each type.
///
/// # Errors
/// When the database cannot be read.
pub async fn event_totals(db: &Database) -> Result<BTreeMap<String, i64>, Fault> {
    let rows = sqlx::query("SELECT type, total FROM event_totals").fetch_all(db).await?;
    Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?)
}

async fn processing(db: &Database) -> Result<Percentiles, Fault> {
    let rows = sqlx::query(
        "SELECT ended_at - created_at AS took FROM orders
         WHERE ended_at IS NOT NULL AND ended_at - created_at BETWEEN 0 AND $1 ORDER BY ended_at DESC LIMIT $2",
    );
    let rows = rows.bind(LONGEST_MS).bind(SAMPLE).fetch_all(db).await?;
    let took = rows.iter().map(|row| row.try_get::<i64, _>(0)).collect::<Result<Vec<_>, _>>()?;
    Ok(percentiles(took))
}

fn percentiles(mut took: Vec<i64>) -> Percentiles {
    took.sort_unstable();
    let at = |percent| percentile(&took, percent).unwrap_or(0);
    Percentiles { p50: at(50), p95: at(95), p99: at(99) }
}

async fn cancel_reasons(db: &Database) -> Result<BTreeMap<String, i64>, Fault> {
    let rows = sqlx::query("SELECT reason, COUNT(*) FROM orders WHERE outcome = 'CANCELLED' GROUP BY reason");
    let rows = rows.fetch_all(db).await?;
    Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?)
}

async fn top_products(db: &Database) -> Result<Vec<ProductSales>, Fault> {
    let mut sql = Statement::new(format!(
        "SELECT i.product_id AS product_id, {}
         FROM order_items i JOIN orders o ON o.order_id = i.order_id
         WHERE o.outcome = 'COMPLETED' GROUP BY i.product_id
         ORDER BY SUM(CAST(i.quantity AS DOUBLE PRECISION)) DESC, 1 LIMIT ",
        sum("i.quantity", "quantity")
    ));
    sql.bind(TOP)?;
    let rows = sql.query().fetch_all(db).await?;
    let sales = |row: &sqlx::any::AnyRow| Ok(ProductSales { product_id: row.try_get(0)?, quantity: summed(row, "quantity")? });
    Ok(rows.iter().map(sales).collect::<Result<_, sqlx::Error>>()?)
}

/// Returns the orders of each minute of the last hour, oldest minute first, without minutes that had none.
async fn orders_per_minute(db: &Database, now: Timestamp) -> Result<Vec<Minute>, Fault> {
    let first = (now.as_millis() / MINUTE_MS - MINUTES + 1) * MINUTE_MS;
    let rows = sqlx::query(
        "SELECT created_at / 60000 AS minute, COUNT(*) AS orders FROM orders WHERE created_at BETWEEN $1 AND $2
         GROUP BY 1 ORDER BY 1",
    );
    let rows = rows.bind(first).bind(now.as_millis()).fetch_all(db).await?;
    let minute = |row: &sqlx::any::AnyRow| {
        let minute: i64 = row.try_get("minute")?;
        Ok(Minute { minute: Timestamp::from_millis(minute * MINUTE_MS), orders: row.try_get("orders")? })
    };
    Ok(rows.iter().map(minute).collect::<Result<_, sqlx::Error>>()?)
}
