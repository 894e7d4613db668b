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
    time::Clock,
    transport::{Delivery, Transport},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{Answer, eventually, stack::Stack};

/// The services.
pub const SERVICES: [&str; 5] = ["order", "inventory", "payment", "notification", "analytics"];
/// The topics that they speak on.
pub const TOPICS: [&str; 4] = ["orders", "inventory", "payments", "notifications"];

/// How long one call may take.
const CALL: Duration = Duration::from_secs(30);
/// How long the services may take to come to rest, in real time.
const REST: Duration = Duration::from_secs(60);

/// How long a reader of a topic waits for the next record.
const SILENCE: Duration = Duration::from_secs(20);

/// What the services see of the log.
type Wrap = Box<dyn FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport>>;

/// How a shop is to be opened.
pub struct Opening {
    clock: Clock,
    over: Wrap,
    order_deadline: Option<Duration>,
}

impl Opening {
    /// By this clock instead of the system's.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// With orders cancelled that are undecided after this time.
    #[must_use]
    pub fn order_deadline(mut self, order_deadline: Duration) -> Self {
        self.order_deadline = Some(order_deadline);
        self
    }

    /// With the services on what `wrap` makes of the log. The shop itself reads and writes the log past it.
    #[must_use]
    pub fn over(mut self, wrap: impl FnOnce(Arc<dyn Transport>) -> Arc<dyn Transport> + 'static) -> Self {
        self.over = Box::new(wrap);
        self
    }

    /// Opens the shop.
    ///
    /// # Panics
    /// When the services do not start.
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

/// The five services, on a log and databases in a folder of their own.
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
    /// A shop as it comes.
    ///
    /// # Panics
    /// When the services do not start.
    pub async fn open() -> Self {
        Self::opening().open().await
    }

    /// A shop that is to be opened in another way.
    pub fn opening() -> Opening {
        Opening { clock: Clock::system(), over: Box::new(|log| log), order_deadline: None }
    }

    /// Stops the services.
    ///
    /// # Panics
    /// When they do not end in time.
    pub async fn close(self) {
        assert!(self.running.stop().await, "the services did not end in time");
        self.stack.close().await;
    }

    /// The folder with everything that is written.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A connection to the PostgreSQL database with a schema for each service; `None` when each has a file of its own.
    pub async fn postgres(&self) -> Option<sqlx::PgConnection> {
        self.stack.postgres().await
    }

    /// An identity that nobody has yet.
    pub fn fresh_id(&self) -> String {
        self.ids.uuid(self.clock.now()).to_string()
    }

    /// A request to a service, to be filled in.
    pub fn request(&self, method: Method, service: &str, path: &str) -> RequestBuilder {
        self.http.request(method, format!("{}{path}", self.bases[service]))
    }

    /// Asks a service.
    pub async fn get(&self, service: &str, path: &str) -> Answer {
        Answer::to(self.request(Method::GET, service, path)).await
    }

    /// Posts `body` to a service.
    pub async fn post(&self, service: &str, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::POST, service, path).json(body)).await
    }

    /// Puts `body` to a service.
    pub async fn put(&self, service: &str, path: &str, body: &Value) -> Answer {
        Answer::to(self.request(Method::PUT, service, path).json(body)).await
    }

    /// Places an order of `quantity` units of a product for `price` each, and gives its id.
    ///
    /// # Panics
    /// When it is not taken.
    pub async fn place(&self, customer: &str, product: &str, quantity: u32, price: f64) -> String {
        let items = json!([{"productId": product, "quantity": quantity, "unitPrice": price}]);
        let order = json!({"customerId": customer, "items": items});
        let order = eventually("the order service takes the order", async || {
            let answer = self.post("order", "/orders", &order).await;
            // A service that has more to do than it can says so, and is asked again.
            (answer.status != 503).then(|| answer.is(202))
        })
        .await;
        order["orderId"].as_str().unwrap().to_owned()
    }

    /// The order as it is.
    pub async fn order(&self, order_id: &str) -> Value {
        self.get("order", &format!("/orders/{order_id}")).await.is(200)
    }

    /// Waits until the order has `status`, and gives it.
    pub async fn order_is(&self, order_id: &str, status: &str) -> Value {
        let what = format!("order {order_id} is {status}");
        eventually(&what, async || Some(self.order(order_id).await).filter(|order| order["status"] == status)).await
    }

    /// The order's history, oldest event first.
    pub async fn history(&self, order_id: &str) -> Vec<Value> {
        self.list("order", &format!("/orders/{order_id}/events")).await
    }

    /// The names of the events in the order's history.
    pub async fn history_types(&self, order_id: &str) -> Vec<String> {
        self.history(order_id).await.iter().map(|event| event["type"].as_str().unwrap().to_owned()).collect()
    }

    /// A list, as far as its first page goes.
    pub async fn list(&self, service: &str, path: &str) -> Vec<Value> {
        match self.get(service, path).await.is(200) {
            Value::Array(items) => items,
            other => panic!("{service}{path} is no list: {other}"),
        }
    }

    /// How many a list has, on all its pages.
    pub async fn count(&self, service: &str, path: &str) -> u64 {
        let answer = self.get(service, path).await;
        answer.is(200);
        answer.header("x-total-count").unwrap().parse().unwrap()
    }

    /// Available, reserved and sold units of a product.
    pub async fn stock(&self, product: &str) -> (u64, u64, u64) {
        let product = self.get("inventory", &format!("/products/{product}")).await.is(200);
        let units = |name: &str| product[name].as_u64().unwrap();
        (units("available"), units("reserved"), units("sold"))
    }

    /// The kinds of the order's notifications with their status, sorted.
    pub async fn notifications(&self, order_id: &str) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let list = self.list("notification", &format!("/notifications?orderId={order_id}")).await;
        let mut kinds: Vec<_> = list.iter().map(|one| (text(&one["kind"]), text(&one["status"]))).collect();
        kinds.sort();
        kinds
    }

    /// Waits until all that was published is handled, and nothing waits for a further attempt.
    ///
    /// # Panics
    /// When that takes too long.
    pub async fn quiet(&self) {
        eventually("nothing is parked", async || {
            // What a service has put off may come due, and lead to something in another, while the others are asked.
            for _ in 0..2 {
                self.rest().await;
                for service in SERVICES {
                    let health = self.get(service, "/health").await.json();
                    if health["checks"]["parkedKeys"]["messages"] != 0 {
                        return None;
                    }
                }
            }
            Some(())
        })
        .await;
    }

    /// Waits until all that was published is handled, and nothing is left but what waits for its time.
    ///
    /// # Panics
    /// When that takes longer than a minute of real time.
    pub async fn rest(&self) {
        let rest = tokio::time::timeout(REST, self.running.quiet()).await;
        assert!(rest.is_ok(), "the services did not come to rest within {REST:?}");
    }

    /// Moves a manual clock, `step` at a time and each time after what was due is done, until `look` finds something. Gives
    /// that, and how far the clock has moved.
    ///
    /// # Panics
    /// When it finds nothing in 200 steps.
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

    /// The system keeps its invariants.
    ///
    /// # Panics
    /// When it does not.
    pub async fn check(&self) -> Value {
        let report = self.get("order", "/check").await.is(200);
        assert_eq!(report["ok"], true, "{report:#}");
        report
    }

    /// Publishes `record`, past the services.
    ///
    /// # Panics
    /// When the log does not take it.
    pub async fn publish(&self, record: Record) {
        for result in self.stack.log.publish(vec![record]).await {
            result.unwrap_or_else(|error| panic!("the log did not take the record: {error}"));
        }
    }

    /// Every record of `topic`; those of one key in order.
    ///
    /// # Panics
    /// When the topic cannot be read.
    pub async fn records(&self, topic: &str) -> Vec<Received> {
        // What is in the topic matters here, not who reads it: a reader that hears nothing is replaced.
        for _ in 0..4 {
            if let Some(mut all) = self.read(topic).await {
                all.sort_by_key(|received| (received.partition, received.offset));
                return all;
            }
        }
        panic!("four readers of `{topic}` in a row heard nothing for {SILENCE:?}");
    }

    /// Every record of `topic`, as a new reader is given them; `None` when it is given nothing for a while.
    async fn read(&self, topic: &str) -> Option<Vec<Received>> {
        let group = format!("reader-{}", self.readers.fetch_add(1, Ordering::Relaxed));
        let topics = [topic.to_owned()];
        let mut reader = self.stack.log.subscribe(&group, &topics).await.unwrap();
        let lags = self.stack.log.lag(&group, &topics).await.unwrap();
        let mut ends: BTreeMap<_, _> = lags.into_iter().map(|lag| (lag.partition, lag.end)).filter(|(_, end)| *end > 0).collect();
        let mut all = Vec::new();
        while !ends.is_empty() {
            let Ok(next) = tokio::time::timeout(SILENCE, reader.next()).await else {
                #[expect(clippy::print_stderr, reason = "a reader that is replaced is worth a look")]
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

    /// Every record of the order on `topic`, in order.
    pub async fn records_of(&self, topic: &str, order_id: &str) -> Vec<Arc<Record>> {
        let all = self.records(topic).await.into_iter().map(|received| received.record);
        all.filter(|record| record.key.as_deref() == Some(order_id.as_bytes())).collect()
    }
}
