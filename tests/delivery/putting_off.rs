//! Putting a message off without counting an attempt is limited in time, from when the service first saw the message, and is
//! reported.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{
    Settings, dead_letter::DeadLetter, handler::Handler, port::transport::Transport, prelude::*, testing::Pump, time::Timestamp,
    transport::memory::Memory,
};

use crate::{
    log_lines::Lines,
    support::{
        store::{Fault, Faults, failing},
        *,
    },
};

const LIMIT: u64 = 2 * 3_600;

async fn started(database: &Database, faults: &Faults, plan: &Plan, handlers: [Handler; 1]) -> Pump {
    limited(LIMIT, database, faults, plan, handlers).await
}

async fn limited(limit: u64, database: &Database, faults: &Faults, plan: &Plan, handlers: [Handler; 1]) -> Pump {
    let mut settings = Settings::default();
    settings.put_off_limit_s = limit;
    Pump::of([service(&failing(database, faults), plan).handlers(handlers).settings(settings)]).clock(clock()).start().await
}

/// Advances the clock by a minute at a time until there is a dead letter; returns how long that took.
async fn given_up(pump: &Pump) -> (DeadLetter, Duration) {
    let began = pump.clock().now();
    for _ in 0..400 {
        pump.advance(Duration::from_secs(60)).await;
        let (mut letters, open) = pump.service("payments").dead_letters(0, 10).await.unwrap();
        if open > 0 {
            return (letters.remove(0), pump.clock().now().since(began));
        }
    }
    panic!("it is put off for ever");
}

#[tokio::test]
async fn what_its_handler_puts_off_for_ever_is_given_up_after_the_limit() {
    for handlers in [handlers![bare], handlers![writing], handlers![calling]] {
        for database in databases().await {
            let plan = Plan::new(|_, _| Step::Later(Duration::from_secs(30)));
            let pump = started(&database, &Faults::default(), &plan, handlers.clone()).await;
            pump.publish(&placed("a", 1)).await;
            pump.run_until_quiet().await;
            let (letter, after) = given_up(&pump).await;
            assert!((Duration::from_secs(LIMIT)..Duration::from_secs(LIMIT + 300)).contains(&after), "{after:?}");
            assert_eq!(letter.attempts, 3, "beyond the limit its attempts count");
            assert!(
                letter.error.contains("since it was first seen; the limit is 7200 s (setting `put_off_limit_s`)"),
                "{}",
                letter.error
            );
            assert!(plan.calls().iter().rev().take(2).all(|(.., attempt)| *attempt > 1));
            pump.stop().await;
        }
    }
}

/// A healthy database that does not commit the effect of a message: the message is put off, also for a handler that calls another
/// system, but not for ever.
#[tokio::test]
async fn what_the_database_never_commits_is_given_up_after_the_limit() {
    for handlers in [handlers![bare], handlers![calling]] {
        for database in databases().await {
            let (faults, plan) = (Faults::default(), Plan::done());
            let pump = limited(300, &database, &faults, &plan, handlers.clone()).await;
            faults.poison("a");
            pump.publish(&placed("a", 1)).await;
            let began = pump.clock().now();
            let parked = || async { database.store().parked_keys("payments").await.unwrap().len() == 1 };
            advance_until(pump.clock(), "it is put off", parked).await;
            let over = || async { pump.service("payments").dead_letters(0, 1).await.unwrap().1 == 1 };
            until("it is given up", || {
                pump.clock().advance(Duration::from_secs(1));
                over()
            })
            .await;
            let after = pump.clock().now().since(began);
            assert!(after >= Duration::from_secs(300), "{after:?}");
            pump.stop().await;
        }
    }
}

/// The time since the first sight continues over a restart, and begins again when an operator retries a dead letter.
#[tokio::test]
async fn first_sight_outlives_a_restart_and_begins_anew_with_a_retry() {
    for database in databases().await {
        let (clock, seen) = (clock(), Arc::new(std::sync::Mutex::new(Vec::<Timestamp>::new())));
        let log = Arc::new(Memory::with_clock(clock.clone()));
        let noted = seen.clone();
        let dead = Arc::new(AtomicBool::new(false));
        let gives_up = dead.clone();
        let plan = Plan::new(move |_, meta| {
            noted.lock().unwrap().push(meta.first_seen);
            if gives_up.load(Ordering::SeqCst) { Step::Dead } else { Step::Later(Duration::from_secs(10)) }
        });
        let open = async || {
            let payments = service(&failing(&database, &Faults::default()), &plan).handlers(handlers![bare]);
            Pump::of([payments]).on(log.clone() as Arc<dyn Transport>).clock(clock.clone()).start().await
        };
        let pump = open().await;
        clock.advance(Duration::from_secs(100));
        let first = clock.now();
        pump.publish(&placed("a", 1)).await;
        pump.run_until_quiet().await;
        pump.advance(Duration::from_secs(10)).await;
        pump.stop().await;
        let pump = open().await;
        pump.advance(Duration::from_secs(10)).await;
        dead.store(true, Ordering::SeqCst);
        pump.advance(Duration::from_secs(10)).await;
        let seen_so_far: Vec<_> = std::mem::take(&mut *seen.lock().unwrap());
        assert!(seen_so_far.len() >= 4, "{seen_so_far:?}");
        assert!(seen_so_far.iter().all(|at| *at == first), "{seen_so_far:?}");
        let (letters, _) = pump.service("payments").dead_letters(0, 1).await.unwrap();
        pump.clock().advance(Duration::from_secs(1_000));
        let given_back = pump.clock().now();
        assert!(pump.service("payments").retry_dead_letter(&letters[0].id).await.unwrap());
        pump.run_until_quiet().await;
        assert_eq!(*seen.lock().unwrap(), [given_back]);
        pump.stop().await;
    }
}

/// It is logged less and less often while it lasts, shown in health and metrics, and no longer shown when it is over.
#[tokio::test]
async fn what_is_put_off_is_told() {
    let (lines, _guard) = Lines::heard(tracing::Level::WARN);
    let over = Arc::new(AtomicBool::new(false));
    let it = over.clone();
    let plan = Plan::new(move |_, _| if it.load(Ordering::SeqCst) { Step::Done } else { Step::Later(Duration::from_secs(5)) });
    let pump = started(&Database::memory(), &Faults::default(), &plan, handlers![bare]).await;
    pump.publish(&placed("a", 1)).await;
    pump.publish(&placed("b", 2)).await;
    pump.run_until_quiet().await;
    let payments = pump.service("payments");
    for _ in 0..12 {
        pump.advance(Duration::from_secs(10)).await;
    }
    let oldest = || metric(payments, "sagas_put_off_oldest_seconds", "");
    until("it is measured", || async { oldest() >= 100.0 }).await;
    assert_eq!(metric(payments, "sagas_conditions", "messages_put_off"), 0.0, "it may pass");
    for _ in 0..60 {
        pump.advance(Duration::from_secs(60)).await;
    }
    until("it is a condition", || async { metric(payments, "sagas_conditions", "messages_put_off") == 1.0 }).await;
    let told = lines.with("a message is put off again and again").len();
    assert_eq!(told, 2 * 3, "each after a minute, ten minutes, and an hour");
    over.store(true, Ordering::SeqCst);
    until("it is over", || {
        pump.clock().advance(Duration::from_secs(1));
        async { oldest() == 0.0 && metric(payments, "sagas_conditions", "messages_put_off") == 0.0 }
    })
    .await;
    assert_eq!(pump.published::<Charged>().await.len(), 2);
    pump.stop().await;
}

/// While the database is down, messages wait: the limit does not give up messages that could not be tried.
#[tokio::test]
async fn an_outage_longer_than_the_limit_gives_nothing_up() {
    for database in databases().await {
        let (faults, plan) = (Faults::default(), Plan::done());
        let pump = started(&database, &faults, &plan, handlers![bare]).await;
        faults.set(|fault| matches!(fault, Fault::Begin | Fault::Check));
        for number in 0..5 {
            pump.publish(&placed(&format!("o{number}"), number)).await;
        }
        for _ in 0..200 {
            pump.clock().advance(Duration::from_secs(60));
            tokio::task::yield_now().await;
        }
        faults.clear();
        settle(&pump, &["payments"]).await;
        assert_eq!(pump.published::<Charged>().await.len(), 5);
        assert_eq!(pump.service("payments").dead_letters(0, 1).await.unwrap().1, 0);
        pump.stop().await;
    }
}

/// Waits for the event that caused its message, at most 10 s.
#[handler]
async fn patient(On(placed): On<Placed>, State(plan): State<Plan>, meta: Meta) -> Result<(), Failure> {
    plan.note(&placed, &meta);
    meta.wait_for_cause(Duration::from_secs(10))?;
    Err(Failure::dead("there is no cause"))
}

#[tokio::test]
async fn a_handler_waits_for_the_cause_of_its_message_as_long_as_it_says() {
    for database in databases().await {
        let plan = Plan::done();
        let pump = started(&database, &Faults::default(), &plan, handlers![patient]).await;
        pump.publish(&placed("a", 1)).await;
        pump.publish(&placed("a", 2)).await;
        pump.run_until_quiet().await;
        let began = pump.clock().now();
        let mut called_after = vec![0];
        while pump.service("payments").dead_letters(0, 1).await.unwrap().1 == 0 {
            let calls = plan.calls().len();
            pump.advance(Duration::from_millis(10)).await;
            let after = pump.clock().now().since(began).as_millis();
            assert!(after < 12_000, "it waits for ever");
            if plan.calls().len() > calls {
                called_after.push(after);
            }
        }
        let waits: Vec<_> = called_after.windows(2).map(|two| two[1] - two[0]).collect();
        assert!((50..=100).contains(&waits[0]), "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= 1_050), "{waits:?}");
        assert!((10..30).contains(&waits.len()), "{waits:?}");
        assert!((10_000..10_100).contains(called_after.last().unwrap()), "{called_after:?}");
        let first = plan.calls().into_iter().filter(|(_, number, _)| *number == 1);
        assert!(first.clone().all(|(.., attempt)| attempt == 1), "no attempt is counted");
        assert_eq!(first.count(), called_after.len(), "the next message of the key waits");
        pump.stop().await;
    }
}
