//! The log removed records before they were read.

use sagas::{health::Status, message::TopicPartition, prelude::*, settings::OnGap, time::Clock, transport::memory::Memory};

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Faults, failing},
    *,
};

async fn start(database: &Database, plan: &Plan, log: &Memory, clock: &Clock, on_gap: OnGap) -> Instance {
    let mut settings = partitions(1);
    settings.on_gap = on_gap;
    Instance::start(service(database, plan).handlers(handlers![bare]).settings(settings), log, clock, 1).await
}

/// Starts a service, which reads the first five records of a topic and stops.
async fn five_read() -> (Database, Plan, Memory, Clock) {
    let (database, plan, clock) = (failing(&Database::memory(), &Faults::default()), Plan::done(), clock());
    let log = Memory::with_clock(clock.clone());
    let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
    for number in 0..5 {
        publish(&log, "a", number).await;
    }
    member.quiet().await;
    assert!(member.handle.stop().await);
    (database, plan, log, clock)
}

/// Returns why the service is not ready.
async fn complaint(member: &Instance) -> Option<String> {
    let ready = member.service().health().ready().await;
    assert_eq!(ready.status == Status::Up, ready.checks["consumer"].detail.is_none());
    ready.checks["consumer"].detail.clone()
}

#[tokio::test]
async fn removed_records_stop_the_partition_until_it_may_go_on_from_the_oldest() {
    let (database, plan, log, clock) = five_read().await;
    for number in 5..15 {
        publish(&log, "a", number).await;
    }
    log.forget_before(&TopicPartition::new("orders", 0), 8);

    let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
    until("it says so", || async { complaint(&member).await.is_some() }).await;
    let text = complaint(&member).await.unwrap();
    assert!(text.contains("orders-0: records 5 to 7 were removed") && text.contains("on_gap"), "{text}");
    assert!(metric(member.service(), "sagas_partitions_with_missing_records", "") == 1.0);
    publish(&log, "a", 15).await;
    clock.advance(std::time::Duration::from_secs(60));
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(plan.calls().len(), 5, "nothing is read");
    assert!(member.handle.stop().await);

    let member = start(&database, &plan, &log, &clock, OnGap::Oldest).await;
    member.quiet().await;
    assert_eq!(plan.numbers("a"), (0..5).chain(8..16).collect::<Vec<_>>());
    assert_eq!(complaint(&member).await, None);
    assert!(metric(member.service(), "sagas_missing_records_skipped_total", "") == 3.0);
    assert!(metric(member.service(), "sagas_partitions_with_missing_records", "") == 0.0);
    assert!(member.handle.stop().await);
}

#[tokio::test]
async fn a_topic_made_anew_stops_the_partition_until_it_may_be_read_from_its_beginning() {
    let (database, plan, _, clock) = five_read().await;
    let log = Memory::with_clock(clock.clone());
    let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
    for number in 100..102 {
        publish(&log, "a", number).await;
    }
    until("it says so", || async { complaint(&member).await.is_some() }).await;
    let text = complaint(&member).await.unwrap();
    assert!(
        text.contains("orders-0: the topic was deleted and created again") && text.contains("record 5 of the former topic"),
        "{text}"
    );
    assert_eq!(plan.calls().len(), 5, "nothing is read");
    assert!(member.handle.stop().await);

    let member = start(&database, &plan, &log, &clock, OnGap::Oldest).await;
    until("it is read from its beginning", || async { plan.calls().len() == 7 }).await;
    assert!(member.handle.stop().await);
    // The database has the new offsets: as many records as it had before are not skipped.
    for number in 102..108 {
        publish(&log, "a", number).await;
    }
    let member = start(&database, &plan, &log, &clock, OnGap::Stop).await;
    member.quiet().await;
    assert_eq!(plan.numbers("a"), (0..5).chain(100..108).collect::<Vec<_>>());
    assert_eq!(complaint(&member).await, None);
    assert!(member.handle.stop().await);
}

/// Records read before the gap are finished first, and none of them is lost by continuing behind the gap.
#[tokio::test]
async fn records_that_go_while_others_are_read_are_passed_over_only_afterwards() {
    let (database, clock) = (failing(&Database::memory(), &Faults::default()), clock());
    let log = Memory::with_clock(clock.clone());
    let plan = Plan::new(|placed, meta| if placed.number < 2 && meta.attempt == 1 { Step::Retry } else { Step::Done });
    let member = start(&database, &plan, &log, &clock, OnGap::Oldest).await;
    for number in 0..3 {
        publish(&log, &format!("o{number}"), number).await;
    }
    member.quiet().await;
    member.log.freeze();
    for number in 3..9 {
        publish(&log, &format!("o{number}"), number).await;
    }
    log.forget_before(&TopicPartition::new("orders", 0), 7);
    member.log.thaw();
    member.quiet().await;
    clock.advance(std::time::Duration::from_secs(2));
    member.quiet().await;
    let mut numbers: Vec<_> = plan.calls().into_iter().map(|(_, number, _)| number).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [0, 0, 1, 1, 2, 7, 8]);
    assert!(metric(member.service(), "sagas_missing_records_skipped_total", "") == 4.0);
    assert!(member.handle.stop().await);
}
