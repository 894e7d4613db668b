//! Committing while the coordinator fails and moves.

use rdkafka::{
    mocking::MockCoordinator,
    types::{RDKafkaApiKey, RDKafkaRespErr as Error},
};
use saga_core::transport::{Transport, TransportError};

use super::cluster::{Cluster, GROUP, Reader, lag, publish, records};

#[tokio::test]
async fn a_group_goes_on_where_it_committed() {
    let cluster = Cluster::new(1, 3);
    let kafka = cluster.kafka().await;
    publish(&kafka, records(0..300)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(300).await;
    reader.commit().await.expect("the offsets are stored");
    reader.close().await;
    publish(&kafka, records(300..400)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(100).await;
    assert_eq!(reader.values(), (300..400).collect::<Vec<_>>());
    kafka.close().await;
}

#[tokio::test]
async fn a_commit_outlasts_errors_that_pass() {
    let cluster = Cluster::new(1, 3);
    let kafka = cluster.kafka().await;
    publish(&kafka, records(0..100)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(100).await;
    cluster.mock.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[
            Error::RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS,
            Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT,
            Error::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
        ],
    );
    reader.commit().await.expect("the offsets are stored in the end");
    assert_eq!(lag(&kafka).await, 0);
}

#[tokio::test]
async fn a_commit_that_is_not_allowed_is_told_with_the_fix() {
    let cluster = Cluster::new(1, 1);
    let kafka = cluster.kafka().await;
    publish(&kafka, records(0..10)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(10).await;
    cluster.mock.request_errors(RDKafkaApiKey::OffsetCommit, &[Error::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED]);
    let refused = reader.commit().await;
    assert!(matches!(&refused, Err(TransportError::Unavailable(reason)) if reason.contains("grant Read")), "{refused:?}");
    reader.commit().await.expect("allowed again, it is stored");
}

#[tokio::test]
async fn a_group_follows_its_coordinator() {
    let cluster = Cluster::new(3, 3);
    cluster.mock.coordinator(MockCoordinator::Group(GROUP.into()), 1).expect("a coordinator");
    let kafka = cluster.kafka().await;
    let mut reader = Reader::join(&kafka).await;
    for round in 0..3 {
        publish(&kafka, records(round * 100..(round + 1) * 100)).await;
        reader.read((round + 1) * 100).await;
        let coordinator = i32::try_from(round).expect("a broker") + 1;
        cluster.mock.coordinator(MockCoordinator::Group(GROUP.into()), coordinator).expect("a coordinator");
        reader.commit().await.expect("the offsets are stored with the new coordinator");
        assert_eq!(lag(&kafka).await, 0);
    }
    assert_eq!(reader.values(), (0..300).collect::<Vec<_>>());
}
