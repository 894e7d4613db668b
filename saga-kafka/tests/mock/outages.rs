//! Brokers that go, and brokers that do not answer.

use std::time::Duration;

use saga_core::transport::{Transport, TransportError};
use tokio::time::{Instant, sleep};

use super::cluster::{Cluster, PATIENCE, Reader, publish, records, value, within};

#[tokio::test]
async fn a_broker_that_comes_back_is_used_again() {
    let cluster = Cluster::new(1, 3);
    let kafka = cluster.kafka().await;
    let mut reader = Reader::join(&kafka).await;
    publish(&kafka, records(0..100)).await;
    reader.read(100).await;
    for round in 1..4 {
        cluster.mock.broker_down(1).expect("the broker goes");
        let back = async {
            sleep(Duration::from_millis(500)).await;
            cluster.mock.broker_up(1).expect("the broker comes");
        };
        let (stored, ()) = tokio::join!(publish(&kafka, records(round * 100..(round + 1) * 100)), back);
        assert_eq!(stored.len(), 100);
        reader.read((round + 1) * 100).await;
        reader.commit().await.expect("the offsets are stored");
    }
    assert_eq!(reader.values(), (0..400).collect::<Vec<_>>());
    within("checking", kafka.check()).await.expect("the log works");
}

#[tokio::test]
async fn an_outage_is_told_and_a_prefix_is_stored() {
    let cluster = Cluster::new(1, 1);
    let kafka = cluster.kafka().await;
    publish(&kafka, records(0..10)).await;
    cluster.mock.broker_down(1).expect("the broker goes");
    let asked = Instant::now();
    let answers = within("publishing", kafka.publish(records(10..500))).await;
    assert!(asked.elapsed() < Duration::from_secs(15), "told after {:?}", asked.elapsed());
    let stored = answers.iter().take_while(|answer| answer.is_ok()).count();
    assert!(stored < answers.len(), "not everything can be stored");
    assert!(answers[stored..].iter().all(|answer| matches!(answer, Err(TransportError::Unavailable(_)))), "nothing after it is");
    assert!(matches!(within("checking", kafka.check()).await, Err(TransportError::Unavailable(_))));
    cluster.mock.broker_up(1).expect("the broker comes");
    // Sent again, they follow.
    publish(&kafka, records(10 + stored..500)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(500).await;
    assert_eq!(reader.read.iter().map(value).collect::<Vec<_>>(), (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn no_broker_at_all_is_told_with_the_fix() {
    let cluster = Cluster::new(1, 1);
    let config = cluster.config();
    cluster.mock.broker_down(1).expect("the broker goes");
    let refused = within("connecting", saga_kafka::Kafka::connect(config)).await.expect_err("nobody answers").to_string();
    assert!(refused.contains("advertised.listeners"), "{refused}");
    assert!(refused.contains(&format!("no broker can be reached at {}: ", cluster.mock.bootstrap_servers())), "{refused}");

    // Without asking, nothing is refused but what the configuration itself has.
    let kafka = saga_kafka::Kafka::connect_lazy(cluster.config()).expect("the configuration is valid");
    assert!(matches!(within("checking", kafka.check()).await, Err(TransportError::Unavailable(_))));
    cluster.mock.broker_up(1).expect("the broker comes");
    publish(&kafka, records(0..10)).await;
    assert!(saga_kafka::Kafka::connect_lazy(saga_kafka::KafkaConfig::new("")).is_err(), "no address");
}

#[tokio::test]
async fn a_broker_that_does_not_answer_holds_up_no_stop() {
    let cluster = Cluster::new(1, 2);
    let kafka = cluster.kafka().await;
    publish(&kafka, records(0..10)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(10).await;
    cluster.mock.broker_round_trip_time(1, 2 * PATIENCE).expect("the broker freezes");
    let commit = reader.subscription.commit(vec![(reader.held.first().expect("one").clone(), 1)]);
    let asked = Instant::now();
    reader.close().await;
    assert!(asked.elapsed() < Duration::from_secs(6), "the member left after {:?}", asked.elapsed());
    let asked = Instant::now();
    within("closing", kafka.close()).await;
    assert!(asked.elapsed() < Duration::from_secs(12), "closed after {:?}", asked.elapsed());
    assert!(within("the commit ending", commit).await.is_err(), "nobody has stored it");
}
