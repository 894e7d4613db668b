//! The number of unfinished messages is limited, and so is the outbox.

use std::sync::Arc;

use sagas::{
    Settings,
    port::transport::Transport,
    prelude::*,
    testing::{
        Pump,
        faulty::{Faults, Faulty},
    },
    transport::memory::Memory,
};
use tokio::sync::Semaphore;

use crate::support::*;

#[handler(timeout = "1h")]
async fn slow(On(_): On<Placed>, State(gate): State<Arc<Semaphore>>, meta: Meta, State(plan): State<Plan>) {
    gate.acquire().await.unwrap().forget();
    plan.note(&placed("a", 0), &meta);
}

#[tokio::test]
async fn a_slow_handler_pauses_the_log() {
    let (clock, gate) = (clock(), Arc::new(Semaphore::new(0)));
    let log = Arc::new(Memory::with_clock(clock.clone()));
    let mut settings = Settings::default();
    settings.queue_messages = 1_000;
    let plan = Plan::done();
    let slow_one = service(&Database::memory(), &plan).state(gate.clone()).handlers(handlers![slow]).settings(settings);
    let pump = Pump::of([slow_one]).on(log.clone()).clock(clock).start().await;
    for chunk in 0..50 {
        let records = (0..1_000).map(|number| {
            let value = format!(r#"{{"order_id":"o{number}","number":{chunk}}}"#);
            record(Some(format!("o{number}").as_bytes()), Some(value.as_bytes()), &[])
        });
        assert!(log.publish(records.collect()).await.iter().all(Result::is_ok));
    }
    let payments = pump.service("payments");
    until("every partition is paused", || async { metric(payments, "sagas_partition_paused", "") == 6.0 }).await;
    gate.add_permits(60_000);
    pump.run_until_quiet().await;
    assert_eq!(plan.calls().len(), 50_000);
    assert_eq!(metric(payments, "sagas_partition_paused", ""), 0.0);
}

#[tokio::test]
async fn a_full_outbox_refuses_work_and_pauses_consumption_until_the_log_takes_records() {
    for database in databases().await {
        let clock = clock();
        let faults = Faults { fail_publish: 1.0, ..Faults::default() };
        let inner = Arc::new(Memory::with_clock(clock.clone()));
        let log = Arc::new(Faulty::new(inner.clone(), faults, 3, clock.clone()));
        let mut settings = Settings::default();
        (settings.outbox_rows, settings.batch_messages) = (10, 5);
        let plan = Plan::done();
        let payments = service(&database, &plan).handlers(handlers![bare]).settings(settings);
        let pump = Pump::of([payments]).on(log.clone()).clock(clock.clone()).start().await;
        let records: Vec<_> = (0..100)
            .map(|number| {
                let value = format!(r#"{{"order_id":"o{number}","number":{number}}}"#);
                record(Some(format!("o{number}").as_bytes()), Some(value.as_bytes()), &[])
            })
            .collect();
        inner.publish(records).await;
        let payments = pump.service("payments");
        until("publishing is refused", || async { payments.begin().await.is_err() }).await;
        let refusal = payments.begin().await.err().unwrap().to_string();
        assert!(refusal.contains("outbox_rows"), "{refusal}");
        // Four lanes with five messages each may have begun earlier.
        until("nothing runs", || async { metric(payments, "sagas_deliveries_total", "outcome=\"done\"") >= 10.0 }).await;
        assert!(plan.calls().len() <= 30, "{} messages were handled meanwhile", plan.calls().len());
        log.set(Faults::default());
        settle(&pump, &["payments"]).await;
        assert_eq!(pump.published::<Charged>().await.len(), 100);
        assert!(payments.begin().await.is_ok());
    }
}

#[tokio::test]
async fn too_many_parked_keys_pause_all_partitions_until_half_are_free() {
    for database in databases().await {
        let broken = Arc::new(std::sync::atomic::AtomicBool::new(true));
        let it = broken.clone();
        let down = move |_: &Placed, _: &Meta| match it.load(std::sync::atomic::Ordering::SeqCst) {
            true => Step::Later(std::time::Duration::from_secs(5)),
            false => Step::Done,
        };
        let mut settings = Settings::default();
        (settings.parked_keys, settings.queue_messages) = (20, 10);
        let plan = Plan::new(down);
        let payments = service(&database, &plan).handlers(handlers![bare]).settings(settings);
        let pump = Pump::of([payments]).start().await;
        for number in 0..500 {
            pump.publish(&placed(&format!("o{number}"), number)).await;
        }
        let payments = pump.service("payments");
        let told = || metric(payments, "sagas_conditions", "condition=\"parked_keys_full\"");
        until("it is a condition", || async { told() == 1.0 }).await;
        until("every partition is paused", || async { metric(payments, "sagas_partition_paused", "") == 6.0 }).await;
        broken.store(false, std::sync::atomic::Ordering::SeqCst);
        settle(&pump, &["payments"]).await;
        until("all are handled", || async { pump.published::<Charged>().await.len() == 500 }).await;
        assert_eq!(metric(payments, "sagas_conditions", "condition=\"parked_keys_full\""), 0.0);
        pump.stop().await;
    }
}
