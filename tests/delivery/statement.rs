//! A statement that a healthy PostgreSQL cancels is a failed attempt of the message whose handler ran it, and of no other; the
//! other system is not called repeatedly for it.

use std::time::Duration;

use sagas::{handler::Handler, prelude::*, store::Migration, testing::Pump};
use sagas_tests::schema::Schema;

use crate::support::*;

const SLOW: &str = "slow";

/// Rows with the key `slow` exceed the statement timeout: those of the handler, or those of the framework.
const TABLES: [&[Migration]; 2] = [
    &[Migration {
        version: 1,
        name: "entries that are slow to write",
        sql: "CREATE TABLE entries (order_id TEXT NOT NULL, number INTEGER NOT NULL);
              CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF NEW.order_id = 'slow' THEN PERFORM pg_sleep(5); END IF; RETURN NEW; END $$;
              CREATE TRIGGER waits BEFORE INSERT ON entries FOR EACH ROW EXECUTE FUNCTION wait();",
    }],
    &[Migration {
        version: 1,
        name: "events that are slow to write",
        sql: "CREATE TABLE entries (order_id TEXT NOT NULL, number INTEGER NOT NULL);
              CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
                  IF NEW.key = 'slow'::bytea AND NEW.topic = 'payments' THEN PERFORM pg_sleep(5); END IF; RETURN NEW; END $$;
              CREATE TRIGGER waits BEFORE INSERT ON sagas_outbox FOR EACH ROW EXECUTE FUNCTION wait();",
    }],
];

/// Returns how often the handler of the slow message was called until the message was given up.
async fn calls_of_the_slow_one(handlers: [Handler; 1], tables: &'static [Migration]) -> usize {
    let schema = Schema::new();
    let database = Database::open(&format!("{}&options=-c%20statement_timeout%3D300", schema.url())).await.unwrap();
    let plan = Plan::done().rows();
    let payments = Service::new("payments", database.clone()).state(plan.clone()).migrations(tables).handlers(handlers);
    let pump = Pump::of([payments]).clock(clock()).start().await;
    for number in 0..10 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    pump.publish(&placed(SLOW, 100)).await;
    let payments = pump.service("payments");
    let given_up = async || {
        pump.clock().advance(Duration::from_millis(500));
        (payments.dead_letters(0, 1).await.unwrap().1 == 1).then_some(())
    };
    sagas_tests::eventually("the slow one is given up", given_up).await;
    let (letters, _) = payments.dead_letters(0, 10).await.unwrap();
    assert_eq!((letters[0].received.record.key.as_deref(), letters[0].attempts), (Some(SLOW.as_bytes()), 3));
    assert!(letters[0].error.contains("canceling statement due to statement timeout"), "{}", letters[0].error);
    settle(&pump, &["payments"]).await;
    assert_eq!(pump.published::<Charged>().await.len(), 10);
    assert_eq!(rows(&database).await.len(), 10);
    pump.stop().await;
    plan.numbers(SLOW).len()
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_statement_that_takes_too_long_is_a_failed_attempt() {
    assert!(calls_of_the_slow_one(handlers![writing], TABLES[0]).await <= 6, "each attempt runs at most twice");
    assert_eq!(calls_of_the_slow_one(handlers![calling], TABLES[0]).await, 3, "the outside is called once for each attempt");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_statement_of_the_framework_that_takes_too_long_is_one_too() {
    assert!(calls_of_the_slow_one(handlers![writing], TABLES[1]).await <= 18, "the database is given a few tries");
    assert_eq!(calls_of_the_slow_one(handlers![calling], TABLES[1]).await, 3, "the outside is called once for each attempt");
}
