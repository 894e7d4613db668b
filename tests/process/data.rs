//! Reads the data folder of a system that is not running.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use sagas::{
    message::Envelope,
    port::transport::{Delivery, Transport},
    time::Clock,
    transport::embedded::{Embedded, EmbeddedOptions},
};
use serde_json::Value;
use sqlx::{ConnectOptions, SqliteConnection, sqlite::SqliteConnectOptions};

pub const SERVICES: [&str; 5] = ["order", "inventory", "payment", "notification", "analytics"];

/// Opens the database `data_dir/file` for reading.
async fn open(data_dir: &Path, file: &str) -> SqliteConnection {
    let path = data_dir.join(file);
    let opened = SqliteConnectOptions::new().filename(&path).connect().await;
    opened.unwrap_or_else(|error| panic!("{} cannot be opened: {error}", path.display()))
}

async fn number(db: &mut SqliteConnection, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(db).await.unwrap_or_else(|error| panic!("{sql}: {error}"))
}

/// Returns the unfinished work in each service's database, as `service: 3 in sagas_outbox`; nothing when all is done.
pub async fn leftovers(data_dir: &Path) -> Vec<String> {
    let mut left = Vec::new();
    for service in SERVICES {
        let mut db = open(data_dir, &format!("{service}.sqlite")).await;
        for (table, sql) in [
            ("sagas_outbox", "SELECT COUNT(*) FROM sagas_outbox"),
            ("sagas_parked", "SELECT COUNT(*) FROM sagas_parked"),
            ("sagas_dead_letters", "SELECT COUNT(*) FROM sagas_dead_letters"),
        ] {
            match number(&mut db, sql).await {
                0 => {}
                rows => left.push(format!("{service}: {rows} in {table}")),
            }
        }
    }
    left
}

/// The requests to the payment gateway, an external system with its own storage.
#[derive(Debug, PartialEq, Eq)]
pub struct Charges {
    /// The number of requested charges.
    pub asked: i64,
    /// The number of orders they were for.
    pub orders: i64,
    /// The number of charges that were made.
    pub taken: i64,
}

pub async fn charges(data_dir: &Path) -> Charges {
    let mut db = open(data_dir, "gateway.sqlite").await;
    Charges {
        asked: number(&mut db, "SELECT COUNT(*) FROM gateway_charges").await,
        orders: number(&mut db, "SELECT COUNT(DISTINCT order_id) FROM gateway_charges").await,
        taken: number(&mut db, "SELECT COUNT(*) FROM gateway_charges WHERE declined IS NULL").await,
    }
}

/// Returns how many events of each type the analytics service has counted. It adds without checking: only the inbox prevents a
/// redelivered event from being counted again.
pub async fn counted(data_dir: &Path) -> BTreeMap<String, usize> {
    let mut db = open(data_dir, "analytics.sqlite").await;
    let totals: Vec<(String, i64)> = sqlx::query_as("SELECT type, total FROM event_totals").fetch_all(&mut db).await.unwrap();
    totals.into_iter().map(|(name, total)| (name, usize::try_from(total).unwrap())).collect()
}

/// An event about an order: its type, and for a notification its kind.
pub type Said = (String, String);

/// Returns every event in the log by order and content, with the ids it was published with. A crash can store a record in the log
/// twice; it is one event if the id is the same.
pub async fn published(data_dir: &Path) -> BTreeMap<(String, Said), BTreeSet<String>> {
    let topics = ["orders", "inventory", "payments", "notifications"].map(str::to_owned);
    let log = Embedded::open(data_dir.join("log"), EmbeddedOptions::default()).await.unwrap();
    let mut open: BTreeMap<_, _> =
        log.lag("auditor", &topics).await.unwrap().into_iter().map(|lag| (lag.partition, lag.end)).collect();
    open.retain(|_, end| *end > 0);
    let mut subscription = log.subscribe("auditor", &topics).await.unwrap();
    let mut events = BTreeMap::<_, BTreeSet<_>>::new();
    while !open.is_empty() {
        let (partition, records) = match subscription.next().await.unwrap() {
            Delivery::Assigned(partitions) => {
                subscription.start(&partitions.into_iter().map(|at| (at, None)).collect::<Vec<_>>());
                continue;
            }
            Delivery::Records { partition, records } => (partition, records),
            _ => continue,
        };
        for received in &records {
            let envelope = Envelope::of(received, Clock::system().now()).unwrap();
            let value: Value = serde_json::from_slice(received.record.value.as_deref().unwrap_or_default()).unwrap();
            let text = |field: &str| value[field].as_str().unwrap_or_default().to_owned();
            let said = (envelope.event_type.unwrap_or_default(), text("kind"));
            events.entry((text("order_id"), said)).or_default().insert(envelope.id.to_string());
        }
        if records.last().is_some_and(|last| open.get(&partition).is_some_and(|end| last.offset + 1 >= *end)) {
            open.remove(&partition);
        }
    }
    subscription.close().await;
    log.close().await;
    events
}

/// Removes a unit of a product from the stock.
pub async fn take_a_unit(data_dir: &Path, product_id: &str) {
    let mut db = open(data_dir, "inventory.sqlite").await;
    let taken =
        sqlx::query("UPDATE products SET available = available - 1 WHERE product_id = $1").bind(product_id).execute(&mut db);
    assert_eq!(taken.await.unwrap().rows_affected(), 1);
}
