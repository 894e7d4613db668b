//! A service that uses sqlx as in its documentation: statements are checked at compile time, migrations are embedded, and reads
//! use its own pool. It now also handles events.

use sagas::prelude::*;
use serde::{Deserialize, Serialize};
use sqlx::{SqlitePool, migrate::Migrator};

pub static MIGRATIONS: Migrator = sqlx::migrate!();

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: String,
    pub product: String,
    pub quantity: i64,
}

#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InventoryReserved {
    pub order_id: String,
}

#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct InventoryInsufficient {
    pub order_id: String,
}

/// A row, as `query_as!` reads it.
#[derive(Debug, PartialEq)]
pub struct Reservation {
    pub product: String,
    pub quantity: i64,
}

#[handler]
pub async fn reserve(On(order): On<OrderCreated>, mut tx: Tx) -> Result<InventoryReserved, Failure<InventoryInsufficient>> {
    let OrderCreated { order_id, product, quantity } = order;
    let taken = sqlx::query!(
        "UPDATE stock SET available = available - $1 WHERE product = $2 AND available >= $1",
        quantity,
        product
    )
    .execute(tx.sqlite().await?)
    .await?;
    if taken.rows_affected() == 0 {
        return Err(Failure::Reject(InventoryInsufficient { order_id }));
    }
    // The same transaction, with a statement that also runs on PostgreSQL.
    sqlx::query("INSERT INTO reservations (order_id, product, quantity) VALUES ($1, $2, $3)")
        .bind(&order_id)
        .bind(&product)
        .bind(quantity)
        .execute(&mut tx)
        .await?;
    Ok(InventoryReserved { order_id })
}

pub async fn reservation(pool: &SqlitePool, order_id: &str) -> sqlx::Result<Option<Reservation>> {
    sqlx::query_as!(Reservation, "SELECT product, quantity FROM reservations WHERE order_id = $1", order_id)
        .fetch_optional(pool)
        .await
}

pub async fn available(pool: &SqlitePool, product: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar!("SELECT available FROM stock WHERE product = $1", product).fetch_one(pool).await
}

pub fn inventory(database: Database) -> Service {
    Service::new("inventory", database).handlers(handlers![reserve])
}
