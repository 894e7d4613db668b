//! The distribution of partitions among groups and their members.

use std::{collections::BTreeSet, sync::Arc};

use super::bench::{Bench, Reader, sorted, within};
use crate::transport::{Delivery, Transport};

/// Checks that every group reads every record once, whatever other groups read.
pub async fn every_group_reads_every_record_once(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 3).await;
    bench.publish_numbers(0..50).await;
    let (mut one, mut other) = (bench.reader("one").await, bench.reader("other").await);
    let all: Vec<usize> = (0..100).collect();
    let first = (one.read(50).await, other.read(50).await);
    bench.publish_numbers(50..100).await;
    let second = (one.read(50).await, other.read(50).await);
    assert_eq!(sorted(&[first.0, second.0].concat()), all);
    assert_eq!(sorted(&[first.1, second.1].concat()), all);
}

/// Checks that a member reads all topics it subscribed to, and that its group commits in each of them.
pub async fn a_group_reads_several_topics(log: Arc<dyn Transport>) {
    let (one, other) = (Bench::new(Arc::clone(&log), 2).await, Bench::new(Arc::clone(&log), 3).await);
    one.publish_numbers(0..30).await;
    other.publish_numbers(30..70).await;
    let mut reader = one.reader_of("g", &[&one.topic, &other.topic]).await;
    let read = reader.read(70).await;
    assert_eq!(sorted(&read), (0..70).collect::<Vec<_>>());
    assert_eq!(reader.held.len(), 5);
    let (first, _): (Vec<_>, Vec<_>) = read.into_iter().partition(|received| received.record.topic == one.topic);
    reader.commit(&first).await;
    assert_eq!(one.lag("g").await, 0);
    reader.close().await;
    let mut reader = one.reader_of("g", &[&one.topic, &other.topic]).await;
    assert_eq!(sorted(&reader.read(40).await), (30..70).collect::<Vec<_>>());
}

/// Takes deliveries of both readers until each has `each` partitions.
async fn share(one: &mut Reader, other: &mut Reader, each: usize) {
    within("sharing the partitions", async {
        while one.held.len() != each || other.held.len() != each {
            tokio::select! {
                () = one.turn() => {}
                () = other.turn() => {}
            }
        }
    })
    .await;
    assert!(one.held.is_disjoint(&other.held), "no partition is held by two");
}

/// Checks that the members of a group read different partitions, and together every record once.
pub async fn members_share_a_group(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 4).await;
    let (mut one, mut other) = (bench.reader("g").await, bench.reader("g").await);
    share(&mut one, &mut other, 2).await;
    bench.publish_numbers(0..200).await;
    let mut read = Vec::new();
    within("reading in two members", async {
        while read.len() < 200 {
            tokio::select! {
                () = one.turn() => read.extend(one.take()),
                () = other.turn() => read.extend(other.take()),
            }
        }
    })
    .await;
    assert_eq!(sorted(&read), (0..200).collect::<Vec<_>>());
}

/// Checks that a partition that moves is delivered to its new reader only after the previous one has released it, from the committed offset
/// on.
pub async fn a_partition_moves_when_it_is_released(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    let mut old = bench.reader("g").await;
    old.hold(2).await;
    bench.publish_numbers(0..40).await;
    let read = old.read(40).await;

    let mut new = bench.reader("g").await;
    let revoked = within("a revocation", async {
        loop {
            tokio::select! {
                delivery = old.next() => if let Delivery::Revoked(partitions) = delivery.expect("the log can be read") {
                    break partitions;
                },
                () = new.turn() => assert!(new.held.is_empty(), "{:?} before anything was released", new.held),
            }
        }
    })
    .await;
    assert_eq!(revoked.len(), 1, "only what moves is revoked");
    bench.publish_numbers(40..80).await;

    // A revoked partition can be committed until it is released.
    let done: Vec<_> = read.iter().filter(|received| received.partition == revoked[0].partition).cloned().collect();
    old.commit(&done).await;
    old.subscription.release(&revoked);
    let mut moved = Vec::new();
    within("the partition moving", async {
        while moved.is_empty() {
            tokio::select! {
                () = new.turn() => moved.extend(new.take()),
                () = old.turn() => {}
            }
        }
    })
    .await;
    assert_eq!(new.held, BTreeSet::from([revoked[0].clone()]));
    let next = done.last().map_or(0, |received| received.offset + 1);
    assert_eq!(moved[0].offset, next, "the new member goes on where the old one committed");
}

/// Checks that the other members read the partitions of a dropped member, from its committed offsets on.
pub async fn others_take_over_from_a_dropped_member(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 4).await;
    let (mut one, mut other) = (bench.reader("g").await, bench.reader("g").await);
    share(&mut one, &mut other, 2).await;
    drop(one);
    other.hold(4).await;
    bench.publish_numbers(0..40).await;
    assert_eq!(sorted(&other.read(40).await), (0..40).collect::<Vec<_>>());
}

/// Checks that the other members read the partitions of a closed member.
pub async fn others_take_over_from_a_closed_member(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 4).await;
    let (mut one, mut other) = (bench.reader("g").await, bench.reader("g").await);
    share(&mut one, &mut other, 2).await;
    one.close().await;
    other.hold(4).await;
    bench.publish_numbers(0..40).await;
    assert_eq!(sorted(&other.read(40).await), (0..40).collect::<Vec<_>>());
}
