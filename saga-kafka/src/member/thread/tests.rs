//! A thread that panics, and simulated errors, with librdkafka's mock cluster.

use std::{sync::Arc, time::Duration};

use rdkafka::{
    ClientConfig,
    consumer::{BaseConsumer, Consumer as _, DefaultConsumerContext},
    error::KafkaError,
    mocking::MockCluster,
    types::RDKafkaErrorCode,
};
use saga_core::{
    message::TopicPartition,
    transport::{Delivery, Subscription as _},
};

use crate::{
    KafkaConfig,
    config::GroupProtocol,
    group_topic::GroupTopic,
    member::{Feed, Members, commands::Answer},
    observer::Observer,
    statistics::StatsRegistry,
    time::now,
};

const GROUP: &str = "billing";
const PATIENCE: Duration = Duration::from_secs(30);

struct Cluster {
    mock: MockCluster<'static, DefaultConsumerContext>,
    board: Arc<StatsRegistry>,
}

impl Cluster {
    fn new() -> Self {
        let client: BaseConsumer = ClientConfig::new().set("test.mock.num.brokers", "1").create().expect("a client with a mock");
        // The mock lives as long as its client, and a test as long as its process.
        let client: &'static BaseConsumer = Box::leak(Box::new(client));
        let mock = client.client().mock_cluster().expect("a mock");
        mock.create_topic("orders", 2, 1).expect("a topic");
        Self { mock, board: Arc::default() }
    }

    fn join(&self, protocol: GroupProtocol) -> Members {
        let mut config = KafkaConfig::new(self.mock.bootstrap_servers()).group_protocol(protocol);
        config.group.drain_timeout = PATIENCE;
        let observer = Arc::new(Observer::new(&config, Some(GROUP)).expect("a client that asks"));
        Members::join(&config, GROUP, &["orders".to_owned()], &observer, &self.board).expect("a member")
    }
}

/// The feed of the only member.
fn feed(members: &Members) -> Arc<Feed> {
    members.feeds().next().and_then(|(_, feed)| feed.upgrade()).expect("a member")
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what}: did not happen within {PATIENCE:?}"))
}

/// The next news of partitions.
async fn told(member: &mut Members) -> (&'static str, Vec<TopicPartition>) {
    let news = async {
        loop {
            match member.next().await {
                Ok(Delivery::Assigned(partitions)) => {
                    member.start(&partitions.iter().map(|partition| (partition.clone(), None)).collect::<Vec<_>>());
                    break ("assigned", partitions);
                }
                Ok(Delivery::Revoked(partitions)) => break ("revoked", partitions),
                Ok(Delivery::Lost(partitions)) => break ("lost", partitions),
                Ok(other) => panic!("{other:?}"),
                Err(_) => {}
            }
        }
    };
    let (what, mut partitions) = within("news of partitions", news).await;
    partitions.sort();
    (what, partitions)
}

#[tokio::test]
async fn what_a_thread_held_when_it_panicked_is_lost_and_assigned_again() {
    for protocol in [GroupProtocol::Consumer, GroupProtocol::Classic] {
        let cluster = Cluster::new();
        let mut member = cluster.join(protocol);
        let (_, all) = told(&mut member).await;
        assert_eq!(all.len(), 2);
        for _ in 0..2 {
            feed(&member).answer(Answer::Poison);
            assert_eq!(told(&mut member).await, ("lost", all.clone()));
            assert_eq!(told(&mut member).await, ("assigned", all.clone()));
        }
        within("leaving the group", Box::new(member).close()).await;
    }
}

#[tokio::test]
async fn a_thread_that_panics_while_it_gives_up_partitions_keeps_none_of_them() {
    let cluster = Cluster::new();
    let mut one = cluster.join(GroupProtocol::Consumer);
    assert_eq!(told(&mut one).await.1.len(), 2);
    let mut other = cluster.join(GroupProtocol::Consumer);
    let (what, revoked) = told(&mut one).await;
    assert_eq!((what, revoked.len()), ("revoked", 1));
    feed(&one).answer(Answer::Poison);
    let (what, lost) = told(&mut one).await;
    assert_eq!((what, lost.len()), ("lost", 2));
    // The mock can give both partitions to the other member, or one to each.
    let mut held = told(&mut other).await.1;
    if held.len() < 2 {
        held.extend(told(&mut one).await.1);
    }
    held.sort();
    assert_eq!(held, lost);
}

#[tokio::test]
async fn a_broker_that_refuses_one_connection_keeps_no_reader_waiting() {
    let cluster = Cluster::new();
    let mut member = cluster.join(GroupProtocol::Classic);
    assert_eq!(told(&mut member).await.0, "assigned");
    within("statistics", async {
        while !cluster.board.works(&GroupTopic::new(GROUP, "orders"), now()) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    for _ in 0..3 {
        let reason = "sasl_plaintext://kafka-2:9092/2: SASL authentication error: refused".to_owned();
        feed(&member).answer(Answer::Erred(KafkaError::MessageConsumption(RDKafkaErrorCode::Authentication), reason));
        let problem = tokio::time::timeout(Duration::from_millis(500), member.next()).await;
        assert!(problem.is_err(), "{problem:?}");
        let told = cluster.board.conditions(GROUP, now());
        let told: Vec<_> = told.iter().map(|told| (told.name, &*told.subject, told.critical)).collect();
        assert_eq!(told, [("broker_refuses", "kafka-2:9092", false)]);
    }
    within("leaving the group", Box::new(member).close()).await;
    assert_eq!(cluster.board.conditions(GROUP, now()), []);
}
