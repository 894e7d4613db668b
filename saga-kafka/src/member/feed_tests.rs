//! Tests of the connection between the poll thread and the runtime.

use std::sync::Arc;

use bytes::Bytes;
use saga_core::{
    message::{Received, Record, TopicPartition},
    time::LogTime,
    transport::{Delivery, TransportError},
};
use tokio::sync::oneshot;

use super::*;

fn partition() -> TopicPartition {
    TopicPartition::new("orders", 0)
}

fn batch(run: u64, offsets: std::ops::Range<i64>, size: usize) -> Batch {
    let record = Arc::new(Record {
        topic: "orders".into(),
        key: None,
        value: Some(Bytes::from(vec![0; size])),
        headers: vec![],
        timestamp: LogTime::from_millis(0),
    });
    let records = offsets.map(|offset| Received { record: Arc::clone(&record), partition: 0, offset }).collect();
    Batch { partition: partition(), run, records }
}

fn next(feed: &Feed) -> Option<Result<Delivery, TransportError>> {
    feed.take()
}

/// The number of records in the next delivery.
fn delivered(feed: &Feed) -> usize {
    match next(feed) {
        Some(Ok(Delivery::Records { records, .. })) => records.len(),
        None => 0,
        other => panic!("{other:?}"),
    }
}

/// A feed with a partition that is assigned and started, in its first run.
fn reading() -> Feed {
    let feed = Feed::new(Arc::default());
    feed.assigned(&[partition()]);
    assert!(matches!(next(&feed), Some(Ok(Delivery::Assigned(_)))));
    feed.start(&[(partition(), Some(0))]);
    assert_eq!(feed.commands().start.len(), 1);
    feed
}

#[test]
fn a_partition_is_full_at_so_many_records_or_bytes_and_has_room_at_half() {
    for (records, size) in [(i64::try_from(RECORDS).expect("a count"), 1), (4, BYTES / 4)] {
        let feed = reading();
        assert_eq!(feed.take_in([batch(1, 0..records - 1, size)]), []);
        assert_eq!(feed.take_in([batch(1, records - 1..records, size)]), [partition()]);
        assert_eq!(feed.take_in([batch(1, records..records + 1, size)]), [], "that is said once");
        let mut left = usize::try_from(records).expect("a count") + 1;
        while feed.commands().room.is_empty() {
            assert!(left > 0, "it has room in the end");
            left -= delivered(&feed);
        }
        assert!(left <= RECORDS / 2 && left * size <= BYTES / 2, "{left} records are left");
    }
}

#[test]
fn nothing_of_a_run_that_is_over_is_delivered() {
    let feed = reading();
    feed.take_in([batch(1, 0..10, 1)]);
    feed.start(&[(partition(), Some(100))]);
    assert_eq!(delivered(&feed), 0, "what waited is gone");
    feed.take_in([batch(1, 10..20, 1)]);
    assert_eq!(delivered(&feed), 0, "what was under way is not taken");
    feed.take_in([batch(2, 100..103, 1)]);
    assert_eq!(delivered(&feed), 3);
}

#[test]
fn a_paused_partition_keeps_its_records() {
    let feed = reading();
    feed.take_in([batch(1, 0..10, 1)]);
    feed.pause(&[partition()]);
    feed.take_in([batch(1, 10..20, 1)]);
    assert_eq!(delivered(&feed), 0);
    feed.resume(&[partition()]);
    assert_eq!(delivered(&feed), 20);
}

#[test]
fn a_revoked_partition_gives_nothing_and_can_be_committed_until_it_is_gone() {
    let feed = reading();
    feed.take_in([batch(1, 0..10, 1)]);
    feed.revoked(vec![partition()]);
    feed.take_in([batch(1, 10..20, 1)]);
    assert!(matches!(next(&feed), Some(Ok(Delivery::Revoked(_)))));
    assert_eq!(delivered(&feed), 0);
    feed.commit(vec![(partition(), 5)], oneshot::channel().0);
    feed.release(&[partition()]);
    let orders = feed.commands();
    assert_eq!((orders.commits[0].offsets.len(), orders.released.len()), (1, 1));
    feed.gone(&[partition()]);
    feed.commit(vec![(partition(), 5)], oneshot::channel().0);
    assert_eq!(feed.commands().commits[0].offsets, [], "it is passed over");
}

#[test]
fn orders_for_an_assignment_that_was_lost_do_not_concern_the_next_one() {
    let feed = reading();
    feed.lost(vec![partition()]);
    feed.assigned(&[partition()]);
    // The reader knows of neither assignment.
    feed.start(&[(partition(), Some(7))]);
    feed.commit(vec![(partition(), 7)], oneshot::channel().0);
    let orders = feed.commands();
    assert!(orders.start.is_empty() && orders.commits[0].offsets.is_empty());
    assert!(matches!(next(&feed), Some(Ok(Delivery::Lost(_)))));
    assert!(matches!(next(&feed), Some(Ok(Delivery::Assigned(_)))));
    feed.start(&[(partition(), Some(7))]);
    assert_eq!(feed.commands().start[&partition()].generation, 2);
}

#[test]
fn a_problem_is_told_once_after_what_there_is_and_not_when_it_is_over() {
    let feed = reading();
    feed.take_in([batch(1, 0..1, 1)]);
    feed.problem(TransportError::Unavailable("no broker".into()));
    assert_eq!(delivered(&feed), 1);
    assert!(matches!(next(&feed), Some(Err(TransportError::Unavailable(_)))));
    assert!(next(&feed).is_none());
    feed.problem(TransportError::Unavailable("no broker".into()));
    feed.take_in([batch(1, 1..2, 1)]);
    assert_eq!(delivered(&feed), 1);
    assert!(next(&feed).is_none());
}

#[test]
fn a_closed_feed_ends_everything() {
    let feed = reading();
    feed.take_in([batch(1, 0..1, 1)]);
    feed.close();
    assert!(matches!(next(&feed), Some(Err(TransportError::Closed))));
    let (done, mut answer) = oneshot::channel();
    feed.commit(vec![(partition(), 1)], done);
    assert!(matches!(answer.try_recv(), Ok(Err(TransportError::Closed))));
    assert!(feed.commands().close && feed.commands().close, "the thread hears of it however often it asks");
}

/// The offset up to which all is reported as passed.
fn passed(feed: &Feed) -> Option<i64> {
    match next(feed) {
        Some(Ok(Delivery::Passed { next, .. })) => Some(next),
        None => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_passed_is_told_behind_the_records_before_it() {
    let feed = reading();
    feed.take_in([batch(1, 0..3, 1)]);
    feed.passed(&partition(), 1, 5);
    assert_eq!((delivered(&feed), passed(&feed), passed(&feed)), (3, Some(5), None));
    // The last offset counts; a record beyond it makes it obsolete.
    feed.passed(&partition(), 1, 6);
    feed.passed(&partition(), 1, 7);
    assert_eq!((passed(&feed), passed(&feed)), (Some(7), None));
    feed.passed(&partition(), 1, 8);
    feed.take_in([batch(1, 9..10, 1)]);
    assert_eq!((delivered(&feed), passed(&feed)), (1, None));
    // Like records, it waits while the reader has paused the partition, and a start drops it.
    feed.pause(&[partition()]);
    feed.passed(&partition(), 1, 12);
    assert_eq!(passed(&feed), None);
    feed.resume(&[partition()]);
    assert_eq!(passed(&feed), Some(12));
    feed.passed(&partition(), 1, 13);
    feed.start(&[(partition(), Some(2))]);
    feed.passed(&partition(), 1, 14);
    assert_eq!(passed(&feed), None, "of a run before");
    feed.passed(&partition(), 2, 4);
    assert_eq!(passed(&feed), Some(4));
}
