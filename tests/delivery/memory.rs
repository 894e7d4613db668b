//! The memory of a service is limited in bytes, however many messages wait and however slow its handlers are.

use std::{cell::Cell, sync::Arc};

use sagas::{Settings, handler::Handler, port::transport::Transport, prelude::*, testing::Pump, transport::memory::Memory};
use tokio::sync::Semaphore;

use crate::support::{
    store::{Faults, failing},
    watch::{Watch, Watched},
    *,
};

/// The maximum size of one delivery of the in-memory log.
const DELIVERY: usize = 1 << 20;

#[handler(timeout = "1h")]
async fn held(On(placed): On<Placed>, State(gate): State<Arc<Semaphore>>, meta: Meta, State(plan): State<Plan>) {
    gate.acquire().await.unwrap().forget();
    plan.note(&placed, &meta);
}

#[handler(timeout = "1h")]
async fn detached(On(placed): On<Placed>, work: Work, State(gate): State<Arc<Semaphore>>, meta: Meta, State(plan): State<Plan>) {
    gate.acquire().await.unwrap().forget();
    work.begin().await.unwrap();
    plan.note(&placed, &meta);
}

/// Opens `gate` step by step until `plan` has seen `messages`, and returns the peak of `watch`.
async fn peak(watch: &Watch, gate: &Semaphore, plan: &Plan, messages: usize) -> usize {
    let peak = Cell::new(0);
    let look = || peak.set(peak.get().max(watch.bytes()));
    until("memory is full", || async {
        let before = watch.bytes();
        for _ in 0..100 {
            tokio::task::yield_now().await;
            look();
        }
        before > 0 && watch.bytes() == before
    })
    .await;
    until("all are handled", || async {
        if gate.available_permits() == 0 {
            gate.add_permits(25);
        }
        look();
        plan.calls().len() >= messages
    })
    .await;
    peak.get()
}

async fn a_backlog(handlers: impl IntoIterator<Item = Handler>) {
    const MESSAGES: u32 = 2_400;
    let (clock, gate, plan, delivered) = (clock(), Arc::new(Semaphore::new(0)), Plan::done(), Watch::default());
    let log = Arc::new(Watched { inner: Arc::new(Memory::with_clock(clock.clone())), delivered: delivered.clone() });
    let mut settings = Settings::default();
    (settings.queue_bytes, settings.queue_messages) = (2 << 20, 1_000_000);
    let limit = settings.queue_bytes;
    let payments = service(&Database::memory(), &plan).state(gate.clone()).handlers(handlers).settings(settings);
    let pump = Pump::of([payments]).on(log.clone()).clock(clock).start().await;
    let padding = "x".repeat(8 << 10);
    let records = (0..MESSAGES).map(|number| {
        let (key, value) = (format!("o{number}"), format!(r#"{{"order_id":"o{number}","number":{number},"more":"{padding}"}}"#));
        record(Some(key.as_bytes()), Some(value.as_bytes()), &[])
    });
    assert!(log.publish(records.collect()).await.iter().all(Result::is_ok));
    let peak = peak(&delivered, &gate, &plan, MESSAGES as usize).await;
    pump.run_until_quiet().await;
    assert!(peak >= limit, "it used what it may: {peak} bytes");
    assert!(peak <= limit + DELIVERY, "{peak} bytes were in memory at once, with `queue_bytes` at {limit}");
    assert_eq!((plan.calls().len(), delivered.bytes()), (MESSAGES as usize, 0));
    pump.stop().await;
}

#[tokio::test]
async fn a_backlog_before_a_slow_handler_stays_in_the_log() {
    a_backlog(handlers![held]).await;
}

#[tokio::test]
async fn a_backlog_before_a_slow_call_stays_in_the_log() {
    a_backlog(handlers![detached]).await;
}

/// Fails once at the first message of each key, so that the others are parked behind it, and then waits for the gate.
#[handler(retry(max = 3, backoff = "1s..1s"), timeout = "1h")]
async fn failing_first(
    On(placed): On<Placed>,
    State(gate): State<Arc<Semaphore>>,
    meta: Meta,
    State(plan): State<Plan>,
) -> Result<(), Failure> {
    if placed.number == 0 && meta.attempt == 1 {
        return Err(Failure::retry("planned"));
    }
    gate.acquire().await?.forget();
    plan.note(&placed, &meta);
    Ok(())
}

#[tokio::test]
async fn parked_messages_that_are_all_due_stay_in_the_database() {
    const KEYS: u32 = 40;
    const PER_KEY: u32 = 8;
    const SIZE: usize = 2 << 10;
    for database in databases().await {
        let (faults, gate, plan) = (Faults::default(), Arc::new(Semaphore::new(0)), Plan::done());
        let mut settings = Settings::default();
        settings.queue_bytes = 64 << 10;
        let limit = settings.queue_bytes;
        let inside = failing(&database, &faults);
        let payments = service(&inside, &plan).state(gate.clone()).handlers(handlers![failing_first]).settings(settings);
        let pump = Pump::of([payments]).start().await;
        let padding = "x".repeat(SIZE);
        for number in 0..PER_KEY {
            for key in 0..KEYS {
                let value = format!(r#"{{"order_id":"o{key}","number":{number},"more":"{padding}"}}"#);
                pump.publish_record(record(Some(format!("o{key}").as_bytes()), Some(value.as_bytes()), &[])).await;
            }
        }
        pump.run_until_quiet().await;
        assert_eq!((plan.calls().len(), faults.parked.bytes()), (0, 0), "all are parked");
        pump.clock().advance(std::time::Duration::from_secs(1));
        let peak = peak(&faults.parked, &gate, &plan, (KEYS * PER_KEY) as usize).await;
        pump.run_until_quiet().await;
        // The keys are read one after another; the last one can exceed the limit.
        let key = PER_KEY as usize * (SIZE + 200);
        assert!(peak >= limit, "it used what it may: {peak} bytes");
        assert!(peak <= limit + key, "{peak} bytes were in memory at once, with `queue_bytes` at {limit}");
        for key in 0..KEYS {
            assert_eq!(plan.numbers(&format!("o{key}")), (0..PER_KEY).collect::<Vec<_>>());
        }
        pump.stop().await;
    }
}
