use sagas::{prelude::*, testing::Pump};
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};
use sqlx_defaults::*;

#[tokio::test]
async fn checked_statements_run_in_the_transaction_of_a_delivery() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inventory.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&file).create_if_missing(true)).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();
    sqlx::query("INSERT INTO stock VALUES ('tea', 3)").execute(&pool).await.unwrap();

    let database = Database::open(&format!("sqlite://{}", file.display())).await.unwrap();
    let pump = Pump::of([inventory(database)]).start().await;
    for order_id in ["a", "b"] {
        pump.publish(&OrderCreated { order_id: order_id.into(), product: "tea".into(), quantity: 2 }).await;
    }
    pump.run_until_quiet().await;

    assert_eq!(pump.published::<InventoryReserved>().await.len(), 1);
    assert_eq!(pump.published::<InventoryInsufficient>().await.len(), 1);
    assert_eq!(available(&pool, "tea").await.unwrap(), 1);
    let [a, b] = [reservation(&pool, "a").await.unwrap(), reservation(&pool, "b").await.unwrap()];
    assert_eq!(a.or(b), Some(Reservation { product: "tea".into(), quantity: 2 }));
}

/// The framework and this crate use the same version of sqlx: their types are the same.
#[tokio::test]
async fn sqlx_of_the_framework_is_sqlx() {
    let pool: sagas::sqlx::SqlitePool = SqlitePool::connect("sqlite::memory:").await.unwrap();
    let one: i64 = sagas::sqlx::query_scalar("SELECT 1").fetch_one(&pool).await.unwrap();
    assert_eq!(one, 1);
}

/// A transaction of the service's own pool publishes an event together with its rows, or not at all.
#[tokio::test]
async fn an_event_goes_with_a_transaction_of_the_services_own_pool() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("inventory.db");
    let pool = SqlitePool::connect_with(SqliteConnectOptions::new().filename(&file).create_if_missing(true)).await.unwrap();
    MIGRATIONS.run(&pool).await.unwrap();
    let database = Database::open(&format!("sqlite://{}", file.display())).await.unwrap();
    let pump = Pump::of([inventory(database)]).start().await;
    let publisher = pump.service("inventory").publisher();
    for (order_id, commits) in [("lost", false), ("kept", true)] {
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        sqlx::query("INSERT INTO stock VALUES ('tea', 1)").execute(&mut *tx).await.unwrap();
        publisher.publish_in(&mut tx, &InventoryReserved { order_id: order_id.into() }).await.unwrap();
        if commits { tx.commit().await.unwrap() } else { tx.rollback().await.unwrap() }
    }
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<InventoryReserved>().await, [InventoryReserved { order_id: "kept".into() }]);
    assert_eq!(available(&pool, "tea").await.unwrap(), 1);
}
