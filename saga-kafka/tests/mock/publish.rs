//! Publishing while the cluster answers with errors.

use std::time::Duration;

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Error};
use saga_core::{
    message::Record,
    transport::{Transport, TransportError},
};
use saga_kafka::Kafka;

use super::cluster::{Cluster, Reader, publish, record, records, value, within};

#[tokio::test]
async fn requests_that_fail_and_are_repeated_store_everything_once_and_in_order() {
    let cluster = Cluster::new(1, 1);
    // One request at a time: the mock does not look at sequence numbers, and would store what follows a request that failed.
    let kafka = Kafka::connect(cluster.config().client("linger.ms", "50")).await.expect("the mock answers");
    let mut reader = Reader::join(&kafka).await;
    for round in 0..5 {
        cluster.mock.request_errors(
            RDKafkaApiKey::Produce,
            &[
                Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
                Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
                Error::RD_KAFKA_RESP_ERR__TRANSPORT,
                Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            ],
        );
        publish(&kafka, records(round * 200..(round + 1) * 200)).await;
    }
    reader.read(1_000).await;
    assert_eq!(reader.read.iter().map(value).collect::<Vec<_>>(), (0..1_000).collect::<Vec<_>>());
}

/// As a broker that does not lead a partition yet, which has just been made: it refuses the first request and takes the second. A broker that
/// knows nothing of a producer takes any sequence number (KIP-360), as the mock does; the client then reports the first as stored.
#[tokio::test]
async fn nothing_passes_the_first_request_to_a_partition() {
    let cluster = Cluster::new(1, 2);
    let kafka = cluster.kafka().await;
    let (known, new) = (KEYS[1].0, KEYS[3].0);
    assert_eq!(publish(&kafka, vec![record(known, 0)]).await[0].partition, 0);
    // Long enough for a second request to follow before the first is answered.
    cluster.mock.broker_round_trip_time(1, Duration::from_millis(200)).expect("a slow broker");
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    let follow = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&kafka, (1..60).map(|number| record(new, number)).collect()).await
    };
    let (first, others) = tokio::join!(publish(&kafka, vec![record(new, 0)]), follow);
    let stored: Vec<_> = first.iter().chain(&others).map(|position| (position.partition, position.offset)).collect();
    assert_eq!(stored, (0..60).map(|offset| (1, offset)).collect::<Vec<_>>(), "each is where its answer says");
    let mut reader = Reader::join(&kafka).await;
    reader.read(61).await;
    let read: Vec<_> = reader.read.iter().filter(|received| received.partition == 1).map(value).collect();
    assert_eq!(read, (0..60).collect::<Vec<_>>());
}

/// Without a key it may go anywhere, so nothing is known of its partition before it is sent.
#[tokio::test]
async fn what_no_broker_has_answered_for_is_not_stored() {
    let cluster = Cluster::new(1, 1);
    let kafka = cluster.kafka().await;
    let keyless = |value| Record { key: None, ..record("", value) };
    publish(&kafka, vec![keyless(0)]).await;
    cluster.mock.broker_round_trip_time(1, Duration::from_millis(200)).expect("a slow broker");
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION]);
    let follow = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        publish(&kafka, vec![keyless(2)]).await
    };
    let (lost, stored) = tokio::join!(kafka.publish(vec![keyless(1)]), follow);
    assert_eq!(stored[0].offset, 1);
    assert!(matches!(&lost[0], Err(TransportError::Unavailable(reason)) if reason.contains("is sent again")), "{lost:?}");
}

#[tokio::test]
async fn what_a_request_is_refused_for_is_found_record_by_record() {
    let cluster = Cluster::new(1, 1);
    // Long enough that all of them are one request.
    let kafka = Kafka::connect(cluster.config().client("linger.ms", "200")).await.expect("the mock answers");
    let mut reader = Reader::join(&kafka).await;
    publish(&kafka, records(0..1)).await;
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    publish(&kafka, records(1..20)).await;
    reader.read(20).await;
    assert_eq!(reader.values(), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_that_the_topic_does_not_take_is_refused_for_good() {
    for (error, fix) in [
        (Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "max.message.bytes"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_RECORD, "compacted"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_TIMESTAMP, "message.timestamp"),
    ] {
        let cluster = Cluster::new(1, 1);
        let kafka = cluster.kafka().await;
        cluster.mock.request_errors(RDKafkaApiKey::Produce, &[error]);
        let answer = within("publishing", kafka.publish(vec![record("key", 0)])).await.remove(0);
        assert!(matches!(&answer, Err(TransportError::Refused(reason)) if reason.contains(fix)), "{answer:?}");
        publish(&kafka, vec![record("key", 1)]).await;
    }
}

#[tokio::test]
async fn a_topic_that_may_not_be_written_is_told_with_the_fix() {
    let cluster = Cluster::new(1, 1);
    let kafka = cluster.kafka().await;
    cluster.mock.request_errors(RDKafkaApiKey::Produce, &[Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED]);
    let answer = within("publishing", kafka.publish(vec![record("key", 0)])).await.remove(0);
    assert!(matches!(&answer, Err(TransportError::Unavailable(reason)) if reason.contains("grant")), "{answer:?}");
}

#[tokio::test]
async fn a_producer_that_has_failed_for_good_is_replaced_and_the_order_stays() {
    let cluster = Cluster::new(1, 1);
    // The records of a call are one request, as slow as their queue may be: of two, a broker would refuse the second as well, which does
    // not follow the first. The mock looks at no sequence.
    let kafka = Kafka::connect(cluster.config().client("linger.ms", "200")).await.expect("the mock answers");
    let mut reader = Reader::join(&kafka).await;
    let mut waiting: Vec<usize> = (0..300).collect();
    for round in 0..3 {
        publish(&kafka, waiting.drain(..50).map(|value| record("key", value)).collect()).await;
        // A broker that has lost what it knew of the producer, which is fatal for it.
        cluster.mock.request_errors(RDKafkaApiKey::Produce, &[Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER]);
        let mut failed = 0;
        // As the outbox does it: what was not stored is sent again, in order.
        let sent = waiting.len() - 50;
        while waiting.len() > sent {
            let some: Vec<_> = waiting.iter().take(waiting.len() - sent).copied().collect();
            let answers = within("publishing", kafka.publish(some.iter().map(|value| record("key", *value)).collect())).await;
            let stored = answers.iter().take_while(|answer| answer.is_ok()).count();
            let others = &answers[stored..];
            assert!(others.iter().all(|answer| matches!(answer, Err(TransportError::Unavailable(_)))), "{others:?}");
            failed += others.len();
            waiting.drain(..stored);
            assert!(failed < 1_000, "round {round}: it publishes nothing any more: {others:?}");
        }
        assert!(failed > 0, "round {round}: the error is fatal");
    }
    reader.read(300).await;
    assert_eq!(reader.read.iter().map(value).collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn keys_have_the_partitions_that_java_gives_them() {
    let cluster = Cluster::new(1, 12);
    let kafka = cluster.kafka().await;
    // By org.apache.kafka.common.utils.Utils: toPositive(murmur2(key)) % 12.
    for (key, partition) in KEYS {
        let position = publish(&kafka, vec![record(key, 0)]).await[0];
        assert_eq!(position.partition, partition, "of `{key}`");
    }
}

/// The hashes are those of Kafka's own `UtilsTest.testMurmur2`.
const KEYS: [(&str, i32); 4] = [
    ("21", java(-973_932_308)),
    ("foobar", java(-790_332_482)),
    ("a-little-bit-long-string", java(-985_981_536)),
    ("a-little-bit-longer-string", java(-1_486_304_829)),
];

const fn java(hash: i32) -> i32 {
    (hash & i32::MAX) % 12
}
