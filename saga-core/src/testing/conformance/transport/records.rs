//! Records are read as they were published.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;

use super::bench::{Bench, numbers, sorted, within};
use crate::{
    message::Header,
    time::LogTime,
    transport::{TopicPartition, TopicSpec, Transport, TransportError},
};

/// Checks that keys, values, headers and timestamps are unchanged, and that missing values differ from empty ones.
pub async fn records_come_back_as_they_were_published(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    let plain = bench.record("key", "value");
    let published = vec![
        plain.clone(),
        crate::message::Record { key: None, ..plain.clone() },
        crate::message::Record { value: None, ..plain.clone() },
        crate::message::Record { value: Some(Bytes::new()), ..plain.clone() },
        crate::message::Record { key: Some(Bytes::from_static(&[0, 255, 128])), ..plain.clone() },
        crate::message::Record { value: Some((0..=255).collect()), ..plain.clone() },
        crate::message::Record {
            headers: vec![
                Header::text("repeated", "first"),
                Header { name: "missing".into(), value: None },
                Header { name: "empty".into(), value: Some(Bytes::new()) },
                Header { name: "binary".into(), value: Some((0..=255).collect()) },
                Header::text("repeated", "second"),
                Header::text("größe", "日本"),
            ],
            ..plain.clone()
        },
        crate::message::Record { timestamp: LogTime::from_millis(1), ..plain.clone() },
        crate::message::Record { timestamp: LogTime::from_millis(4_102_444_800_123), ..plain },
    ];
    bench.publish(published.clone()).await;
    let read = bench.reader("g").await.read(published.len()).await;
    for (read, published) in read.iter().zip(&published) {
        assert_eq!(*read.record, *published);
    }
}

/// Checks that publishing returns, in the order of the records, where each of them can be read.
pub async fn positions_are_where_the_records_are(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 3).await;
    let positions = bench.publish_numbers(0..50).await;
    let read = bench.reader("g").await.read(50).await;
    for (received, number) in read.iter().zip(numbers(&read)) {
        assert_eq!((received.partition, received.offset), (positions[number].partition, positions[number].offset));
    }
}

/// Checks that records of one key are read in the order in which they were published, within one call and across calls.
pub async fn records_of_a_key_keep_their_order(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 4).await;
    for call in 0..5 {
        bench.publish_numbers(call * 100..(call + 1) * 100).await;
    }
    let read = bench.reader("g").await.read(500).await;
    let mut last = BTreeMap::new();
    for (received, number) in read.iter().zip(numbers(&read)) {
        let key = received.record.key.clone().expect("a key");
        if let Some(before) = last.insert(key.clone(), number) {
            assert!(before < number, "of key {key:?} {number} came after {before}");
        }
    }
}

/// Checks that all records of a key are in one partition, and that keys are distributed over all partitions.
pub async fn a_key_stays_in_its_partition(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 4).await;
    let mut partitions = BTreeMap::new();
    for _ in 0..2 {
        for (number, position) in bench.publish_numbers(0..74).await.iter().enumerate() {
            let partition = *partitions.entry(number % 37).or_insert(position.partition);
            assert_eq!(partition, position.partition, "of key {}", number % 37);
        }
    }
    let mut used: Vec<_> = partitions.into_values().collect();
    used.sort_unstable();
    used.dedup();
    assert_eq!(used, [0, 1, 2, 3]);
}

/// Checks that publishing nothing is not an error.
pub async fn publishing_nothing_answers_nothing(log: Arc<dyn Transport>) {
    assert_eq!(within("publishing nothing", log.publish(vec![])).await.len(), 0);
}

/// Checks that a record of 20 MB and the records around it are delivered.
pub async fn a_large_record_passes(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    let large = Bytes::from(vec![b'x'; 20_000_000]);
    let mut record = bench.record("key", "");
    record.value = Some(large.clone());
    bench.publish(vec![bench.record("key", 1), record, bench.record("key", 2)]).await;
    let read = bench.reader("g").await.read(3).await;
    assert!(read[1].record.value.as_ref() == Some(&large), "the large value is whole");
    assert_eq!(numbers(&[read[0].clone(), read[2].clone()]), [1, 2]);
}

/// Checks that more records than fit one delivery are delivered, each once.
pub async fn many_records_pass(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    bench.publish_numbers(0..5_000).await;
    let read = bench.reader("g").await.read(5_000).await;
    assert_eq!(sorted(&read), (0..5_000).collect::<Vec<_>>());
}

/// Checks that records of a topic that does not exist fail with an error that names it, and that other records do not.
pub async fn an_unknown_topic_is_named(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 1).await;
    let missing = bench.group("missing");
    let mut lost = bench.record("key", 1);
    lost.topic.clone_from(&missing);
    let answers = within("publishing", bench.log.publish(vec![bench.record("key", 0), lost, bench.record("key", 2)])).await;
    assert!(matches!(&answers[1], Err(TransportError::UnknownTopic(topic)) if *topic == missing), "{:?}", answers[1]);
    assert!(answers[0].is_ok() && answers[2].is_ok());
    assert_eq!(numbers(&bench.reader("g").await.read(2).await), [0, 2]);
    let subscribed = within("subscribing", bench.log.subscribe(&bench.group("h"), std::slice::from_ref(&missing))).await;
    assert!(matches!(subscribed.err(), Some(TransportError::UnknownTopic(topic)) if topic == missing));
}

/// Checks that a topic with an invalid name is rejected.
pub async fn an_illegal_topic_is_refused(log: Arc<dyn Transport>) {
    for name in ["", "with space", "..", "slash/slash", &"x".repeat(250)] {
        let spec = TopicSpec { name: name.into(), partitions: 1 };
        let refused = within("making a topic", log.ensure_topics(&[spec])).await;
        assert!(refused.is_err(), "`{name}` is refused");
    }
}

/// Checks that ensuring an existing topic changes neither its number of partitions nor its records.
pub async fn topics_can_be_ensured_again(log: Arc<dyn Transport>) {
    let bench = Bench::new(log, 2).await;
    bench.publish_numbers(0..10).await;
    let spec = TopicSpec { name: bench.topic.clone(), partitions: 5 };
    within("making a topic", bench.log.ensure_topics(&[spec])).await.expect("a topic that is there is no error");
    let mut reader = bench.reader("g").await;
    assert_eq!(sorted(&reader.read(10).await), (0..10).collect::<Vec<_>>());
    let held: Vec<TopicPartition> = reader.held.iter().cloned().collect();
    assert_eq!(held, [bench.partition(0), bench.partition(1)]);
}
