//! When the database rejects a statement, only the message whose handler ran it fails.

use sagas::{prelude::*, store::Migration, testing::Pump, time::Clock};
use sagas_tests::eventually;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Placed {
    order_id: String,
    customer: String,
}

const SCHEMA: &[Migration] = &[Migration {
    version: 1,
    name: "orders of customers",
    sql: "CREATE TABLE customers (name TEXT PRIMARY KEY);
          CREATE TABLE orders (id TEXT PRIMARY KEY,
                               customer TEXT NOT NULL REFERENCES customers (name) DEFERRABLE INITIALLY DEFERRED);
          INSERT INTO customers VALUES ('ada');",
}];

async fn write(tx: &mut Tx, placed: &Placed) -> Result<(), Fault> {
    sqlx::query("INSERT INTO orders (id, customer) VALUES ($1, $2)")
        .bind(&placed.order_id)
        .bind(&placed.customer)
        .execute(tx)
        .await?;
    Ok(())
}

#[handler(retry(max = 2, backoff = "1ms..1ms"))]
async fn hold(On(placed): On<Placed>, mut tx: Tx) -> Result<(), Failure> {
    Ok(write(&mut tx, &placed).await?)
}

#[handler(retry(max = 2, backoff = "1ms..1ms"))]
async fn begin_later(On(placed): On<Placed>, work: Work) -> Result<(), Failure> {
    Ok(write(&mut work.begin().await?, &placed).await?)
}

async fn what_the_commit_refuses(handlers: [sagas::handler::Handler; 1]) {
    let database = Database::open("sqlite::memory:").await.unwrap();
    let service = Service::new("orders", database.clone()).migrations(SCHEMA).handlers(handlers);
    // The rejection can affect several transactions that were committed together; they try again after a wait on the clock.
    let pump = Pump::of([service]).clock(Clock::system()).start().await;
    for number in 0..10 {
        let customer = if number == 4 { "nobody" } else { "ada" };
        pump.publish(&Placed { order_id: number.to_string(), customer: customer.into() }).await;
    }
    let letter = async || (pump.service("orders").dead_letters(0, 1).await.unwrap().1 == 1).then_some(());
    eventually("a dead letter", letter).await;
    pump.run_until_quiet().await;
    let written: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM orders").fetch_one(&database).await.unwrap();
    let (letters, open) = pump.service("orders").dead_letters(0, 10).await.unwrap();
    assert_eq!((written, open), (9, 1));
    assert_eq!((letters[0].attempts, letters[0].received.record.key.as_deref()), (2, Some(&b"4"[..])));
    pump.stop().await;
}

#[tokio::test]
async fn what_the_commit_refuses_is_dead_lettered_and_the_others_stand() {
    what_the_commit_refuses(handlers![hold]).await;
}

#[tokio::test]
async fn so_it_is_for_a_handler_that_begins_by_itself() {
    what_the_commit_refuses(handlers![begin_later]).await;
}

#[handler(retry(max = 1))]
async fn begin_twice(On(_placed): On<Placed>, service: ServiceHandle) -> Result<(), Failure> {
    service.begin().await?.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_second_transaction_within_a_delivery_fails_at_once_and_by_name() {
    let database = Database::open("sqlite::memory:").await.unwrap();
    let pump = Pump::of([Service::new("orders", database).handlers(handlers![begin_twice])]).start().await;
    pump.publish(&Placed { order_id: "a".into(), customer: "ada".into() }).await;
    pump.run_until_quiet().await;
    let (letters, _) = pump.service("orders").dead_letters(0, 10).await.unwrap();
    assert!(letters[0].error.contains("take `Work`"), "{}", letters[0].error);
    pump.stop().await;
}
