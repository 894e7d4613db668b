//! Offsets that are not records: transaction markers, and offsets behind an open transaction.

use std::time::Duration;

use sagas::{
    health::Status,
    message::TopicPartition,
    port::transport::Transport,
    prelude::*,
    replay::{ReplayPoint, ReplayRequest, ReplayState},
    settings::OnGap,
    testing::faulty::Faults as LogFaults,
    time::Clock,
    transport::memory::Memory,
};

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Faults, failing},
    *,
};

fn orders() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

async fn start(database: &Database, plan: &Plan, log: &Memory, clock: &Clock, on_gap: OnGap) -> Instance {
    let mut settings = partitions(1);
    (settings.on_gap, settings.stall_warning_s) = (on_gap, 10);
    Instance::start(service(database, plan).handlers(handlers![bare]).settings(settings), log, clock, 1).await
}

/// Returns how many readable records are not done according to health, and how many offsets wait behind open transactions.
async fn lag(member: &Instance) -> (i64, i64) {
    let report = member.service().health().report().await;
    let number = |name: &str| report.checks["lag"].values[name].as_i64().unwrap();
    (number("records"), number("behindOpenTransactions"))
}

/// Publishes a record of a type that the service does not handle.
async fn foreign(log: &Memory) {
    log.publish(vec![record(Some(b"a"), Some(b"{}"), &[("ce_id", "x"), ("ce_source", "else"), ("ce_type", "Else")])]).await;
}

#[tokio::test]
async fn the_end_of_a_transaction_counts_in_no_lag_and_is_no_missing_record() {
    for handled in [true, false] {
        let (database, plan, clock) = (failing(&Database::memory(), &Faults::default()), Plan::done(), clock());
        let log = Memory::with_clock(clock.clone());
        let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
        if handled {
            publish(&log, "a", 0).await;
        } else {
            foreign(&log).await;
        }
        log.end_transaction(&orders());
        until("all is committed", async || lag(&member).await == (0, 0)).await;
        for _ in 0..60 {
            clock.advance(Duration::from_secs(1));
            tokio::task::yield_now().await;
        }
        let report = member.service().health().report().await;
        assert!(report.checks["conditions"].status == Status::Up, "nothing stands still: {report:?}");
        assert!(member.handle.stop().await);

        // All records are removed, with the transaction marker: there is no gap.
        log.forget_before(&orders(), 2);
        let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
        publish(&log, "a", 7).await;
        until("it goes on", async || plan.numbers("a").last() == Some(&7)).await;
        assert_eq!(member.service().health().ready().await.status, Status::Up);
        assert!(member.handle.stop().await);
    }
}

#[tokio::test]
async fn what_waits_behind_an_open_transaction_is_shown_apart() {
    let (database, plan, clock) = (Database::memory(), Plan::done(), clock());
    let log = Memory::with_clock(clock.clone());
    let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
    publish(&log, "a", 0).await;
    member.quiet().await;
    log.begin_transaction(&orders());
    for number in 1..4 {
        publish(&log, "a", number).await;
    }
    advance_until(&clock, "the metric shows it", async || {
        metric(member.service(), "sagas_records_behind_open_transactions", "topic=\"orders\"") == 3.0
    })
    .await;
    until("health shows it", async || lag(&member).await == (0, 3)).await;
    assert_eq!(plan.numbers("a"), [0]);
    assert!(metric(member.service(), "sagas_group_lag_records", "topic=\"orders\"") == 0.0);
    log.end_transaction(&orders());
    until("they are read", async || lag(&member).await == (0, 0)).await;
    assert_eq!(plan.numbers("a"), [0, 1, 2, 3]);
    advance_until(&clock, "the metric shows it", async || {
        metric(member.service(), "sagas_records_behind_open_transactions", "") == 0.0
    })
    .await;
    assert!(member.handle.stop().await);
}

/// Whatever faults the log has, and wherever a process ends, no record is skipped together with the offsets around it.
#[tokio::test]
async fn no_record_is_passed_with_what_is_none() {
    for seed in 0..12 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (clock, draws) = (clock(), std::sync::Mutex::new(rng.fork()));
        let log = Memory::with_clock(clock.clone());
        let plan = Plan::new(move |_, meta| match draws.lock().unwrap().u8(0..10) {
            0 if meta.attempt < 3 => Step::Retry,
            _ => Step::Done,
        });
        let database = failing(&Database::memory(), &Faults::default());
        let mut member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
        for number in 0..60 {
            member.log.set(LogFaults { delay: 0.4, duplicate: 0.3, fail_commit: 0.2, fail_next: 0.1, ..LogFaults::default() });
            publish(&log, &format!("o{}", number % 7), number).await;
            for _ in 0..rng.u8(0..4) {
                match rng.bool() {
                    true => log.end_transaction(&orders()),
                    false => log.begin_transaction(&orders()),
                }
            }
            clock.advance(Duration::from_millis(rng.u64(0..400)));
            for _ in 0..rng.u8(0..40) {
                tokio::task::yield_now().await;
            }
            if rng.u8(0..10) == 0 {
                drop(member);
                member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
            }
        }
        log.end_transaction(&orders());
        let topics = ["orders".to_owned()];
        advance_until(&clock, "all is committed", async || {
            let lags = log.lag("payments", &topics).await.unwrap();
            let parked = database.store().parked_keys("payments").await.unwrap();
            parked.is_empty() && lags.iter().all(|lag| (lag.committed, lag.blocked) == (lag.end, 0))
        })
        .await;
        for order in 0..7 {
            let mut numbers = plan.numbers(&format!("o{order}"));
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers, (0..60).filter(|number| number % 7 == order).collect::<Vec<_>>(), "seed {seed}");
        }
        assert!(member.handle.stop().await);
    }
}

#[tokio::test]
async fn a_range_that_ends_in_what_is_no_record_is_over_at_once() {
    let (database, plan, clock) = (Database::memory(), Plan::done(), clock());
    let log = Memory::with_clock(clock.clone());
    let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
    for number in 0..3 {
        publish(&log, "a", number).await;
    }
    log.end_transaction(&orders());
    log.end_transaction(&orders());
    until("all is committed", async || lag(&member).await == (0, 0)).await;
    let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(1));
    request.again = true;
    member.service().replay(&request).await.unwrap();
    // The clock stands still: nothing waits for time to pass.
    until("it is over", async || member.service().replays(true, 1).await.unwrap().is_empty()).await;
    let replay = member.service().replays(false, 1).await.unwrap().remove(0);
    assert_eq!((replay.state, replay.applied, replay.detail), (ReplayState::Done, Some(5), None));
    assert_eq!(plan.numbers("a"), [0, 1, 2, 1, 2]);
    publish(&log, "a", 3).await;
    until("it goes on", async || plan.numbers("a").last() == Some(&3)).await;
    assert!(member.handle.stop().await);
}
