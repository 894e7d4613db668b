//! A real broker that is frozen, killed and started again, under this client.
//!
//! Every test starts a broker of its own with `scripts/kafka`, as what is done to it must concern nobody else.

mod broker;
mod reader;

use std::time::Duration;

use saga_core::transport::{Delivery, Transport, TransportError};
use saga_kafka::Kafka;
use tokio::time::{Instant, sleep};

use self::{
    broker::Broker,
    reader::{Reader, lag, publish, records, value, within},
};

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_frozen_broker_is_told_and_holds_up_no_stop() {
    let broker = Broker::start();
    let kafka = broker.kafka(broker.config()).await;
    publish(&kafka, records(0..100)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(100).await;
    broker.signal("STOP");

    let asked = Instant::now();
    let answers = within("publishing", kafka.publish(records(100..110))).await;
    assert!(asked.elapsed() < Duration::from_secs(14), "told after {:?}", asked.elapsed());
    assert!(answers.iter().all(|answer| matches!(answer, Err(TransportError::Unavailable(_)))), "{answers:?}");
    assert!(matches!(within("checking", kafka.check()).await, Err(TransportError::Unavailable(_))));
    let commit = reader.subscription.commit(vec![(reader.partition(), 10)]);
    let asked = Instant::now();
    // It fails, or is passed over because the session has ended before.
    let _ = within("committing", commit).await;
    assert!(asked.elapsed() < Duration::from_secs(12), "the commit ended after {:?}", asked.elapsed());

    let asked = Instant::now();
    reader.close().await;
    assert!(asked.elapsed() < Duration::from_secs(6), "the member left after {:?}", asked.elapsed());
    let asked = Instant::now();
    within("closing", kafka.close()).await;
    assert!(asked.elapsed() < Duration::from_secs(12), "closed after {:?}", asked.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn what_was_lost_is_told_never_committed_and_read_again() {
    let broker = Broker::start();
    let kafka = broker.kafka(broker.config().session_timeout(Duration::from_secs(6))).await;
    publish(&kafka, records(0..200)).await;
    let mut reader = Reader::join(&kafka).await;
    reader.read(200).await;
    reader.commit(50).await.expect("the offsets are stored");
    let committed = lag(&kafka).await;
    assert!(committed > 0, "not everything is committed");
    let lost = reader.partition();

    broker.signal("STOP");
    let told = within("the loss", async {
        loop {
            match reader.subscription.next().await {
                Ok(Delivery::Lost(partitions)) => break partitions,
                Ok(delivery) => panic!("{delivery:?} of a broker that is frozen"),
                Err(_) => {}
            }
        }
    });
    assert_eq!(told.await.len(), 3);
    broker.signal("CONT");
    within("committing", reader.subscription.commit(vec![(lost, 60)])).await.expect("what is lost is passed over");

    reader.held.clear();
    reader.read.clear();
    reader.read(usize::try_from(committed).expect("a count")).await;
    assert_eq!(lag(&kafka).await, committed, "nothing was committed meanwhile");
    publish(&kafka, records(200..210)).await;
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn brokers_that_are_killed_lose_nothing_and_are_found_again() {
    let mut broker = Broker::start();
    let kafka = broker.kafka(broker.config()).await;
    let mut reader = Reader::join(&kafka).await;
    publish(&kafka, records(0..100)).await;
    reader.read(100).await;
    for round in 1..3 {
        let numbers = round * 100..(round + 1) * 100;
        let restart = async {
            sleep(Duration::from_millis(200)).await;
            broker.crash().await;
            broker.start_again().await;
            Instant::now()
        };
        // As the outbox does it: what was not stored is sent again, in order.
        let publishing = async {
            let mut waiting: Vec<_> = numbers.clone().collect();
            while !waiting.is_empty() {
                let some: Vec<_> = waiting.iter().take(10).copied().collect();
                let answers = kafka.publish(some.iter().map(|number| reader::record(*number)).collect()).await;
                let stored: Vec<_> =
                    some.iter().zip(&answers).filter(|(_, answer)| answer.is_ok()).map(|(number, _)| *number).collect();
                waiting.retain(|number| !stored.contains(number));
                sleep(Duration::from_millis(20)).await;
            }
            Instant::now()
        };
        let (restarted, published) = within("publishing through a crash", async { tokio::join!(restart, publishing) }).await;
        let late = published.saturating_duration_since(restarted);
        assert!(late < Duration::from_secs(15), "published again {late:?} after the broker was back");
        within("reading on", async {
            while numbers.clone().any(|number| !reader.read.iter().any(|received| value(received) == number)) {
                reader.turn().await;
            }
        })
        .await;
        reader.commit(i64::MAX).await.expect("the offsets are stored");
        assert_eq!(lag(&kafka).await, 0);
    }
    assert_eq!(reader.values(), (0..300).collect::<Vec<_>>());
    kafka.close().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_topic_that_takes_small_requests_only_refuses_no_small_record() {
    let broker = Broker::start();
    let config = broker.config().topic_option("max.message.bytes", "20000");
    let kafka = Kafka::connect(config).await.expect("the broker answers");
    let mut records = records(0..200);
    for record in &mut records {
        record.topic = "small".into();
        record.value = Some(vec![b'x'; 1_000].into());
    }
    records[70].value = Some(vec![b'x'; 40_000].into());
    reader::topic(&kafka, "small", 1).await;
    let answers = within("publishing", kafka.publish(records)).await;
    let refused: Vec<_> = answers.iter().enumerate().filter(|(_, answer)| answer.is_err()).map(|(index, _)| index).collect();
    assert_eq!(refused, [70]);
    assert!(matches!(&answers[70], Err(TransportError::Refused(reason)) if reason.contains("max.message.bytes")));
    kafka.close().await;
}
