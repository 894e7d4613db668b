//! Events published in transactions of a program's own pool: together with them, or not at all.

mod postgres;

use sagas::{prelude::*, testing::Pump};
use sagas_tests::eventually;
use sqlx::{SqlitePool, sqlite::SqliteConnectOptions};
use tempfile::TempDir;

use super::unit_of_work::poll_and_drop;
use crate::support::*;

/// A database file that a service and a program with its own pool share.
struct File {
    folder: TempDir,
}

impl File {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("shop.db")
    }

    async fn database(&self) -> Database {
        Database::open(&format!("sqlite://{}", self.path().display())).await.unwrap()
    }

    async fn pool(&self) -> SqlitePool {
        SqlitePool::connect_with(SqliteConnectOptions::new().filename(self.path())).await.unwrap()
    }
}

async fn start(database: &Database) -> Pump {
    Pump::of([service(database, &Plan::done()).publishes::<Placed>()]).start().await
}

async fn numbers(pump: &Pump) -> Vec<u32> {
    pump.published::<Placed>().await.iter().map(|placed| placed.number).collect()
}

async fn until_published(pump: &Pump, expected: &[u32]) {
    eventually("the events are in the log", async || (numbers(pump).await.len() >= expected.len()).then_some(())).await;
    assert_eq!(numbers(pump).await, expected);
}

const PATIENCE: std::time::Duration = std::time::Duration::from_secs(60);
const WRITE: &str = "INSERT INTO entries (order_id, number) VALUES ($1, $2)";

#[tokio::test]
async fn rows_and_events_commit_together_or_not_at_all() {
    let file = File::new();
    let database = file.database().await;
    let pump = start(&database).await;
    let (pool, publisher) = (file.pool().await, pump.service("payments").publisher());
    for number in 0..6 {
        let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
        sqlx::query(WRITE).bind("a").bind(number).execute(&mut *tx).await.unwrap();
        publisher.publish_in(&mut tx, &placed("a", number)).await.unwrap();
        match number % 3 {
            0 => tx.rollback().await.unwrap(),
            1 => tx.commit().await.unwrap(),
            _ => drop(tx),
        }
    }
    // Begun by a statement, of which the driver does not know.
    let mut bare = pool.acquire().await.unwrap();
    for (number, end) in [(7, "ROLLBACK"), (8, "COMMIT")] {
        sqlx::query("BEGIN IMMEDIATE").execute(&mut *bare).await.unwrap();
        sqlx::query(WRITE).bind("a").bind(number).execute(&mut *bare).await.unwrap();
        publisher.publish_in(&mut *bare, &placed("a", number)).await.unwrap();
        sqlx::query(end).execute(&mut *bare).await.unwrap();
    }
    drop(bare);
    until_published(&pump, &[1, 4, 8]).await;
    pump.run_until_quiet().await;
    assert_eq!(numbers(&pump).await, [1, 4, 8], "once each");
    assert_eq!(rows(&database).await.iter().map(|(_, number)| *number).collect::<Vec<_>>(), [1, 4, 8]);
    pump.stop().await;
}

#[tokio::test]
async fn the_order_of_a_key_is_that_of_the_commits_whoever_commits() {
    let file = File::new();
    let pump = start(&file.database().await).await;
    let (pool, publisher) = (file.pool().await, pump.service("payments").publisher());
    for number in 0..20 {
        if number % 2 == 0 {
            let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
            publisher.publish_in(&mut *tx, &placed("a", number)).await.unwrap();
            tx.commit().await.unwrap();
        } else {
            let mut work = pump.service("payments").begin().await.unwrap();
            work.publish(&placed("a", number)).unwrap();
            work.commit().await.unwrap();
        }
    }
    until_published(&pump, &(0..20).collect::<Vec<_>>()).await;
    pump.stop().await;
}

#[tokio::test]
async fn an_event_says_what_flow_it_is_of() {
    let file = File::new();
    let pump = start(&file.database().await).await;
    let (pool, publisher) = (file.pool().await, pump.service("payments").publisher());
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let of_a_flow = publisher.clone().correlate("flow-1").saga("saga-1");
    let id = of_a_flow.publish_in(&mut *tx, &placed("a", 1)).await.unwrap();
    tx.commit().await.unwrap();
    until_published(&pump, &[1]).await;
    let records = pump.records("orders").await;
    let header = |name: &str| records[0].record.header(name);
    assert_eq!((header("ce_correlationid"), header("ce_sagaid")), (Some("flow-1"), Some("saga-1")));
    assert_eq!((header("ce_id"), header("ce_source")), (Some(id.as_str()), Some("payments")));
    pump.stop().await;
}

#[tokio::test]
async fn what_is_committed_after_the_service_was_killed_is_sent_by_the_next() {
    let file = File::new();
    let database = file.database().await;
    let pump = start(&database).await;
    let pool = file.pool().await;
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    pump.service("payments").publisher().publish_in(&mut *tx, &placed("a", 1)).await.unwrap();
    drop(pump);
    tx.commit().await.unwrap();
    let pump = start(&file.database().await).await;
    until_published(&pump, &[1]).await;
    pump.stop().await;
}

#[tokio::test]
async fn a_stop_does_not_wait_for_a_transaction_of_others() {
    let file = File::new();
    let pump = start(&file.database().await).await;
    let pool = file.pool().await;
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    pump.service("payments").publisher().publish_in(&mut *tx, &placed("a", 1)).await.unwrap();
    pump.stop().await;
    tx.commit().await.unwrap();
    let pump = start(&file.database().await).await;
    until_published(&pump, &[1]).await;
    pump.stop().await;
}

/// A call that its caller drops may have written its event, and the transaction can still be committed.
#[tokio::test]
async fn what_a_call_that_was_given_up_has_written_is_sent_in_order() {
    let file = File::new();
    let database = file.database().await;
    let pump = start(&database).await;
    let (pool, publisher) = (file.pool().await, pump.service("payments").publisher());
    let (mut calls, mut had_written) = (0_u32, false);
    let deadline = tokio::time::Instant::now() + PATIENCE;
    // How often a call must be polled until it has written depends on the machine.
    while calls < 30 || !had_written {
        assert!(tokio::time::Instant::now() < deadline, "no call was given up after it had written");
        // Begun as a read transaction, which blocks no other writer before its first row.
        let begin = if calls % 2 == 0 { "BEGIN IMMEDIATE" } else { "BEGIN" };
        let mut tx = pool.begin_with(begin).await.unwrap();
        let (number, polls) = (2 * calls, 10 << (calls % 12));
        if poll_and_drop(publisher.publish_in(&mut *tx, &placed("a", number)), polls).await {
            let written = sqlx::query_scalar("SELECT EXISTS (SELECT 1 FROM sagas_outbox WHERE CAST(value AS TEXT) LIKE $1)");
            let written: bool = written.bind(format!("%:{number}}}")).fetch_one(&mut *tx).await.unwrap();
            had_written |= written;
        }
        tx.commit().await.unwrap();
        let mut work = pump.service("payments").begin().await.unwrap();
        work.publish(&placed("a", number + 1)).unwrap();
        work.commit().await.unwrap();
        calls += 1;
    }
    let empty = async || database.store().outbox("payments", 0, 1).await.unwrap().is_empty().then_some(());
    eventually("the outbox is empty", empty).await;
    let published = numbers(&pump).await;
    assert_eq!(published.iter().filter(|number| **number % 2 == 1).count(), calls as usize);
    assert!(published.is_sorted() && published.windows(2).all(|pair| pair[0] != pair[1]), "{published:?}");
    pump.stop().await;
}

#[tokio::test]
async fn many_events_of_one_transaction_are_waited_for_by_one_task() {
    let file = File::new();
    let pump = start(&file.database().await).await;
    let (pool, publisher) = (file.pool().await, pump.service("payments").publisher());
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    for number in 0..500 {
        publisher.publish_in(&mut *tx, &placed("a", number)).await.unwrap();
    }
    assert!(tasks() < before + 10, "{before} tasks before, {} with 500 events", tasks());
    tx.commit().await.unwrap();
    until_published(&pump, &(0..500).collect::<Vec<_>>()).await;
    pump.run_until_quiet().await;
    pump.stop().await;
}

#[tokio::test]
async fn what_cannot_be_joined_is_refused_with_what_helps() {
    let (file, other) = (File::new(), File::new());
    let pump = start(&file.database().await).await;
    let publisher = pump.service("payments").publisher();
    let pool = file.pool().await;
    let mut bare = pool.acquire().await.unwrap();
    let error = publisher.publish_in(&mut *bare, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("no transaction is open on the connection; begin one"), "{error}");

    other.database().await.store().migrate().await.unwrap();
    let elsewhere = other.pool().await;
    let mut tx = elsewhere.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = publisher.publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains(&format!("the transaction is in {}", other.path().display())), "{error}");
    tx.rollback().await.unwrap();

    let of_memory = Pump::of([service(&Database::memory(), &Plan::done())]).start().await;
    let mut tx = pool.begin_with("BEGIN IMMEDIATE").await.unwrap();
    let error = of_memory.service("payments").publisher().publish_in(&mut tx, &placed("a", 1)).await.unwrap_err().to_string();
    assert!(error.contains("this store cannot write in a transaction that others have begun"), "{error}");
    tx.rollback().await.unwrap();
    pump.run_until_quiet().await;
    assert_eq!(numbers(&pump).await, [0; 0]);
    pump.stop().await;
}
