//! A participant starts and is tested alone: no part of the other services is linked, stubbed or running.

use std::{sync::Arc, time::Duration};

use participant::{
    cards,
    contract::{BookTrip, CardCharged, CardDeclined, CardRefunded, RoomHeld, TripCancelled},
};
use sagas::{message::{Header, Record}, port::transport::{Delivery, TopicSpec, Transport}, prelude::*, testing::Pump, time::LogTime, transport::embedded::{Embedded, EmbeddedOptions}};

fn held(trip_id: &str, price: i64) -> RoomHeld {
    RoomHeld { trip_id: trip_id.into(), price }
}

#[tokio::test]
async fn it_does_and_undoes_its_step() {
    let pump = Pump::of([cards(Database::memory())]).start().await;
    pump.publish(&held("1", 300)).await;
    pump.publish(&held("2", 5_000)).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<CardCharged>().await, [CardCharged { trip_id: "1".into(), price: 300 }]);
    assert_eq!(pump.published::<CardDeclined>().await, [CardDeclined { trip_id: "2".into() }]);
    for trip_id in ["1", "2", "3"] {
        pump.publish(&TripCancelled { trip_id: trip_id.into() }).await;
    }
    // The compensation came before the step, so the step is not done.
    pump.run_until_quiet().await;
    pump.publish(&held("3", 300)).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<CardRefunded>().await, [CardRefunded { trip_id: "1".into(), price: 300 }]);
    assert_eq!(pump.published::<CardCharged>().await.len(), 1);
    pump.stop().await;
}

#[test]
fn its_own_part_is_checked_and_the_whole_where_it_is_asked_for() {
    assert!(App::new("travel").service(cards(Database::memory())).check().is_empty());
    let whole = || App::new("travel").service(cards(Database::memory())).saga::<BookTrip>();
    let problems = whole().check();
    assert!(problems.iter().any(|problem| problem.contains("BookTrip::HoldRoom")), "{problems:#?}");
    let hotels = Remote::new("hotels").does(BookTrip::HoldRoom).undoes(BookTrip::HoldRoom);
    let trips = Remote::new("trips").does(BookTrip::Book).does(BookTrip::Cancel).tracks(Tracker::of::<BookTrip>());
    assert_eq!(whole().remote(hotels).remote(trips).check(), [""; 0]);
}

/// The hotels publish JSON with headers that identify the event.
#[tokio::test(flavor = "multi_thread")]
async fn it_runs_beside_a_service_that_knows_nothing_of_the_crate() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(folder.path(), EmbeddedOptions::default()).await.unwrap();
    let topics = ["hotels", "cards"].map(|name| TopicSpec { name: name.into(), partitions: 2 });
    log.ensure_topics(&topics).await.unwrap();
    let app = App::new("travel").service(cards(Database::memory()));
    let running = tokio::spawn(app.run(log.clone()));
    let room = Record {
        topic: "hotels".into(),
        key: Some("7".into()),
        value: Some(r#"{"trip_id":"7","price":120,"stars":4}"#.into()),
        headers: vec![Header::text("ce_id", "room-7"), Header::text("ce_source", "hotels"), Header::text("ce_type", "RoomHeld")],
        timestamp: LogTime::from_millis(1_767_225_600_000),
    };
    log.publish(vec![room]).await.remove(0).unwrap();
    let charged = tokio::time::timeout(Duration::from_secs(60), first_of(&*log, "cards")).await.expect("the card is charged");
    assert_eq!(&charged.value.as_ref().unwrap()[..], br#"{"trip_id":"7","price":120}"#);
    assert!(!running.is_finished(), "the service goes on");
    running.abort();
}

/// Returns the first record of `topic`, as another program reads it.
async fn first_of(log: &impl Transport, topic: &str) -> Arc<Record> {
    let mut reader = log.subscribe("reader", &[topic.to_owned()]).await.unwrap();
    loop {
        match reader.next().await.unwrap() {
            Delivery::Assigned(partitions) => {
                reader.start(&partitions.into_iter().map(|partition| (partition, None)).collect::<Vec<_>>());
            }
            Delivery::Records { records, .. } => return Arc::clone(&records[0].record),
            _ => {}
        }
    }
}
