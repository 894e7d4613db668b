//! A handler that is in the middle of a statement when its time is up.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use sagas::{Settings, port::transport::Transport, prelude::*, testing::Pump, transport::memory::Memory};

use crate::support::*;

/// A statement that does not end, and whether it has begun.
#[derive(Clone)]
struct Endless(&'static str, Arc<AtomicBool>);

impl Endless {
    async fn run(&self, tx: &mut Tx) -> Result<(), sqlx::Error> {
        // Nothing is awaited between this line and the statement.
        self.1.store(true, Ordering::SeqCst);
        sqlx::query::<sqlx::Any>(self.0).execute(tx).await?;
        Ok(())
    }
}

const READS: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
const WRITES: &str = "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) \
                      INSERT INTO entries (order_id, number) SELECT 'endless', x FROM n";

/// Can refuse, and so runs under a savepoint.
#[handler(retry(max = 3, backoff = "1s..4s"), timeout = "30s")]
async fn under_a_savepoint(
    On(placed): On<Placed>,
    mut tx: Tx,
    meta: Meta,
    State(plan): State<Plan>,
    State(endless): State<Endless>,
) -> Result<Charged, Failure<Declined>> {
    plan.write(&mut tx, &placed).await?;
    match plan.step(&placed, &meta) {
        Step::Hang => endless.run(&mut tx).await?,
        Step::Reject => return Err(Failure::Reject(declined(placed))),
        _ => {}
    }
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn a_statement_that_is_running_when_the_time_is_up_is_broken_off_with_its_message_alone() {
    for statement in [READS, WRITES] {
        let (database, clock, began) = (sqlite().await, clock(), Arc::new(AtomicBool::new(false)));
        let plan = Plan::new(|placed, meta| match placed.number {
            1 if meta.attempt == 1 => Step::Hang,
            2 => Step::Reject,
            _ => Step::Done,
        });
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let mut settings = Settings::default();
        settings.topic_partitions = 1;
        let payments = service(&database, &plan.clone().rows())
            .state(Endless(statement, began.clone()))
            .handlers(handlers![under_a_savepoint])
            .settings(settings);
        let pump = Pump::of([payments]).on(log.clone()).clock(clock.clone()).start().await;
        let records = (0..5).map(|number| {
            let (key, value) = (format!("o{number}"), format!(r#"{{"order_id":"o{number}","number":{number}}}"#));
            record(Some(key.as_bytes()), Some(value.as_bytes()), &[])
        });
        log.publish(records.collect()).await;
        until("the statement runs", || async { began.load(Ordering::SeqCst) }).await;
        assert!(pump.published::<Charged>().await.is_empty(), "they share a transaction");
        clock.advance(std::time::Duration::from_secs(30));
        until("the others are done", || async { pump.published::<Charged>().await.len() == 3 }).await;
        pump.run_until_quiet().await;
        let others = [("o0".to_owned(), 0), ("o3".to_owned(), 3), ("o4".to_owned(), 4)];
        assert_eq!(rows(&database).await, others, "nothing stays of the message whose time was up, nor of the refused one");
        let parked = database.store().parked("payments", "orders", b"o1", 1).await.unwrap();
        assert!(parked[0].error.contains("longer than its timeout of 30s"), "{}", parked[0].error);
        assert_eq!((parked[0].attempts, pump.published::<Declined>().await.len()), (1, 1));
        pump.advance(std::time::Duration::from_secs(1)).await;
        assert_eq!((rows(&database).await.len(), pump.published::<Charged>().await.len()), (4, 4));
        assert_eq!(plan.numbers("o1"), [1, 1]);
        pump.stop().await;
    }
}

/// Fails, and its exhausted handler does not end either, the first time.
#[handler(retry(max = 1), timeout = "30s", exhausted = never_ending)]
async fn failing(On(placed): On<Placed>, mut tx: Tx, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure> {
    plan.write(&mut tx, &placed).await?;
    match plan.step(&placed, &meta) {
        Step::Done => Ok(()),
        _ => Err(Failure::retry("planned")),
    }
}

async fn never_ending(
    On(placed): On<Placed>,
    mut tx: Tx,
    State(endless): State<Endless>,
    State(plan): State<Plan>,
) -> Result<(), Failure> {
    plan.write(&mut tx, &Placed { number: placed.number + 100, ..placed }).await?;
    if !endless.1.load(Ordering::SeqCst) {
        endless.run(&mut tx).await?;
    }
    Ok(())
}

#[tokio::test]
async fn so_are_the_last_words_of_a_message() {
    for statement in [READS, WRITES] {
        let (database, clock, began) = (sqlite().await, clock(), Arc::new(AtomicBool::new(false)));
        let plan = Plan::new(|placed, _| if placed.number == 1 { Step::Retry } else { Step::Done }).rows();
        let payments = service(&database, &plan).state(Endless(statement, began.clone())).handlers(handlers![failing]);
        let pump = Pump::of([payments]).clock(clock.clone()).start().await;
        for number in 0..3 {
            pump.publish(&placed(&format!("o{number}"), number)).await;
        }
        until("the statement runs", || async { began.load(Ordering::SeqCst) }).await;
        clock.advance(std::time::Duration::from_secs(30));
        // The messages that shared the commit try again after a wait on the clock.
        let others = || async { rows(&database).await == [("o0".to_owned(), 0), ("o2".to_owned(), 2)] };
        advance_until(&clock, "the others are done", others).await;
        let parked = || async { !database.store().parked("payments", "orders", b"o1", 1).await.unwrap().is_empty() };
        advance_until(&clock, "the message is parked", parked).await;
        pump.run_until_quiet().await;
        assert_eq!(rows(&database).await, [("o0".to_owned(), 0), ("o2".to_owned(), 2)]);
        let parked = database.store().parked("payments", "orders", b"o1", 1).await.unwrap();
        assert!(parked[0].error.contains("its `exhausted` fn failed"), "{}", parked[0].error);
        assert!(parked[0].error.contains("longer than its timeout of 30s"), "{}", parked[0].error);
        pump.advance(std::time::Duration::from_secs(60)).await;
        assert_eq!(rows(&database).await, [("o0".to_owned(), 0), ("o1".to_owned(), 101), ("o2".to_owned(), 2)]);
        assert_eq!(pump.service("payments").dead_letters(0, 1).await.unwrap().1, 1);
        pump.stop().await;
    }
}
