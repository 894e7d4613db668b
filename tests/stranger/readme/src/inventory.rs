use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCreated { pub order_id: String, pub product: String, pub quantity: i64 }

#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InventoryReserved { pub order_id: String }

#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InventoryInsufficient { pub order_id: String }

#[handler(retry(max = 5, backoff = "200ms..30s"))]
async fn reserve(On(order): On<OrderCreated>, mut tx: Tx) -> Result<InventoryReserved, Failure<InventoryInsufficient>> {
    let taken = sqlx::query("UPDATE stock SET available = available - $1 WHERE product = $2 AND available >= $1")
        .bind(order.quantity)
        .bind(&order.product)
        .execute(&mut tx)
        .await?;                                                                        // a technical error: undo, retry
    if taken.rows_affected() == 0 {
        return Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id })); // a business no: undo, publish it
    }
    Ok(InventoryReserved { order_id: order.order_id })                                   // commit and publish, together
}

pub fn inventory(database: Database) -> Service {
    Service::new("inventory", database).handlers(handlers![reserve])
}
