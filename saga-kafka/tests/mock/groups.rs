//! Members that come and go.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use saga_core::transport::{Delivery, Transport};
use saga_kafka::{Kafka, config::GroupProtocol};
use tokio::time::{Instant, sleep, timeout};

use super::cluster::{Cluster, GROUP, Reader, TOPIC, publish, record, records, value, within};

/// Lets both take deliveries until each holds this many partitions.
async fn share(one: &mut Reader, other: &mut Reader, held: (usize, usize)) {
    within("sharing the partitions", async {
        while (one.held.len(), other.held.len()) != held {
            tokio::select! {
                () = one.turn() => {}
                () = other.turn() => {}
            }
        }
    })
    .await;
    assert!(one.held.is_disjoint(&other.held), "no partition is held by two");
}

#[tokio::test]
async fn members_come_and_go_and_nothing_is_missed() {
    let cluster = Cluster::new(1, 4);
    let kafka = cluster.kafka().await;
    let mut one = Reader::join(&kafka).await;
    one.hold(4).await;
    let (mut published, mut done) = (0, Vec::new());
    for _ in 0..3 {
        let mut other = Reader::join(&kafka).await;
        share(&mut one, &mut other, (2, 2)).await;
        publish(&kafka, records(published..published + 100)).await;
        published += 100;
        within("reading in two members", async {
            while one.read.len() + other.read.len() < 100 {
                tokio::select! {
                    () = one.turn() => {}
                    () = other.turn() => {}
                }
            }
        })
        .await;
        one.commit().await.expect("the offsets are stored");
        other.commit().await.expect("the offsets are stored");
        done.extend(one.read.drain(..).chain(other.read.drain(..)).map(|received| value(&received)));
        other.close().await;
        one.hold(4).await;
        publish(&kafka, records(published..published + 50)).await;
        published += 50;
        one.read(50).await;
        one.commit().await.expect("the offsets are stored");
        done.extend(one.read.drain(..).map(|received| value(&received)));
    }
    done.sort_unstable();
    assert_eq!(done, (0..published).collect::<Vec<_>>(), "each once: everything was committed before it moved");
}

#[tokio::test]
async fn a_partition_that_is_not_released_moves_after_the_drain_timeout() {
    let cluster = Cluster::new(1, 2);
    let mut config = cluster.config();
    config.group.drain_timeout = Duration::from_millis(600);
    let kafka = Kafka::connect(config).await.expect("the mock answers");
    publish(&kafka, records(0..20)).await;
    let mut old = Reader::join(&kafka).await;
    old.hold(2).await;
    old.read(20).await;
    old.releases = false;
    let mut new = Reader::join(&kafka).await;
    within("the revocation", async {
        while old.held.len() == 2 {
            tokio::select! {
                () = old.turn() => {}
                () = new.turn() => {}
            }
        }
    })
    .await;
    let revoked = Instant::now();
    assert!(new.held.is_empty());
    new.hold(1).await;
    assert!(revoked.elapsed() >= Duration::from_millis(500), "it was kept for {:?}", revoked.elapsed());
    // What the old member says of it now counts for nothing.
    let moved = new.held.first().expect("one").clone();
    within("committing", old.subscription.commit(vec![(moved.clone(), 10)])).await.expect("it is passed over");
    let lag = kafka.lag(GROUP, &[TOPIC.to_owned()]).await.expect("the lag is known");
    let committed = lag.iter().find(|lag| lag.partition == moved).expect("the partition").committed;
    assert_eq!(committed, 0);
}

#[tokio::test]
async fn what_is_committed_while_a_partition_is_given_up_counts() {
    let cluster = Cluster::new(1, 2);
    let kafka = cluster.kafka().await;
    publish(&kafka, records(0..40)).await;
    let mut old = Reader::join(&kafka).await;
    old.read(40).await;
    let mut new = Reader::join(&kafka).await;
    let revoked = within("the revocation", async {
        loop {
            tokio::select! {
                delivery = old.subscription.next() => {
                    if let Delivery::Revoked(partitions) = delivery.expect("the log can be read") {
                        break partitions;
                    }
                }
                () = new.turn() => {}
            }
        }
    })
    .await;
    old.commit().await.expect("the offsets are stored");
    old.subscription.release(&revoked);
    new.hold(1).await;
    publish(&kafka, records(40..80)).await;
    within("reading on", async {
        while !new.read.iter().any(|received| value(received) >= 40) {
            new.turn().await;
        }
    })
    .await;
    assert!(new.read.iter().all(|received| value(received) >= 40), "nothing that was committed comes again");
}

/// How many records of a partition are kept until its fetching is paused.
const KEPT: usize = 4_000;

#[tokio::test]
async fn partitions_whose_fetching_is_paused_move_and_come_back_and_are_read_on() {
    let cluster = Cluster::new(1, 4);
    let kafka = Kafka::connect(cluster.config().client("linger.ms", "20")).await.expect("the mock answers");
    let mut read = BTreeMap::new();
    for chunk in 0..20 {
        let records = (chunk * 1_000..(chunk + 1) * 1_000).map(|value| record(&format!("key-{value}"), value)).collect();
        for position in publish(&kafka, records).await {
            *read.entry(position.partition).or_insert(0) += 1;
        }
    }
    assert!(read.len() == 4 && read.values().all(|count| *count > KEPT), "more than is kept: {read:?}");
    let mut one = Reader::join(&kafka).await;
    one.hold(4).await;
    // It takes nothing, so that what it is given fills up.
    let all: Vec<_> = one.held.iter().cloned().collect();
    one.subscription.pause(&all);
    sleep(Duration::from_secs(2)).await;
    let mut other = Reader::join(&kafka).await;
    share(&mut one, &mut other, (2, 2)).await;
    other.close().await;
    one.hold(4).await;
    one.subscription.resume(&all);
    one.read(20_000).await;
    let offsets: BTreeSet<_> = one.read.iter().map(|received| (received.partition, received.offset)).collect();
    assert_eq!(offsets.len(), 20_000, "each once");
}

#[tokio::test]
async fn a_member_that_has_failed_for_good_joins_again_and_misses_nothing() {
    let cluster = Cluster::new(1, 2);
    let mut config = cluster.config();
    (config.group.protocol, config.group.instance_id) = (GroupProtocol::Classic, Some("1".to_owned()));
    let kafka = Kafka::connect(config).await.expect("the mock answers");
    publish(&kafka, records(0..100)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(100).await;
    reader.commit().await.expect("the offsets are stored");
    // Another process has the same name, which is fatal for a client.
    cluster.mock.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID]);
    reader.hold(0).await;
    publish(&kafka, records(100..200)).await;
    reader.hold(2).await;
    reader.read(200).await;
    assert_eq!(reader.values(), (0..200).collect::<Vec<_>>());
    let told = reader.problems.iter().any(|problem| problem.to_string().contains("group.instance_id"));
    assert!(told, "with the fix: {:?}", reader.problems);
    assert_eq!(refused(&kafka, false).await, None);
}

/// Waits until the group is told to be refused, or not to be any more, and gives the detail.
async fn refused(kafka: &Kafka, wanted: bool) -> Option<String> {
    let told = async {
        loop {
            let conditions = kafka.conditions(GROUP, &[TOPIC.to_owned()]).await.expect("the cluster answers");
            let found = conditions.into_iter().find(|condition| condition.name == "group_refused");
            if found.is_some() == wanted {
                break found.map(|condition| condition.detail);
            }
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(Duration::from_secs(50), told).await.unwrap_or_else(|_| panic!("whether it is refused: not {wanted}"))
}

#[tokio::test]
async fn a_group_that_is_not_joined_is_told_and_joined_when_it_can_be() {
    let missing = (RDKafkaApiKey::FindCoordinator, RDKafkaRespErr::RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE);
    let endless = (RDKafkaApiKey::JoinGroup, RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS);
    tokio::join!(
        not_joined(GroupProtocol::Classic, missing, "no broker coordinates it"),
        not_joined(GroupProtocol::Consumer, missing, "no broker coordinates it"),
        not_joined(GroupProtocol::Classic, endless, "its rebalance does not end"),
    );
}

async fn not_joined(protocol: GroupProtocol, (request, error): (RDKafkaApiKey, RDKafkaRespErr), cause: &str) {
    let cluster = Cluster::new(1, 2);
    cluster.mock.request_errors(request, &[error; 10_000]);
    let mut config = cluster.config();
    config.group.protocol = protocol;
    let kafka = Kafka::connect(config).await.expect("the mock answers");
    let mut reader = Reader::join(&kafka).await;
    let detail = refused(&kafka, true).await.expect("a detail");
    assert!(detail.contains(GROUP) && detail.contains("30 s") && detail.contains("__consumer_offsets"), "{detail}");
    assert!(detail.contains(cause), "{protocol:?}: {detail}");
    cluster.mock.clear_request_errors(request);
    reader.hold(2).await;
    assert_eq!(refused(&kafka, false).await, None);
}

#[tokio::test]
async fn a_member_that_is_given_nothing_has_joined() {
    tokio::join!(given_nothing(GroupProtocol::Classic), given_nothing(GroupProtocol::Consumer));
}

async fn given_nothing(protocol: GroupProtocol) {
    let cluster = Cluster::new(1, 1);
    let mut config = cluster.config();
    config.group.protocol = protocol;
    let one = Kafka::connect(config.clone()).await.expect("the mock answers");
    let mut reader = Reader::join(&one).await;
    reader.hold(1).await;
    let other = Kafka::connect(config).await.expect("the mock answers");
    let mut idle = Reader::join(&other).await;
    let looking = async {
        loop {
            for kafka in [&one, &other] {
                let conditions = kafka.conditions(GROUP, &[TOPIC.to_owned()]).await.expect("the cluster answers");
                assert_eq!(conditions, [], "{protocol:?}");
            }
            sleep(Duration::from_millis(500)).await;
        }
    };
    let reading = async {
        loop {
            tokio::select! {
                () = reader.turn() => {}
                () = idle.turn() => {}
            }
        }
    };
    let looked = timeout(Duration::from_secs(37), async { tokio::join!(looking, reading) }).await;
    assert!(looked.is_err(), "both go on until their time is over");
    assert_eq!(reader.held.len() + idle.held.len(), 1);
}
