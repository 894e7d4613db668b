//! The analytics service alone, on a log to which a test writes the events of the other services.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use ecommerce::{Config, Running, ServiceName, Storage};
use reqwest::{Client, Method, RequestBuilder};
use sagas::{
    id::IdSource,
    message::{Header, Record},
    port::transport::Transport,
    time::Clock,
    transport::memory::Memory,
};
use sagas_tests::{Answer, EventStream};
use serde_json::{Value, json};

/// The configuration of the service.
#[derive(Clone)]
pub(crate) struct Analytics {
    config: Config,
    log: Arc<dyn Transport>,
}

impl Analytics {
    /// Uses a database in `folder`.
    pub(crate) fn new(folder: &Path) -> Self {
        Self::on(folder, Arc::new(Memory::new()), Storage::Files)
    }

    /// Uses this log and this storage.
    pub(crate) fn on(folder: &Path, log: Arc<dyn Transport>, storage: Storage) -> Self {
        let mut config = Config::new(folder).transport(log.clone()).storage(storage);
        config.services = vec![ServiceName::Analytics];
        Self { config, log }
    }

    /// Sets the number of changes to keep.
    pub(crate) fn kept(mut self, kept: u32) -> Self {
        self.config.stream.kept = kept;
        self
    }

    /// Sets the maximum number of readers.
    pub(crate) fn readers(mut self, readers: usize) -> Self {
        self.config.stream.readers = readers;
        self
    }

    /// Sets the maximum number of events that wait for a reader.
    pub(crate) fn buffered(mut self, buffered: usize) -> Self {
        self.config.stream.buffered = buffered;
        self
    }

    /// Sets how long a reader can take nothing before it is disconnected.
    pub(crate) fn stalled(mut self, stalled: Duration) -> Self {
        self.config.stream.stalled = stalled;
        self
    }

    /// Starts the service.
    pub(crate) async fn start(&self) -> Instance {
        let running = ecommerce::start(self.config.clone()).await.unwrap_or_else(|error| panic!("it does not start: {error}"));
        let base = running.base_url("analytics").unwrap().to_owned();
        let http = Client::builder().timeout(Duration::from_secs(30)).no_proxy().build().unwrap();
        Instance { running, base, http }
    }

    /// Publishes records as the other services would.
    pub(crate) async fn publish(&self, records: Vec<Record>) {
        for result in self.log.publish(records).await {
            result.unwrap_or_else(|error| panic!("the log did not take the record: {error}"));
        }
    }
}

/// The running service.
pub(crate) struct Instance {
    pub(crate) running: Running,
    base: String,
    http: Client,
}

impl Instance {
    /// Returns `host:port`.
    pub(crate) fn address(&self) -> &str {
        self.base.strip_prefix("http://").unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.request(Method::GET, format!("{}{path}", self.base))
    }

    pub(crate) async fn answer(&self, path: &str) -> Answer {
        Answer::to(self.get(path)).await
    }

    /// Opens a stream without a last event.
    pub(crate) async fn read(&self) -> EventStream {
        EventStream::open(self.get("/analytics/stream")).await
    }

    /// Opens a stream that continues after this event.
    pub(crate) async fn read_after(&self, id: &str) -> EventStream {
        EventStream::open(self.get("/analytics/stream").header("Last-Event-ID", id)).await
    }

    /// Returns the value of a series without labels of its own.
    pub(crate) async fn series(&self, name: &str) -> f64 {
        let text = self.answer("/metrics").await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}{{service=\"analytics\"}} ")));
        line.unwrap_or_else(|| panic!("no {name} in\n{text}")).parse().unwrap()
    }

    /// Stops the service, which must end in time.
    pub(crate) async fn stop(self) {
        assert!(self.running.stop().await, "it did not end in time");
    }
}

/// Returns the records of `orders` completed orders, four each, and the ids of the orders.
pub(crate) fn happenings(ids: &IdSource, orders: usize) -> (Vec<Record>, Vec<String>) {
    happenings_of_size(ids, orders, 0)
}

/// Like `happenings`, with `more` additional characters in the id of each record, which readers receive.
pub(crate) fn happenings_of_size(ids: &IdSource, orders: usize, more: usize) -> (Vec<Record>, Vec<String>) {
    let now = Clock::system().now();
    let mut records = Vec::new();
    let fresh = || ids.uuid(now).to_string();
    let orders: Vec<_> = (0..orders).map(|_| fresh()).collect();
    let money = json!({"minor_units": 990, "currency": "EUR"});
    for order in &orders {
        let item = json!({"product_id": "tea", "product_name": "tea", "quantity": 1, "unit_price": money});
        let held = json!({"product_id": "tea", "quantity": 1, "reservation_id": fresh()});
        let (customer, method, payment) = ("ada", "CREDIT_CARD", fresh());
        for (topic, name, value) in [
            (
                "orders",
                "OrderCreated",
                json!({"order_id": order, "customer_id": customer, "items": [item], "total": money, "payment_method": method}),
            ),
            (
                "inventory",
                "InventoryReserved",
                json!({"order_id": order, "reservations": [held], "customer_id": customer, "total": money, "payment_method": method}),
            ),
            (
                "payments",
                "PaymentProcessed",
                json!({"order_id": order, "payment_id": payment, "amount": money, "payment_method": method}),
            ),
            ("orders", "OrderConfirmed", json!({"order_id": order, "customer_id": customer, "total": money})),
        ] {
            records.push(record(topic, name, order, &value, &(fresh() + &"x".repeat(more))));
        }
    }
    (records, orders)
}

/// Returns the record of an event.
fn record(topic: &str, name: &str, key: &str, value: &Value, id: &str) -> Record {
    let headers = [("ce_specversion", "1.0"), ("ce_id", id), ("ce_type", name), ("ce_source", "test")];
    Record {
        topic: topic.to_owned(),
        key: Some(Bytes::from(key.to_owned())),
        value: Some(Bytes::from(value.to_string())),
        headers: headers.map(|(name, value)| Header::text(name, value)).into(),
        timestamp: Clock::system().now().into(),
    }
}
