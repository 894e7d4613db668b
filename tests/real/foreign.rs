//! What other programs send to the example on Apache Kafka, and do to its topics.

use std::time::Duration;

use rdkafka::{
    ClientConfig,
    admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    message::{Header, OwnedHeaders},
    producer::{BaseProducer, BaseRecord, Producer as _},
};
use sagas_tests::process::{Program, Service, Site, command, free_base_port};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    sync::MutexGuard,
    time::{Instant, sleep},
};

use super::servers::{Server, folder, turn};

/// How long the broker, its client and five services can take to notice a change.
const SOON: Duration = Duration::from_secs(60);

/// The example with SQLite, on a broker for one test.
struct Shop {
    site: Site,
    program: Program,
    address: String,
    _server: Server,
    _folder: TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Shop {
    async fn open() -> Self {
        let (turn, folder) = (turn().await, folder());
        let server = Server::new("kafka", folder.path());
        server.run(&["start", "--port", "0", "--set", "auto.create.topics.enable=false"]).await;
        let (address, base_port) = (server.run(&["address"]).await, free_base_port());
        let broker = format!("kafka://{address}?session.timeout.ms=6000");
        let mut command = command(env!("CARGO_BIN_EXE_ecommerce-under-test"), ["--no-demo", "--json", "--broker", &broker]);
        command.args(["--base-port", &base_port.to_string(), "--data-dir"]).arg(folder.path().join("data"));
        let mut program = Program::start(&mut command);
        program.serving().await;
        Self { site: Site::at(base_port), program, address, _server: server, _folder: folder, _turn: turn }
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        ClientConfig::new().set("bootstrap.servers", &self.address).create().unwrap()
    }

    async fn alter(&self, topic: &str, name: &str, value: &str) {
        let alter = AlterConfig::new(ResourceSpecifier::Topic(topic)).set(name, value);
        self.admin().alter_configs([&alter], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    }

    async fn place(&self) -> String {
        let items = json!([{"productId": "tea", "quantity": 1, "unitPrice": 9.9}]);
        let body = json!({"customerId": "ada", "items": items});
        let asked = self.site.http.post(self.site.url(Service::Order, "/orders")).json(&body).send().await.unwrap();
        let placed: Value = asked.json().await.unwrap();
        placed["orderId"].as_str().unwrap_or_else(|| panic!("{placed}")).to_owned()
    }

    async fn completed(&self, order: &str) {
        soon("the order is completed", async || match self.site.status(order).await {
            Ok(status) if status == "COMPLETED" => Ok(()),
            status => Err(format!("{status:?}")),
        })
        .await;
    }

    /// Returns whether a service is ready, with its answer.
    async fn readiness(&self, service: Service) -> (bool, String) {
        let answer = self.site.http.get(self.site.url(service, "/health/ready")).send().await.unwrap();
        let ready = answer.status().is_success();
        (ready, self.site.http.get(self.site.url(service, "/health")).send().await.unwrap().text().await.unwrap())
    }

    async fn post(&self, service: Service, path: &str) -> u16 {
        self.site.http.post(self.site.url(service, path)).send().await.unwrap().status().as_u16()
    }

    async fn letters(&self, service: Service) -> Vec<Value> {
        let letters = self.site.get(service, "/dead-letters?size=100").await.unwrap();
        letters.as_array().unwrap_or_else(|| panic!("{letters}")).clone()
    }
}

async fn soon<T>(what: &str, look: impl AsyncFn() -> Result<T, String>) -> T {
    let deadline = Instant::now() + SOON;
    loop {
        match look().await {
            Ok(found) => return found,
            Err(seen) if Instant::now() > deadline => panic!("{what}: not within {SOON:?}: {seen}"),
            Err(_) => sleep(Duration::from_millis(250)).await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn what_a_topic_does_not_take_is_told_at_once_and_is_one_letter() {
    let shop = Shop::open().await;
    let first = shop.place().await;
    shop.completed(&first).await;

    // 5 MB that compress to a few kB: the topic of orders accepts them, the dead letter topics reject their copies.
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &shop.address).set("compression.type", "gzip").set("message.max.bytes", "8000000");
    let producer: BaseProducer = config.create().unwrap();
    let value = format!(r#"{{"order_id":"0197c1a2-8d5e-7c3b-9a41-5f2e6d7c8b90","filler":"{}"}}"#, "0123456789".repeat(500_000));
    let mut headers = OwnedHeaders::new();
    for (key, value) in [("ce_id", "large-1"), ("ce_type", "OrderCreated"), ("ce_source", "elsewhere")] {
        headers = headers.insert(Header { key, value: Some(value) });
    }
    let record = BaseRecord::to("orders").key("0197c1a2-8d5e-7c3b-9a41-5f2e6d7c8b90").payload(&value).headers(headers);
    producer.send(record).map_err(|(error, _)| error).unwrap();
    tokio::task::spawn_blocking(move || producer.flush(SOON).unwrap()).await.unwrap();
    let letter = soon("the letter", async || match &shop.letters(Service::Inventory).await[..] {
        [letter] if letter["unpublished"].is_string() => Ok(letter.clone()),
        letters => Err(format!("{letters:?}")),
    })
    .await;
    let why = letter["unpublished"].as_str().unwrap();
    assert!(why.contains("`inventory.dlt` has no copy of it"), "{letter}");
    for _ in 0..3 {
        let id = shop.letters(Service::Inventory).await[0]["id"].as_str().unwrap().to_owned();
        assert_eq!(shop.post(Service::Inventory, &format!("/dead-letters/{id}/retry")).await, 202);
        soon("the letter is there again", async || match &shop.letters(Service::Inventory).await[..] {
            [letter] if letter["unpublished"].is_string() && letter["id"] != id => Ok(()),
            letters => Err(format!("{letters:?}")),
        })
        .await;
    }
    assert_eq!(shop.letters(Service::Inventory).await.len(), 1);

    // A topic rejects an event of the saga: the instance reports it, long before its deadline.
    shop.alter("payments", "max.message.bytes", "600").await;
    let stuck = shop.place().await;
    let asked = Instant::now();
    let attention = soon("attention", async || {
        let saga = shop.site.get(Service::Order, &format!("/sagas/PlaceOrder/{stuck}")).await?;
        match saga["attention"].is_null() {
            true => Err(saga.to_string()),
            false => Ok(saga),
        }
    })
    .await;
    assert!(attention.to_string().contains("the log refused it"), "{attention}");
    assert!(asked.elapsed() < Duration::from_secs(20), "{:?}", asked.elapsed());
    let id = shop.letters(Service::Payment).await[0]["id"].as_str().unwrap().to_owned();
    shop.alter("payments", "max.message.bytes", "1048588").await;
    // The broker and its client learn of the change within seconds; an earlier retry is rejected again.
    soon("the payment is taken", async || {
        if let Some(letter) = shop.letters(Service::Payment).await.first() {
            let id = letter["id"].as_str().unwrap_or(&id);
            shop.post(Service::Payment, &format!("/dead-letters/{id}/retry")).await;
            sleep(Duration::from_secs(1)).await;
        }
        match shop.site.status(&stuck).await {
            Ok(status) if status == "COMPLETED" => Ok(()),
            status => Err(format!("{status:?}")),
        }
    })
    .await;
    shop.program.signal("TERM").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn a_topic_that_is_deleted_makes_every_service_on_it_unready_until_it_is_back() {
    let shop = Shop::open().await;
    let first = shop.place().await;
    shop.completed(&first).await;
    shop.admin().delete_topics(&["payments"], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    let on_it = Service::ALL;
    for service in on_it {
        soon("unready", async || match shop.readiness(service).await {
            (false, health) if health.contains("payments") && health.contains("topic_missing") => Ok(()),
            seen => Err(format!("{service:?}: {seen:?}")),
        })
        .await;
    }
    let payments = NewTopic::new("payments", 6, TopicReplication::Fixed(1));
    shop.admin().create_topics([&payments], &AdminOptions::new()).await.unwrap().remove(0).unwrap();
    // All records were handled: there is no gap, or it is reported as one.
    for service in on_it {
        soon("ready again", async || match shop.readiness(service).await {
            (true, _) => Ok(()),
            (false, health) if health.contains("made anew") || health.contains("gap") => Ok(()),
            seen => Err(format!("{service:?}: {seen:?}")),
        })
        .await;
    }
    shop.program.signal("TERM").await;
}
