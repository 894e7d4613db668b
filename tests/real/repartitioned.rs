//! Partitions are added to a topic of Apache Kafka while keys are parked: before a start, and while the service runs.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, NewPartitions},
    client::DefaultClientContext,
};
use sagas::{
    Handle, Settings,
    kafka::{Kafka, KafkaConfig},
    message::{Header, Record},
    port::transport::Transport,
    prelude::*,
    time::Clock,
};
use sagas_tests::eventually;
use serde::{Deserialize, Serialize};

use super::servers::{Server, folder, turn};

const KEYS: u32 = 24;

#[event(topic = "reserved", key = id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Reserved {
    id: String,
    number: u32,
}

/// Whether messages with the number 1 wait, and what was handled.
#[derive(Clone, Default)]
struct Desk {
    outage: Arc<AtomicBool>,
    handled: Arc<Mutex<Vec<(String, u32)>>>,
}

#[handler]
async fn charge(On(reserved): On<Reserved>, State(desk): State<Desk>) -> Result<(), Failure> {
    if reserved.number == 1 && desk.outage.load(Ordering::SeqCst) {
        return Err(Failure::Later(Duration::from_millis(300)));
    }
    desk.handled.lock().unwrap().push((reserved.id, reserved.number));
    Ok(())
}

struct World {
    bootstrap: String,
    url: String,
    desk: Desk,
}

impl World {
    async fn kafka(&self) -> Arc<Kafka> {
        let config: KafkaConfig = format!("kafka://{}", self.bootstrap).parse().unwrap();
        Kafka::connect(config).await.unwrap()
    }

    async fn start(&self) -> (Handle, Arc<Kafka>) {
        let kafka = self.kafka().await;
        let mut settings = Settings::default();
        settings.topic_partitions = 6;
        let database = Database::open(&self.url).await.unwrap();
        let service = Service::new("desk", database).handlers(handlers![charge]).state(self.desk.clone()).settings(settings);
        let handle = App::new("shop").service(service).start(kafka.clone()).await.unwrap_or_else(|error| panic!("{error}"));
        (handle, kafka)
    }

    /// Publishes this number of every key, with a new producer that knows the current partitions.
    async fn publish(&self, number: u32) {
        let kafka = self.kafka().await;
        let record = |key: u32| Record {
            topic: "reserved".into(),
            key: Some(format!("k{key}").into()),
            value: Some(format!(r#"{{"id":"k{key}","number":{number}}}"#).into()),
            headers: [("ce_id", format!("k{key}-{number}")), ("ce_source", "elsewhere".into()), ("ce_type", "Reserved".into())]
                .map(|(name, value)| Header::text(name, value))
                .into(),
            timestamp: Clock::system().now().into(),
        };
        let stored = kafka.publish((0..KEYS).map(record).collect()).await;
        assert!(stored.iter().all(Result::is_ok), "{stored:?}");
        kafka.close().await;
    }

    async fn grow(&self, partitions: usize) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.bootstrap).create().unwrap();
        let done = admin.create_partitions(&[NewPartitions::new("reserved", partitions)], &AdminOptions::new()).await.unwrap();
        assert!(done.iter().all(Result::is_ok), "{done:?}");
    }

    fn numbers(&self, key: u32) -> Vec<u32> {
        let handled = self.desk.handled.lock().unwrap();
        handled.iter().filter(|(id, _)| *id == format!("k{key}")).map(|(_, number)| *number).collect()
    }

    async fn parked(&self, handle: &Handle) -> usize {
        let store = handle.service("desk").unwrap().database().store().clone();
        store.parked_keys("desk").await.unwrap().iter().map(|key| key.count).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn keys_that_move_to_new_partitions_are_handled_in_order() {
    let (_turn, folder) = (turn().await, folder());
    let server = Server::new("kafka", folder.path());
    server.run(&["start", "--port", "0"]).await;
    let world = World {
        bootstrap: server.run(&["address"]).await,
        url: format!("sqlite://{}", folder.path().join("desk.db").display()),
        desk: Desk::default(),
    };
    world.desk.outage.store(true, Ordering::SeqCst);
    let (handle, kafka) = world.start().await;
    world.publish(1).await;
    let parked = async |handle: &Handle, count: u32| {
        eventually("they are parked", async || (world.parked(handle).await == count as usize).then_some(())).await;
    };
    parked(&handle, KEYS).await;
    assert!(handle.stop().await);
    kafka.close().await;

    world.grow(12).await;
    let (handle, kafka) = world.start().await;
    world.publish(2).await;
    parked(&handle, 2 * KEYS).await;
    world.desk.outage.store(false, Ordering::SeqCst);
    eventually("all are handled in order", async || {
        (world.parked(&handle).await == 0 && (0..KEYS).all(|key| world.numbers(key) == [1, 2])).then_some(())
    })
    .await;

    // While the service runs, the new partitions are found and read from their first record.
    let began = tokio::time::Instant::now();
    world.grow(24).await;
    world.publish(3).await;
    eventually("the new partitions are read", async || (0..KEYS).all(|key| world.numbers(key) == [1, 2, 3]).then_some(())).await;
    println!("new partitions were read after {:?}", began.elapsed());
    assert!(handle.stop().await);
    kafka.close().await;
}
