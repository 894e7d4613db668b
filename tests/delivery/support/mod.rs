//! Shared parts of the tests: two events, handlers that follow a test's plan, and the databases and logs they use.

pub mod instance;
pub mod shared;
pub mod store;
pub mod trip;
pub mod watch;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{
    message::{Header, Record},
    prelude::*,
    store::Migration,
    testing::Pump,
    time::{LogTime, Timestamp},
};
pub use sagas_tests::{advance_until, clock, databases, metric, sqlite, until};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Placed {
    pub order_id: String,
    pub number: u32,
}

#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Charged {
    pub order_id: String,
    pub number: u32,
}

#[event(topic = "payments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Declined {
    pub order_id: String,
    pub number: u32,
}

pub fn placed(order_id: &str, number: u32) -> Placed {
    Placed { order_id: order_id.to_owned(), number }
}

/// What a handler does with a message, after it has written a row if it has a transaction and the test wants rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Step {
    Done,
    Reject,
    Retry,
    Later(Duration),
    Dead,
    Panic,
    Hang,
}

type Decide = dyn Fn(&Placed, &Meta) -> Step + Send + Sync;

/// A test's plan: what handlers do at each attempt of a message, what they did so far, and whether they write rows.
#[derive(Clone)]
pub struct Plan {
    decide: Arc<Decide>,
    seen: Arc<Mutex<Vec<(String, u32, u32)>>>,
    rows: bool,
}

impl Plan {
    pub fn new(decide: impl Fn(&Placed, &Meta) -> Step + Send + Sync + 'static) -> Self {
        Self { decide: Arc::new(decide), seen: Arc::default(), rows: false }
    }

    pub fn done() -> Self {
        Self::new(|_, _| Step::Done)
    }

    /// Lets handlers write a row for each message. Needs SQL.
    pub fn rows(mut self) -> Self {
        self.rows = true;
        self
    }

    /// Returns the calls so far: order, number, attempt.
    pub fn calls(&self) -> Vec<(String, u32, u32)> {
        self.seen.lock().unwrap().clone()
    }

    /// Returns the numbers of `order_id`, one for each call.
    pub fn numbers(&self, order_id: &str) -> Vec<u32> {
        self.calls().into_iter().filter(|(order, ..)| order == order_id).map(|(_, number, _)| number).collect()
    }

    pub fn step(&self, placed: &Placed, meta: &Meta) -> Step {
        self.note(placed, meta);
        (self.decide)(placed, meta)
    }

    pub fn note(&self, placed: &Placed, meta: &Meta) {
        self.seen.lock().unwrap().push((placed.order_id.clone(), placed.number, meta.attempt));
    }

    pub async fn write(&self, tx: &mut Tx, placed: &Placed) -> Result<(), sqlx::Error> {
        if self.rows {
            sqlx::query::<sqlx::Any>("INSERT INTO entries (order_id, number) VALUES ($1, $2)")
                .bind(placed.order_id.clone())
                .bind(i64::from(placed.number))
                .execute(tx)
                .await?;
        }
        Ok(())
    }
}

async fn end<R>(step: Step, placed: Placed, refusal: impl FnOnce(Placed) -> R) -> Result<Charged, Failure<R>> {
    match step {
        Step::Done => Ok(Charged { order_id: placed.order_id, number: placed.number }),
        Step::Reject => Err(Failure::Reject(refusal(placed))),
        Step::Retry => Err(Failure::retry("planned")),
        Step::Later(after) => Err(Failure::Later(after)),
        Step::Dead => Err(Failure::dead("planned")),
        Step::Panic => panic!("planned"),
        Step::Hang => std::future::pending().await,
    }
}

pub fn declined(placed: Placed) -> Declined {
    Declined { order_id: placed.order_id, number: placed.number }
}

/// Uses no transaction.
#[handler(retry(max = 3, backoff = "1s..4s"))]
pub async fn bare(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure<Declined>> {
    end(plan.step(&placed, &meta), placed, declined).await
}

/// Writes without a savepoint.
#[handler(retry(max = 3, backoff = "1s..4s"))]
pub async fn writing(On(placed): On<Placed>, mut tx: Tx, meta: Meta, State(plan): State<Plan>) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    end(plan.step(&placed, &meta), placed, |_| unreachable!("it cannot refuse")).await
}

/// Writes under a savepoint, because it can refuse.
#[handler(retry(max = 3, backoff = "1s..4s"))]
pub async fn refusing(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<Charged, Failure<Declined>> {
    plan.write(&mut tx, &placed).await?;
    end(plan.step(&placed, &meta), placed, declined).await
}

/// Begins its transaction itself, and fails afterwards.
#[handler(retry(max = 3, backoff = "1s..4s"))]
pub async fn calling(
    On(placed): On<Placed>,
    work: Work,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<Charged, Failure<Declined>> {
    let step = plan.step(&placed, &meta);
    let mut tx = work.begin().await?;
    plan.write(&mut tx, &placed).await?;
    end(step, placed, declined).await
}

pub const ENTRIES: &[Migration] =
    &[Migration { version: 1, name: "entries", sql: "CREATE TABLE entries (order_id TEXT NOT NULL, number INTEGER NOT NULL)" }];

/// Returns the service under test.
pub fn service(database: &Database, plan: &Plan) -> Service {
    Service::new("payments", database.clone()).state(plan.clone()).migrations(ENTRIES)
}

/// Returns the rows that the handlers wrote, sorted.
pub async fn rows(database: &Database) -> Vec<(String, i64)> {
    sqlx::query_as::<sqlx::Any, (String, i64)>("SELECT order_id, number FROM entries ORDER BY order_id, number")
        .fetch_all(database)
        .await
        .unwrap()
}

/// Removes everything that `service` keeps about sagas, and returns the number of rows.
pub async fn kept_of_sagas(database: &Database, service: &str) -> u64 {
    let all = Timestamp::MAX;
    database.store().sagas().prune(service, all, all, 1_000).await.unwrap()
}

/// Returns a record of the topic `orders` with only these parts.
pub fn record(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&str, &str)]) -> Record {
    Record {
        topic: "orders".to_owned(),
        key: key.map(|key| key.to_vec().into()),
        value: value.map(|value| value.to_vec().into()),
        headers: headers.iter().map(|(name, value)| Header::text(*name, *value)).collect(),
        timestamp: LogTime::from_millis(1_767_225_600_000),
    }
}

/// Advances the clock until nothing is parked and all outboxes are empty.
pub async fn settle(pump: &Pump, services: &[&str]) {
    let mut rounds = 0;
    loop {
        let clock = pump.clock().clone();
        tokio::select! {
            () = pump.run_until_quiet() => {}
            () = async { loop { clock.advance(Duration::from_millis(5)); tokio::task::yield_now().await; } } => {}
        }
        let mut left = 0;
        for name in services {
            let store = pump.service(name).database().store().clone();
            left += store.parked_keys(name).await.unwrap().len();
            left += store.outbox(name, 0, 10).await.unwrap().len();
        }
        if left == 0 {
            return;
        }
        rounds += 1;
        assert!(rounds < 1_000, "{left} parked keys and outbox rows are left");
        clock.advance(Duration::from_secs(1));
    }
}
