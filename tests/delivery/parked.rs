//! Parked messages that cannot be read, and parked messages of a partition that moves.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{Settings, port::transport::Transport, prelude::*, testing::Pump, transport::memory::Memory};
use tokio::sync::Semaphore;

use crate::support::{
    instance::{self, Instance, partitions},
    store::{Fault, Faults, failing},
    *,
};

/// Damages or repairs the parked messages of `key`.
async fn damage(pump: &Pump, key: &str, damaged: bool) {
    let mut work = pump.service("payments").begin().await.unwrap();
    let sql = if damaged {
        "UPDATE sagas_parked SET headers = CAST('no' AS BLOB) || headers WHERE CAST(key AS TEXT) = $1"
    } else {
        "UPDATE sagas_parked SET headers = substr(headers, 3) WHERE CAST(key AS TEXT) = $1"
    };
    let changed = sqlx::query::<sqlx::Any>(sql).bind(key.to_owned()).execute(&mut *work).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
    work.commit().await.unwrap();
}

#[tokio::test]
async fn a_parked_message_that_cannot_be_read_stops_no_other_and_is_read_again_later() {
    let database = sqlite().await;
    let plan = Plan::new(|_, meta| if meta.attempt == 1 { Step::Retry } else { Step::Done });
    let pump = Pump::of([service(&database, &plan).handlers(handlers![bare])]).start().await;
    for number in 0..6 {
        pump.publish(&placed(&format!("o{number}"), number)).await;
    }
    pump.run_until_quiet().await;
    damage(&pump, "o2", true).await;
    assert!(database.store().parked("payments", "orders", b"o2", 1).await.is_err());
    pump.clock().advance(Duration::from_secs(1));
    until("the others are done", || async { pump.published::<Charged>().await.len() == 5 }).await;
    assert_eq!(plan.numbers("o2"), [2]);
    damage(&pump, "o2", false).await;
    until("it is read again", || async {
        pump.clock().advance(Duration::from_secs(1));
        pump.published::<Charged>().await.len() == 6
    })
    .await;
    let waited = pump.clock().now().since(clock().now());
    // The clock advances while they are read.
    assert!((Duration::from_secs(60)..Duration::from_secs(600)).contains(&waited), "{waited:?}");
    pump.stop().await;
}

#[tokio::test]
async fn a_dead_letter_that_another_process_retries_is_handled_with_the_message_that_it_is_behind() {
    for database in databases().await {
        let (clock, mended) = (clock(), Arc::new(AtomicBool::new(false)));
        let log = Memory::with_clock(clock.clone());
        let plan = || {
            let mended = mended.clone();
            Plan::new(move |placed, _| match (placed.number, mended.load(Ordering::SeqCst)) {
                (0, false) => Step::Dead,
                (1, false) => Step::Retry,
                _ => Step::Done,
            })
        };
        let start = async |plan: &Plan, seed| {
            let payments = service(&database, plan).handlers(handlers![calling]).settings(partitions(1));
            Instance::start(payments, &log, &clock, seed).await
        };
        let plans = [plan(), plan()];
        let [first, second] = [start(&plans[0], 1).await, start(&plans[1], 2).await];
        first.quiet().await;
        second.quiet().await;
        instance::publish(&log, "a", 0).await;
        first.quiet().await;
        let (owner, other, plan) = match plans[0].calls().is_empty() {
            true => (&second, &first, &plans[1]),
            false => (&first, &second, &plans[0]),
        };
        instance::publish(&log, "a", 1).await;
        owner.quiet().await;
        let letters = other.service().dead_letters(0, 9).await.unwrap().0;
        assert!(other.service().retry_dead_letter(&letters[0].id).await.unwrap());
        mended.store(true, Ordering::SeqCst);
        // Much less than the time until the process looks for messages that others have parked.
        clock.advance(Duration::from_secs(1));
        owner.quiet().await;
        assert_eq!(plan.numbers("a"), [0, 1, 1, 0]);
        instance::publish(&log, "a", 2).await;
        owner.quiet().await;
        assert_eq!(plan.numbers("a"), [0, 1, 1, 0, 2]);
        assert!(first.handle.stop().await && second.handle.stop().await);
    }
}

/// Fails once with number 0, and waits for the gate with number 1, without a transaction.
#[handler(retry(max = 3, backoff = "1s..1s"), timeout = "1h")]
async fn parking(
    On(placed): On<Placed>,
    _work: Work,
    meta: Meta,
    State(gate): State<Arc<Semaphore>>,
    State(plan): State<Plan>,
) -> Result<(), Failure> {
    plan.note(&placed, &meta);
    match (placed.number, meta.attempt) {
        (0, 1) => Err(Failure::retry("planned")),
        (1, _) => {
            gate.acquire().await?.forget();
            Ok(())
        }
        _ => Ok(()),
    }
}

async fn publish(log: &Memory, keys: impl IntoIterator<Item = String>, number: u32) -> Vec<i32> {
    let records = keys.into_iter().map(|key| {
        let value = format!(r#"{{"order_id":"{key}","number":{number}}}"#);
        record(Some(key.as_bytes()), Some(value.as_bytes()), &[])
    });
    log.publish(records.collect()).await.into_iter().map(|position| position.unwrap().partition).collect()
}

#[tokio::test]
async fn nothing_parked_of_a_partition_begins_once_another_member_wants_it() {
    for database in databases().await {
        let (clock, faults) = (clock(), Faults::default());
        let (gate, old, new) = (Arc::new(Semaphore::new(0)), Plan::done(), Plan::done());
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let mut settings = Settings::default();
        settings.topic_partitions = 2;
        let member = async |database: &Database, plan: &Plan, seed: u64| {
            let payments = service(database, plan).state(gate.clone()).handlers(handlers![parking]).settings(settings.clone());
            Pump::of([payments]).on(log.clone()).clock(clock.clone()).seed(seed).start().await
        };
        let first = member(&failing(&database, &faults), &old, 1).await;
        // A parked key of each partition …
        let parked = publish(&log, (0..8).map(|number| format!("p{number}")), 0).await;
        assert!(parked.contains(&0) && parked.contains(&1));
        first.run_until_quiet().await;
        // … and a running message of each, so that neither partition can be released.
        let running = publish(&log, (0..8).map(|number| format!("r{number}")), 1).await;
        assert!(running.contains(&0) && running.contains(&1));
        until("all run", || async { old.calls().len() == 16 }).await;
        // The parked messages are due, and are being read …
        faults.set(|fault| fault == Fault::Read);
        clock.advance(Duration::from_secs(1));
        // … when another member joins. It waits for its partition.
        let second = member(&database, &new, 2).await;
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        faults.clear();
        let keys =
            |partition: i32| (0..8).filter(|number| parked[*number] == partition).map(|number| format!("p{number}")).collect();
        let keys: [Vec<String>; 2] = [keys(0), keys(1)];
        // The number of keys of each partition that have been tried again.
        let tried =
            |plan: &Plan| [0, 1].map(|at| keys[at].iter().filter(|key| plan.calls().contains(&((*key).clone(), 0, 2))).count());
        let stays = || async { [0, 1].into_iter().any(|at| tried(&old)[at] == keys[at].len()) };
        advance_until(&clock, "what is parked of the partition that stays is tried", stays).await;
        for _ in 0..1_000 {
            clock.advance(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
        let moved = usize::from(tried(&old)[0] > 0);
        assert_eq!(tried(&old)[moved], 0, "nothing is begun of the partition that another member waits for: {:?}", tried(&old));
        gate.add_permits(8);
        advance_until(&clock, "the other member tries it", || async { tried(&new)[moved] == keys[moved].len() }).await;
        assert_eq!((tried(&old)[moved], tried(&new)[1 - moved]), (0, 0));
        first.stop().await;
        second.stop().await;
    }
}
