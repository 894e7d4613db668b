use std::{sync::Arc, time::Duration};

use super::{Faults, Faulty};
use crate::{
    testing::conformance::transport::{
        self as conformance,
        bench::{Bench, numbers, within},
    },
    time::{Clock, Timestamp},
    transport::{Transport, memory::Memory},
};

fn faulty(faults: Faults, clock: Clock) -> Arc<Faulty> {
    Arc::new(Faulty::new(Arc::new(Memory::new()), faults, 1, clock))
}

async fn bench(faults: Faults, clock: Clock) -> (Arc<Faulty>, Bench) {
    let log = faulty(faults, clock);
    let bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 1).await;
    (log, bench)
}

#[tokio::test]
async fn without_faults_it_conforms() {
    conformance::all(async || faulty(Faults::default(), Clock::system()) as Arc<dyn Transport>).await;
}

#[tokio::test]
async fn a_late_log_conforms_too() {
    let faults = Faults { delay: 0.5, delay_for: Duration::from_millis(3), ..Faults::default() };
    conformance::all(async || faulty(faults.clone(), Clock::system()) as Arc<dyn Transport>).await;
}

#[tokio::test]
async fn everything_comes_twice_the_second_time_behind_others() {
    let faults = Faults { duplicate: 1.0, duplicate_behind: 2, ..Faults::default() };
    let (log, bench) = bench(faults, Clock::system()).await;
    let mut reader = bench.reader("g").await;
    reader.hold(1).await;
    let mut read = Vec::new();
    for number in 0..4 {
        bench.publish_numbers(number..number + 1).await;
        within("a delivery", reader.turn()).await;
        read.extend(numbers(&reader.take()));
    }
    // 2 would be next, but the repetition of 0 is due.
    assert_eq!(read, [0, 1, 2, 0]);
    assert_eq!(log.held_back(), 2);
    assert_eq!(numbers(&reader.read(4).await), [3, 1, 2, 3]);
    assert_eq!(log.held_back(), 0);
}

#[tokio::test]
async fn the_second_time_waits_for_its_time() {
    let clock = Clock::manual(Timestamp::from_millis(0));
    let faults = Faults { duplicate: 1.0, duplicate_after: Duration::from_secs(60), ..Faults::default() };
    let (_, bench) = bench(faults, clock.clone()).await;
    bench.publish_numbers(0..1).await;
    let mut reader = bench.reader("g").await;
    assert_eq!(numbers(&reader.read(1).await), [0]);
    let mut again = Box::pin(reader.read(1));
    assert!(futures_util::poll!(&mut again).is_pending(), "it is not time yet");
    clock.advance(Duration::from_secs(60));
    assert_eq!(numbers(&again.await), [0]);
}

#[tokio::test]
async fn what_is_held_back_keeps_its_place_in_the_partition() {
    let clock = Clock::manual(Timestamp::from_millis(0));
    let faults = Faults { delay: 1.0, delay_for: Duration::from_secs(60), ..Faults::default() };
    let (log, bench) = bench(faults, clock.clone()).await;
    let mut reader = bench.reader("g").await;
    reader.hold(1).await;
    bench.publish_numbers(0..1).await;
    let mut first = Box::pin(reader.read(2));
    assert!(futures_util::poll!(&mut first).is_pending(), "it is held back");
    log.set(Faults::default());
    bench.publish_numbers(1..2).await;
    assert!(futures_util::poll!(&mut first).is_pending(), "what follows waits behind it");
    clock.advance(Duration::from_secs(60));
    assert_eq!(numbers(&first.await), [0, 1]);
}

#[tokio::test]
async fn what_is_held_back_goes_with_its_partition() {
    let faults = Faults { duplicate: 1.0, duplicate_behind: 100, ..Faults::default() };
    let (log, bench) = bench(faults, Clock::system()).await;
    bench.publish_numbers(0..1).await;
    let mut reader = bench.reader("g").await;
    reader.read(1).await;
    assert_eq!(log.held_back(), 1);
    drop(reader);
    assert_eq!(log.held_back(), 0);
}

#[tokio::test]
async fn a_frozen_member_hears_what_it_has_missed_afterwards() {
    let (log, bench) = bench(Faults::default(), Clock::system()).await;
    let mut reader = bench.reader("g").await;
    reader.hold(1).await;
    let mut waiting = Box::pin(reader.read(3));
    assert!(futures_util::poll!(&mut waiting).is_pending(), "there is nothing yet");
    log.freeze();
    bench.publish_numbers(0..3).await;
    assert!(futures_util::poll!(&mut waiting).is_pending(), "it hears nothing");
    log.thaw();
    assert_eq!(numbers(&waiting.await), [0, 1, 2]);
}

async fn published(faults: Faults) -> (Vec<bool>, Vec<usize>) {
    let (log, bench) = bench(faults, Clock::system()).await;
    let records = (0..10).map(|number| bench.record("key", number)).collect();
    let answers = log.publish(records).await.iter().map(Result::is_ok).collect();
    let stored = usize::try_from(bench.lag("g").await).expect("a count");
    (answers, numbers(&bench.reader("g").await.read(stored).await))
}

#[tokio::test]
async fn a_failed_publish_stores_nothing() {
    let (answers, stored) = published(Faults { fail_publish: 1.0, ..Faults::default() }).await;
    assert_eq!((answers, stored), (vec![false; 10], vec![]));
}

#[tokio::test]
async fn a_lost_answer_hides_what_was_stored() {
    let (answers, stored) = published(Faults { lose_answer: 1.0, ..Faults::default() }).await;
    assert_eq!((answers, stored), (vec![false; 10], (0..10).collect()));
}

#[tokio::test]
async fn a_cut_publish_stores_a_prefix() {
    let (answers, stored) = published(Faults { cut_publish: 1.0, ..Faults::default() }).await;
    let count = stored.len();
    assert!(count < 10);
    assert_eq!(stored, (0..count).collect::<Vec<_>>());
    assert_eq!(answers, (0..10).map(|number| number < count).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_failed_commit_stores_nothing() {
    let (_, bench) = bench(Faults { fail_commit: 1.0, ..Faults::default() }, Clock::system()).await;
    bench.publish_numbers(0..3).await;
    let mut reader = bench.reader("g").await;
    reader.read(3).await;
    assert!(reader.subscription.commit(vec![(bench.partition(0), 3)]).await.is_err());
    assert_eq!(bench.lag("g").await, 3);
}
