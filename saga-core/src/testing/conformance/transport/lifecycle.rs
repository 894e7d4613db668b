//! Pausing, waiting, dropping and closing.

use std::{sync::Arc, time::Duration};

use futures_util::{FutureExt, poll};

use super::bench::{Bench, numbers, sorted, within};
use crate::transport::{Transport, TransportError};

/// Checks that a paused partition continues where it stopped.
pub async fn a_paused_partition_loses_nothing(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    let mut reader = bench.reader("g").await;
    reader.hold(1).await;
    bench.publish_numbers(0..10).await;
    let first = reader.read(10).await;
    reader.subscription.pause(&[bench.partition(0)]);
    bench.publish_numbers(10..20).await;
    // Nothing must arrive now. The numbers below show that it does not arrive later either.
    let early = tokio::time::timeout(Duration::from_millis(50), reader.subscription.next()).await;
    assert!(early.is_err(), "{early:?} of a paused partition");
    reader.subscription.resume(&[bench.partition(0)]);
    let second = reader.read(10).await;
    assert_eq!(numbers(&[first, second].concat()), (0..20).collect::<Vec<_>>());
}

/// Checks that a paused partition does not stop the delivery of other partitions.
pub async fn a_paused_partition_does_not_hold_up_others(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    let mut reader = bench.reader("g").await;
    reader.hold(2).await;
    reader.subscription.pause(&[bench.partition(0)]);
    let positions = bench.publish_numbers(0..100).await;
    let open = positions.iter().filter(|position| position.partition == 1).count();
    let read = reader.read(open).await;
    assert!(read.iter().all(|received| received.partition == 1));
    reader.subscription.resume(&[bench.partition(0)]);
    let rest = reader.read(100 - open).await;
    assert_eq!(sorted(&[read, rest].concat()), (0..100).collect::<Vec<_>>());
}

/// Checks that a waiting reader gets what is published meanwhile.
pub async fn a_waiting_reader_is_woken(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    let mut reader = bench.reader("g").await;
    reader.hold(1).await;
    let mut next = reader.subscription.next();
    assert!(poll!(&mut next).is_pending(), "there is nothing to read yet");
    bench.publish_numbers(0..1).await;
    within("waking the reader", next).await.expect("the log can be read");
}

/// Checks that no delivery is lost when a call of `next` is dropped.
pub async fn next_can_be_dropped(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    let mut reader = bench.reader("g").await;
    let publish = async {
        for at in 0..20 {
            bench.publish_numbers(at * 10..(at + 1) * 10).await;
        }
    };
    let mut read = Vec::new();
    let take = async {
        within("reading with interruptions", async {
            while read.len() < 200 {
                // Polls once and drops the future, before it waits for a second one.
                if reader.turn().now_or_never().is_none() {
                    reader.turn().await;
                }
                read.extend(reader.take());
            }
        })
        .await;
    };
    tokio::join!(publish, take);
    assert_eq!(sorted(&read), (0..200).collect::<Vec<_>>());
}

/// Checks that a reader makes progress even if it is interrupted whenever it would wait, because its caller has other work.
pub async fn a_reader_that_is_interrupted_without_end_gets_on(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    for at in 0..3 {
        bench.publish_numbers(at * 400..(at + 1) * 400).await;
    }
    let mut reader = bench.reader("g").await;
    let mut read = Vec::new();
    within("reading with nothing but interruptions", async {
        while read.len() < 1_200 {
            if reader.turn().now_or_never().is_none() {
                tokio::task::yield_now().await;
            }
            read.extend(reader.take());
        }
    })
    .await;
    assert_eq!(sorted(&read), (0..1_200).collect::<Vec<_>>());
}

/// Checks that the identity of a topic does not change and differs between topics. A topic that does not exist has none, and a log may have
/// no identities at all.
pub async fn a_topic_keeps_its_identity(log: Arc<dyn Transport>) {
    let (first, second) = (Bench::new(Arc::clone(&log), 1).await, Bench::new(Arc::clone(&log), 2).await);
    let topics = [first.topic.clone(), format!("{}-nowhere", first.topic), second.topic.clone()];
    let asked = async || {
        let mut known = within("asking which logs topics are", log.identities(&topics)).await.expect("it is known");
        known.sort_by(|one, other| one.topic.cmp(&other.topic));
        known
    };
    let known = asked().await;
    if known.is_empty() {
        return;
    }
    let mut names = [first.topic.clone(), second.topic.clone()];
    names.sort_unstable();
    assert_eq!(known.iter().map(|known| known.topic.clone()).collect::<Vec<_>>(), names);
    assert!(known.iter().all(|known| known.log.as_ref().is_ok_and(|log| !log.is_empty())), "{known:?}");
    assert_ne!(known[0].log, known[1].log);
    first.publish_numbers(0..3).await;
    assert_eq!(asked().await, known);
    assert_eq!(within("asking nothing", log.identities(&[])).await.expect("nothing"), []);
}

/// Checks that a working log passes its own check.
pub async fn a_log_that_works_says_so(log: Arc<dyn Transport>) {
    within("checking the log", log.check()).await.expect("the log works");
}

/// Checks that a closed log stores and delivers nothing, and that closing it again is harmless.
pub async fn a_closed_log_does_nothing(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    let mut reader = bench.reader("g").await;
    reader.hold(1).await;
    let waiting = async {
        let ended = within("the waiting reader ending", reader.subscription.next()).await;
        assert!(matches!(ended, Err(TransportError::Closed)), "{ended:?}");
    };
    tokio::join!(waiting, within("closing", bench.log.close()));
    within("closing again", bench.log.close()).await;

    let closed = |error: Option<TransportError>| matches!(error, Some(TransportError::Closed));
    let answers = within("publishing", bench.log.publish(vec![bench.record("key", 1)])).await;
    assert!(closed(answers.into_iter().next().and_then(Result::err)));
    let topics = [bench.topic.clone()];
    assert!(closed(within("subscribing", bench.log.subscribe(&bench.group("h"), &topics)).await.err()));
    assert!(closed(within("committing", reader.subscription.commit(vec![(bench.partition(0), 0)])).await.err()));
    assert!(closed(within("checking", bench.log.check()).await.err()));
    assert!(closed(within("asking for the lag", bench.log.lag(&bench.group("g"), &topics)).await.err()));
    within("leaving the group", reader.subscription.close()).await;
}
