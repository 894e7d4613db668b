//! Handlers that panic, hang, or misuse their transaction.

use std::{sync::Arc, time::Duration};

use sagas::{handler::Handler, prelude::*, testing::Pump};
use tokio::sync::Semaphore;

use crate::support::*;

async fn retried(database: &Database, handlers: impl IntoIterator<Item = Handler>, step: Step, rows_too: bool) -> (Plan, Pump) {
    let mut plan = Plan::new(move |placed, meta| if placed.number == 1 && meta.attempt == 1 { step } else { Step::Done });
    if rows_too {
        plan = plan.rows();
    }
    let pump = Pump::of([service(database, &plan).handlers(handlers)]).start().await;
    for number in 0..3 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    (plan, pump)
}

#[tokio::test]
async fn a_panic_is_a_failed_attempt() {
    for database in databases().await {
        let (plan, pump) = retried(&database, handlers![bare], Step::Panic, false).await;
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Charged>().await.len(), 2);
        assert!(metric(pump.service("payments"), "sagas_handler_panics_total", "") >= 1.0);
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(plan.numbers("o1"), [1, 1]);
        assert_eq!(pump.published::<Charged>().await.len(), 3);
    }
}

#[tokio::test]
async fn a_handler_that_takes_too_long_is_a_failed_attempt() {
    for (handlers, rows_too) in [(handlers![bare], false), (handlers![writing], true)] {
        let database = sqlite().await;
        let (plan, pump) = retried(&database, handlers, Step::Hang, rows_too).await;
        until("the handler hangs", || async { plan.numbers("o1") == [1] }).await;
        pump.clock().advance(Duration::from_secs(30));
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Charged>().await.len(), 2);
        let parked = database.store().parked("payments", "orders", b"o1", 1).await.unwrap();
        assert!(parked[0].error.contains("longer than its timeout of 30s"), "{}", parked[0].error);
        pump.advance(Duration::from_secs(1)).await;
        assert_eq!(pump.published::<Charged>().await.len(), 3);
        if rows_too {
            assert_eq!(rows(&database).await.len(), 3);
        }
        pump.stop().await;
    }
}

/// Moves its transaction into a task that keeps it until the test releases it.
#[handler(retry(max = 2, backoff = "1s..1s"))]
async fn moving(
    On(placed): On<Placed>,
    mut tx: Tx,
    State(plan): State<Plan>,
    State(go): State<Arc<Semaphore>>,
    meta: Meta,
) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    if plan.step(&placed, &meta) == Step::Retry {
        tokio::spawn(async move {
            let _permit = go.acquire_owned().await;
            drop(tx);
        });
    }
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn a_moved_transaction_fails_by_name_and_the_others_stand() {
    let (database, go) = (sqlite().await, Arc::new(Semaphore::new(0)));
    let plan = Plan::new(|placed, _| if placed.number == 1 { Step::Retry } else { Step::Done }).rows();
    let pump = Pump::of([service(&database, &plan).state(go.clone()).handlers(handlers![moving])]).start().await;
    for number in 0..3 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    until("the handler has moved its transaction", || async { !plan.numbers("o1").is_empty() }).await;
    go.close();
    pump.run_until_quiet().await;
    pump.advance(Duration::from_secs(1)).await;
    assert_eq!(rows(&database).await, [("o0".to_owned(), 0), ("o2".to_owned(), 2)]);
    let letters = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
    assert!(letters[0].error.contains("`moving` returned while its `Tx` is still in use"), "{}", letters[0].error);
    assert_eq!(letters[0].attempts, 2);
}

#[tokio::test]
async fn sql_on_a_store_without_sql_fails_by_name() {
    let (database, plan) = (Database::memory(), Plan::done().rows());
    let pump = Pump::of([service(&database, &plan).handlers(handlers![writing])]).start().await;
    pump.publish(&placed("a", 1)).await;
    settle(&pump, &["payments"]).await;
    let letters = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
    assert!(letters[0].error.contains("this store speaks no SQL"), "{}", letters[0].error);
}

/// Number 1 ends the transaction that it borrows.
async fn end_it(tx: &mut Tx, placed: &Placed, natively: bool) -> Result<(), Failure> {
    if placed.number == 1 {
        match natively {
            true => sqlx::raw_sql("ROLLBACK").execute(tx.sqlite().await?).await.map(drop)?,
            false => sqlx::query::<sqlx::Any>("COMMIT").execute(tx).await.map(drop)?,
        }
    }
    Ok(())
}

/// Whether the transaction is ended on SQLite's own connection.
#[derive(Clone, Copy)]
struct Natively(bool);

#[handler(retry(max = 2, backoff = "1s..1s"))]
async fn ending(
    On(placed): On<Placed>,
    mut tx: Tx,
    State(plan): State<Plan>,
    State(Natively(natively)): State<Natively>,
    meta: Meta,
) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    plan.note(&placed, &meta);
    end_it(&mut tx, &placed, natively).await?;
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[handler(retry(max = 2, backoff = "1s..1s"))]
async fn beginning_and_ending(
    On(placed): On<Placed>,
    work: Work,
    State(plan): State<Plan>,
    State(Natively(natively)): State<Natively>,
    meta: Meta,
) -> Result<Charged, Failure> {
    let mut tx = work.begin().await?;
    plan.write(&mut tx, &placed).await?;
    plan.note(&placed, &meta);
    end_it(&mut tx, &placed, natively).await?;
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[tokio::test]
async fn a_handler_that_ends_its_transaction_has_failed_and_holds_up_nobody() {
    for handlers in [handlers![ending], handlers![beginning_and_ending]] {
        for natively in [false, true] {
            let (database, plan) = (sqlite().await, Plan::done().rows());
            let payments = service(&database, &plan).state(Natively(natively)).handlers(handlers.clone());
            let pump = Pump::of([payments]).start().await;
            for number in 0..4 {
                pump.publish(&placed(&format!("o{number}"), number)).await;
            }
            settle(&pump, &["payments"]).await;
            assert_eq!(rows(&database).await, [("o0".to_owned(), 0), ("o2".to_owned(), 2), ("o3".to_owned(), 3)]);
            assert_eq!(pump.published::<Charged>().await.len(), 3);
            let letters = pump.service("payments").dead_letters(0, 10).await.unwrap().0;
            assert_eq!((letters.len(), letters[0].attempts), (1, 2));
            let error = &letters[0].error;
            assert!(error.contains("COMMIT") && error.contains("leave that to the framework"), "{error}");
            pump.stop().await;
        }
    }
}
