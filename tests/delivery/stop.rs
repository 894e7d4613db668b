//! A stop ends in bounded time, and the work that it leaves is done after the next start.

use std::sync::Arc;

use sagas::{App, Settings, prelude::*, testing::Pump, transport::memory::Memory};
use tokio::sync::Semaphore;

use crate::{
    log_lines::Lines,
    support::{
        instance::{Instance, publish},
        store::{Fault, Faults, failing},
        *,
    },
};

#[handler(timeout = "1h")]
async fn gated(
    On(placed): On<Placed>,
    mut tx: Tx,
    State(gate): State<Arc<Semaphore>>,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<Charged, Failure> {
    plan.write(&mut tx, &placed).await?;
    plan.note(&placed, &meta);
    gate.acquire().await?.forget();
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

fn quick() -> Settings {
    let mut settings = Settings::default();
    settings.stop_timeout_ms = 200;
    settings
}

#[tokio::test]
async fn what_is_not_finished_in_time_is_done_after_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = format!("sqlite://{}", folder.path().join("payments.db").display());
    let (gate, plan, clock) = (Arc::new(Semaphore::new(0)), Plan::done().rows(), clock());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let build = async || {
        let database = Database::open(&file).await.unwrap();
        let payments = service(&database, &plan).state(gate.clone()).handlers(handlers![gated]).settings(quick());
        (App::new("shop").service(payments).clock(clock.clone()).start(log.clone()).await.unwrap(), database)
    };
    let publisher = Pump::of([Service::new("nobody", Database::memory())]).on(log.clone()).start().await;
    let (handle, _) = build().await;
    for number in 0..20 {
        publisher.publish(&placed(&format!("o{number}"), number)).await;
    }
    until("a handler runs", || async { !plan.calls().is_empty() }).await;
    let began = tokio::time::Instant::now();
    let (lines, guard) = Lines::heard(tracing::Level::WARN);
    assert!(!handle.stop().await, "it says that not everything ended");
    drop(guard);
    let left = lines.with("the service has stopped before it had finished");
    assert!(left.len() == 1 && left[0].contains("being handled"), "{left:?}");
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());

    gate.add_permits(1_000);
    let (handle, database) = build().await;
    handle.quiet().await;
    assert_eq!(rows(&database).await.len(), 20);
    assert_eq!(publisher.published::<Charged>().await.len(), 20);
    assert!(handle.stop().await);
}

#[tokio::test]
async fn what_runs_is_finished_and_committed() {
    let (gate, plan, clock) = (Arc::new(Semaphore::new(0)), Plan::done(), clock());
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let database = Database::memory();
    let payments = service(&database, &plan).state(gate.clone()).handlers(handlers![gated]);
    let pump = Pump::of([payments]).on(log.clone()).clock(clock).start().await;
    pump.publish(&placed("a", 1)).await;
    until("the handler runs", || async { !plan.calls().is_empty() }).await;
    let (stopped, ()) = tokio::join!(pump.stop(), async { gate.add_permits(1) });
    let () = stopped;
    let reader = Pump::of([Service::new("nobody", Database::memory())]).on(log).start().await;
    assert_eq!(reader.published::<Charged>().await.len(), 1);
    assert_eq!(plan.calls().len(), 1);
}

/// A stop does not wait for a database that is down: what could not be written is returned.
#[tokio::test]
async fn a_stop_does_not_wait_for_a_database_that_is_down() {
    for handlers in [handlers![writing].to_vec(), handlers![calling].to_vec()] {
        let (faults, plan, clock) = (Faults::default(), Plan::done().rows(), clock());
        let outside = sqlite().await;
        let database = failing(&outside, &faults);
        let log = Memory::with_clock(clock.clone());
        let start = async |seed| Instance::start(service(&database, &plan).handlers(handlers.clone()), &log, &clock, seed).await;
        let member = start(1).await;
        publish(&log, "first", 0).await;
        member.quiet().await;
        faults.set(|fault| matches!(fault, Fault::Begin | Fault::Read | Fault::Own | Fault::Advance));
        for number in 0..20 {
            publish(&log, &format!("o{number}"), number).await;
        }
        until("the database has failed", || async { metric(member.service(), "sagas_store_failures_total", "") > 0.0 }).await;
        let began = tokio::time::Instant::now();
        assert!(member.handle.stop().await, "everything ends");
        assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        assert_eq!(rows(&outside).await.len(), 1);
        faults.clear();
        let member = start(2).await;
        member.quiet().await;
        assert_eq!(rows(&outside).await.len(), 21);
        assert!(plan.calls().iter().all(|(.., attempt)| *attempt == 1), "no attempt is burnt");
        assert!(member.handle.stop().await);
    }
}

/// Keeps its transaction for ever.
#[handler]
async fn keeping(On(_): On<Placed>, tx: Tx, meta: Meta, State(plan): State<Plan>) {
    plan.note(&placed("a", 0), &meta);
    tokio::spawn(async move {
        let _tx = tx;
        std::future::pending::<()>().await;
    });
}

#[tokio::test]
async fn a_transaction_that_is_never_given_back_stops_no_stop() {
    for database in databases().await {
        let plan = Plan::done();
        let payments = service(&database, &plan).handlers(handlers![keeping]).settings(quick());
        let log = Arc::new(Memory::new());
        let publisher =
            Pump::of([Service::new("nobody", Database::memory())]).on(log.clone()).try_start(&["orders"]).await.unwrap();
        let handle = App::new("shop").service(payments).start(log).await.unwrap();
        publisher.publish(&placed("a", 1)).await;
        until("the handler ran", || async { !plan.calls().is_empty() }).await;
        let stopped = tokio::time::timeout(std::time::Duration::from_secs(10), handle.stop()).await;
        assert_eq!(stopped, Ok(false));
    }
}
