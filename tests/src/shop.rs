//! The five services of the example, running in this process.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ecommerce::{Config, Running};
use reqwest::{Client, Method, RequestBuilder};
use sagas::{
    id::IdSource,
    message::{Received, Record},
    port::transport::{Delivery, Transport},
    time::Clock,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Answer, eventually, stack::Stack};

/// The names of the services.
pub const SERVICES: [&str; 5] = ["order", "inventory", "payment", "notification", "analytics"];
/// The topics of the services' events.
pub const TOPICS: [&str; 4] = ["orders", "inventory", "payments", "notifications"];

/// The timeout of one request.
const CALL: Duration = Duration::from_secs(30);
/// How long the services can take to become idle, in real time.
const REST: Duration = Duration::from_secs(60);

/// How long a reader of a topic waits for the next record.
const SILENCE: Duration = Duration::from_secs(20);

/// Wraps the log that the services use.
type Wrap = Box<dyn FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>>;

/// The options of a shop that is to be opened.
pub struct Opening {
    clock: Clock,
    over: Wrap,
    order_deadline: Option<Duration>,
}

impl Opening {
    /// Sets the clock. Default: the system's clock.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Sets the time after which undecided orders are cancelled.
    #[must_use]
    pub fn order_deadline(mut self, order_deadline: Duration) -> Self {
        self.order_deadline = Some(order_deadline);
        self
    }

    /// Lets the services use the transport that `wrap` returns for the log. The shop itself still uses the log directly.
    #[must_use]
    pub fn over(mut self, wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport> + 'static) -> Self {
        self.over = Box::new(wrap);
        self
    }

    /// Opens the shop.
    ///
    /// # Panics
    /// Panics when the services do not start.
    pub async fn open(self) -> Shop {
        let folder = tempfile::tempdir().unwrap();
        let stack = Stack::open(folder.path(), &self.clock).await;
        let config = Config::new(folder.path()).clock(self.clock.clone()).storage(stack.storage.clone());
        let mut config = config.transport((self.over)(stack.log.clone()));
        if let Some(order_deadline) = self.order_deadline {
            config = config.order_deadline(order_deadline);
        }
        let running = ecommerce::start(config).await.unwrap_or_else(|error| panic!("the shop does not open: {error}"));
        let http = Client::builder().timeout(CALL).no_proxy().build().unwrap();
        let bases = SERVICES.map(|service| (service, running.base_url(service).unwrap().to_owned()));
        Shop {
            bases: BTreeMap::from(bases),
            running,
            stack,
            http,
            clock: self.clock,
            ids: IdSource::random(),
            readers: AtomicU64::new(0),
            folder,
        }
    }
}

/// The five services, with a log and databases in a folder of their own.
pub struct Shop {
    running: Running,
    bases: BTreeMap<&'static str, String>,
    stack: Stack,
    http: Client,
    clock: Clock,
    ids: IdSource,
    readers: AtomicU64,
    folder: TempDir,
}

impl Shop {
    /// Opens a shop with the default options.
    ///
    /// # Panics
    /// Panics when the services do not start.
    pub async fn open() -> Self {
        Self::opening().open().await
    }

    /// Returns the options of a shop, to be changed before it is opened.
    pub fn opening() -> Opening {
        Opening { clock: Clock::system(), over: Box::new(|log| log), order_deadline: None }
    }

    /// Stops the services.
    ///
    /// # Panics
    /// Panics when they do not stop in time.
    pub async fn close(self) {
        assert!(self.running.stop().await, "the services did not end in time");
        self.stack.close().await;
    }

    /// Returns the folder with all data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Connects to the PostgreSQL database with the services' schemas; `None` when each service has a file.
    pub async fn postgres(&self) -> Option<sqlx::PgConnection> {
        self.stack.postgres().await
    }

    /// Returns a new id.
    pub fn fresh_id(&self) -> String {
        self.ids.uuid(self.clock.now()).to_string()
    }

    /// Returns a request to a service, without a body.
    pub fn request(&self, method: Method, service: &str, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.bases[service]))
    }

    /// Sends `GET path` to a service.
    pub async fn get(&self, service: &str, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, service, path)).await
    }

    /// Sends `POST path` with `body` to a service.
    pub async fn post(&self, service: &str, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, service, path).json(body)).await
    }

    /// Sends `PUT path` with `body` to a service.
    pub async fn put(&self, service: &str, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::PUT, service, path).json(body)).await
    }

    /// Places an order of `quantity` units of a product for `price` each, and returns its id.
    ///
    /// # Panics
    /// Panics when it is not accepted.
    pub async fn place(&self, customer: &str, product: &str, quantity: u32, price: f64) -> String {
        let items = json!([{"productId": product, "quantity": quantity, "unitPrice": price}]);
        let order = json!({"customerId": customer, "items": items});
        let order = eventually("the order service takes the order", async || {
            let answer = self.post("order", "/orders", &order).await;
            // An overloaded service answers 503; the request is then repeated.
            (answer.status != 503).then(|| answer.is(202))
        })
        .await;
        order["orderId"].as_str().unwrap().to_owned()
    }

    /// Returns the order.
    pub async fn order(&self, order_id: &str) -> Value {
        self.get("order", &format!("/orders/{order_id}")).await.is(200)
    }

    /// Waits until the order has `status`, and returns it. A manual clock moves about as fast as the real one meanwhile: an event that
    /// overtook another event of its order is parked, and due after a moment of this clock.
    pub async fn order_is(&self, order_id: &str, status: &str) -> Value {
        let what = format!("order {order_id} is {status}");
        eventually(&what, async || {
            let order = self.order(order_id).await;
            if order["status"] == status {
                return Some(order);
            }
            self.clock.advance(Duration::from_millis(20));
            None
        })
        .await
    }

    /// Returns the order's history, oldest event first.
    pub async fn history(&self, order_id: &str) -> Vec<Value> {
        self.list("order", &format!("/orders/{order_id}/events")).await
    }

    /// Returns the names of the events in the order's history.
    pub async fn history_types(&self, order_id: &str) -> Vec<String> {
        self.history(order_id).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// Returns the first page of a list.
    pub async fn list(&self, service: &str, path: &str) -> Vec<Value> {
        match self.get(service, path).await.is(200) {
            Value::Array(items) => items,
            other => panic!("{service}{path} is no list: {other}"),
        }
    }

    /// Returns the number of entries on all pages of a list.
    pub async fn count(&self, service: &str, path: &str) -> u64 {
        let answer = self.get(service, path).await;
        answer.is(200);
        answer.header("x-total-count").unwrap().parse().unwrap()
    }

    /// Returns the available, reserved and sold units of a product.
    pub async fn stock(&self, product: &str) -> (u64, u64, u64) {
        let product = self.get("inventory", &format!("/products/{product}")).await.is(200);
        let units = |name: &str| product[name].as_u64().unwrap();
        (units("available"), units("reserved"), units("sold"))
    }

    /// Returns the kinds of the order's notifications with their status, sorted.
    pub async fn notifications(&self, order_id: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = self.list("notification", &format!("/notifications?orderId={order_id}")).await;
        let mut kinds: Vec<_> = list.iter().map(|one| (text(&one["kind"]), text(&one["status"]))).collect();
        kinds.sort();
        kinds
    }

    /// Waits until every published event is handled and no message is parked.
    ///
    /// # Panics
    /// Panics when that takes too long.
    pub async fn quiet(&self) {
        eventually("nothing is parked", async || {
            // Twice, because a parked message of one service can fall due, and cause an event for another, while the others are
            // queried.
            for _ in 0..2 {
                self.rest().await;
                for service in SERVICES {
                    let health = self.get(service, "/health").await.json();
                    if health["checks"]["parkedKeys"]["messages"] != 0 {
                        // A parked event that overtook another event of its order waits for a moment of this clock.
                        self.clock.advance(Duration::from_millis(50));
                        return None;
                    }
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until every published event is handled, and the only work left waits for a point in time.
    ///
    /// # Panics
    /// Panics when that takes longer than a minute of real time.
    pub async fn rest(&self) {
        let rest = tokio::time::timeout(REST, self.running.quiet()).await;
        assert!(rest.is_ok(), "the services did not come to rest within {REST:?}");
    }

    /// Moves a manual clock in steps of `step`, each after the work that was due is done, until `look` returns a value. Returns
    /// the value and how far the clock has moved.
    ///
    /// # Panics
    /// Panics when `look` returns nothing in 200 steps.
    pub async fn pass<T>(&self, step: Duration, mut look: impl AsyncFnMut() -> Option<T>) -> (T, Duration) {
        for steps in 0..200 {
            self.rest().await;
            if let Some(found) = look().await {
                return (found, step * steps);
            }
            self.clock.advance(step);
        }
        panic!("not within {:?} of the clock", step * 200);
    }

    /// Checks the invariants of the system, and returns the report. An overloaded service may not answer the check; it is then repeated.
    ///
    /// # Panics
    /// Panics when one does not hold.
    pub async fn check(&self) -> Value {
        let unanswered = |report: &Value| report["invariants"].to_string().contains("cannot be queried: no answer within");
        let report = eventually("every service answers the check", async || {
            Some(self.get("order", "/check").await.is(200)).filter(|report| !unanswered(report))
        })
        .await;
        assert_eq!(report["ok"], true, "{report:#}");
        report
    }

    /// Publishes `record` directly to the log.
    ///
    /// # Panics
    /// Panics when the log does not accept it.
    pub async fn publish(&self, record: Record) {
        for result in self.stack.log.publish(vec![record]).await {
            result.unwrap_or_else(|error| panic!("the log did not take the record: {error}"));
        }
    }

    /// Returns every record of `topic`, sorted by partition and offset.
    ///
    /// # Panics
    /// Panics when the topic cannot be read.
    pub async fn records(&self, topic: &str) -> Vec<Received> {
        // A reader that receives nothing is replaced: the test is about the topic, not about this reader.
        for _ in 0..4 {
            if let Some(mut all) = self.read(topic).await {
                all.sort_by_key(|received| (received.partition, received.offset));
                return all;
            }
        }
        panic!("four readers of `{topic}` in a row heard nothing for {SILENCE:?}");
    }

    /// Reads every record of `topic` as a new group; `None` when nothing arrives for a while.
    async fn read(&self, topic: &str) -> Option<Vec<Received>> {
        let group = format!("reader-{}", self.readers.fetch_add(1, Ordering::Relaxed));
        let topics = [topic.to_owned()];
        let mut reader = self.stack.log.subscribe(&group, &topics).await.unwrap();
        let lags = self.stack.log.lag(&group, &topics).await.unwrap();
        let mut ends: BTreeMap<_, _> = lags.into_iter().map(|lag| (lag.partition, lag.end)).filter(|(_, end)| *end > 0).collect();
        let mut all = Vec::new();
        while !ends.is_empty() {
            let Ok(next) = tokio::time::timeout(SILENCE, reader.next()).await else {
                #[expect(clippy::print_stderr, reason = "a reader that must be replaced is unusual")]
                {
                    eprintln!("the reader {group} of `{topic}` heard nothing for {SILENCE:?}; left: {ends:?}");
                }
                return None;
            };
            match next.unwrap() {
                Delivery::Assigned(partitions) => reader.start(&partitions.into_iter().map(|at| (at, None)).collect::<Vec<_>>()),
                Delivery::Records { partition, records } => {
                    let last = records.last().map_or(0, |last| last.offset + 1);
                    ends.retain(|other, end| *other != partition || last < *end);
                    all.extend(records);
                }
                Delivery::Revoked(partitions) => reader.release(&partitions),
                _ => {}
            }
        }
        reader.close().await;
        Some(all)
    }

    /// Returns every record of the order on `topic`, in order.
    pub async fn records_of(&self, topic: &str, order_id: &str) -> Vec<Arc<Record>> {
        let all = self.records(topic).await.into_iter().map(|received| received.record);
        all.filter(|record| record.key.as_deref() == Some(order_id.as_bytes())).collect()
    }
}
