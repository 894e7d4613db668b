//! A saga that begins in a transaction of a program's own pool: the tracker sees it with that transaction, or not at all.

use sagas::{prelude::*, saga::InstanceState, store::IntoSqlConnection, testing::Pump};
use sagas_tests::{eventually, schema::Schema};
use sqlx::{Connection, PgConnection, SqliteConnection, sqlite::SqliteConnectOptions};

use crate::shop::{Confirmed, Created, Paid, PlaceOrder, Reserved, Shop, order};

async fn start(database: &Database, shop: &Shop) -> Pump {
    let others = [
        Remote::new("inventory").does(PlaceOrder::ReserveStock).undoes(PlaceOrder::ReserveStock),
        Remote::new("payment").does(PlaceOrder::TakePayment).undoes(PlaceOrder::TakePayment),
    ];
    let pump = Pump::of([order::service(database, shop)]).saga::<PlaceOrder>();
    others.into_iter().fold(pump, |pump, other| pump.remote(other)).start().await
}

async fn begin(pump: &Pump, connection: impl IntoSqlConnection<'_>, id: u64) {
    pump.service("order").publisher().publish_in(connection, &Created { id, quantity: 1, amount: 30 }).await.unwrap();
}

/// Checks that instance 7, which has begun, continues to its end, and that instance 8, which was rolled back, is unknown.
async fn goes_on(pump: &Pump) {
    let sagas = pump.service("order").sagas();
    let instance = sagas.find(PlaceOrder::NAME, "7").await.unwrap().expect("it has begun");
    assert_eq!((instance.state, instance.current.as_deref()), (InstanceState::Running, Some("ReserveStock")));
    eventually("the event is in the log", async || (!pump.published::<Created>().await.is_empty()).then_some(())).await;
    pump.publish(&Reserved { id: 7, quantity: 1, amount: 30 }).await;
    pump.publish(&Paid { id: 7, amount: 30 }).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Confirmed>().await, [Confirmed { id: 7 }]);
    let instance = sagas.find(PlaceOrder::NAME, "7").await.unwrap().unwrap();
    assert_eq!((instance.state, instance.not_allowed), (InstanceState::Completed, 0));
    assert!(sagas.find(PlaceOrder::NAME, "8").await.unwrap().is_none());
}

#[tokio::test]
async fn a_flow_begins_in_a_transaction_of_others_on_sqlite() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("order.db");
    let (database, shop) = (Database::open(&format!("sqlite://{}", file.display())).await.unwrap(), Shop::with_stock(10));
    let pump = start(&database, &shop).await;
    let mut connection = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    begin(&pump, &mut tx, 8).await;
    tx.rollback().await.unwrap();
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.unwrap();
    begin(&pump, &mut tx, 7).await;
    tx.commit().await.unwrap();
    goes_on(&pump).await;
    pump.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_flow_begins_in_a_transaction_of_others_on_postgres() {
    let (schema, shop) = (Schema::new(), Shop::with_stock(10));
    let pump = start(&schema.open().await, &shop).await;
    // Its `search_path` contains no table of the framework.
    let mut connection = PgConnection::connect(&sagas_tests::schema::server()).await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    begin(&pump, &mut tx, 8).await;
    tx.rollback().await.unwrap();
    let mut tx = connection.begin().await.unwrap();
    begin(&pump, &mut tx, 7).await;
    assert!(pump.service("order").sagas().find(PlaceOrder::NAME, "7").await.unwrap().is_none(), "not before the commit");
    tx.commit().await.unwrap();
    goes_on(&pump).await;
    pump.stop().await;
}
