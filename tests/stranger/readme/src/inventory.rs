use sagas::{prelude::*, store::Migration};
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
        .await?;                                                                        // a technical error: roll back, retry
    if taken.rows_affected() == 0 {
        return Err(Failure::Reject(InventoryInsufficient { order_id: order.order_id })); // a refusal: roll back, publish it
    }
    Ok(InventoryReserved { order_id: order.order_id })                                   // commit and publish, together
}

pub fn inventory(database: Database) -> Service {
    Service::new("inventory", database).migrations(TABLES).handlers(handlers![reserve])
}

const TABLES: &[Migration] = &[Migration {
    version: 1,
    name: "stock",
    sql: "CREATE TABLE stock (product TEXT PRIMARY KEY, available BIGINT NOT NULL);
          INSERT INTO stock VALUES ('tea', 3);",
}];

/// The handler is still a plain async fn: a unit test calls it.
#[tokio::test]
async fn an_order_beyond_the_stock_is_refused() {
    use sagas::testing; // the feature `test-util`, among the dev-dependencies
    let database = testing::database(TABLES).await; // SQLite, in memory
    let order = OrderCreated { order_id: "a-1".into(), product: "tea".into(), quantity: 2 };

    let (tx, delivery) = testing::tx(&database).await.unwrap();
    assert_eq!(reserve(On(order.clone()), tx).await.unwrap().order_id, "a-1");
    delivery.commit().await.unwrap();

    let (tx, _rolled_back) = testing::tx(&database).await.unwrap(); // one is left
    assert!(matches!(reserve(On(order), tx).await, Err(Failure::Reject(InventoryInsufficient { .. }))));
}
