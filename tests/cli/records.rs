//! The rows that the services of the saga have written.

use std::{path::Path, time::Duration};

use sagas::port::tracking::{EventSeen, GivenUp, Instance, Observation};
use sagas::{
    Database,
    dead_letter::{DeadLetter, DeadLetterState},
    id::MessageId,
    message::{Received, Record},
    port::store::StoredDefinition,
    saga::{Chart, HistoryEntry, InstanceKey, StepRecord, StepState},
    store::sqlite::{SqliteOptions, SqliteStore},
    time::{Clock, Timestamp},
};

use super::flow::place_order;

pub const MINUTE: Duration = Duration::from_secs(60);

/// Opens the database of `service` in `folder`, with its tables.
pub async fn file(folder: &Path, service: &str) -> Database {
    let path = folder.join(format!("{service}.sqlite"));
    let database = Database::new(std::sync::Arc::new(SqliteStore::open(SqliteOptions::file(path)).await.unwrap()));
    database.store().migrate().await.unwrap();
    database
}

/// Writes rows as the services would.
pub struct Services {
    pub chart: Chart,
    pub now: Timestamp,
    pub order: Database,
    pub inventory: Database,
    pub payment: Database,
}

impl Services {
    /// Creates services with a file each in `folder`; the tracker has stored its definition.
    pub async fn in_folder(folder: &Path) -> Self {
        let (order, inventory, payment) =
            (file(folder, "order").await, file(folder, "inventory").await, file(folder, "payment").await);
        Self::of(order, inventory, payment).await
    }

    pub async fn of(order: Database, inventory: Database, payment: Database) -> Self {
        let services = Self { chart: place_order(), now: Clock::system().now(), order, inventory, payment };
        services.define(&services.chart).await;
        services
    }

    pub async fn define(&self, chart: &Chart) {
        let definition = &chart.definition;
        let body = serde_json::to_string(chart).unwrap();
        let stored = StoredDefinition { saga: definition.name.clone(), version: definition.version, body };
        self.order.store().sagas().define("order", &stored).await.unwrap();
    }

    pub fn ago(&self, time: Duration) -> Timestamp {
        self.now.before(time)
    }

    /// Returns an instance that began `age` ago and has seen these events since, one second apart.
    pub fn instance(&self, id: &str, age: Duration, events: &[&str]) -> (Instance, Vec<HistoryEntry>) {
        let (definition, start) = (&self.chart.definition, self.ago(age));
        let message = |event: &str| format!("{id}/{event}");
        let begun = message("OrderCreated");
        let sighting = EventSeen { event: "OrderCreated", id: &begun, at: start };
        let mut instance =
            Instance::begin(definition, id, sighting, &format!("correlation of {id}"), sighting.at, definition.deadline);
        let mut history = vec![entry(&instance, "OrderCreated", &begun, start)];
        for (event, second) in events.iter().zip(1..) {
            let (at, name) = (start.after(Duration::from_secs(second)), message(event));
            let taken = instance.observe(definition, EventSeen { event, id: &name, at }, at, definition.deadline);
            let note = match taken {
                Observation::NotAllowed(reason) => Some(format!("not allowed: {reason}")),
                _ => None,
            };
            history.push(HistoryEntry { note, ..entry(&instance, event, &name, at) });
        }
        (instance, history)
    }

    /// Stores the instance as the tracker does.
    pub async fn keep(&self, (instance, history): &(Instance, Vec<HistoryEntry>)) {
        let mut tx = self.order.store().begin().await.unwrap();
        tx.save_instances("order", &[instance.record()]).await.unwrap();
        tx.append_history("order", history).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Stores a step record as a participant does.
    pub async fn step(&self, service: &str, id: &str, step: &str, state: StepState, at: Timestamp, until: Option<Timestamp>) {
        let instance = InstanceKey { saga: "PlaceOrder".into(), id: id.into() };
        let message_id = MessageId::new(format!("call of {step}"));
        let record = StepRecord { instance, step: step.into(), state, record: None, message_id, until, at };
        let mut tx = self.database(service).store().begin().await.unwrap();
        tx.save_steps(service, &[record]).await.unwrap();
        tx.commit().await.unwrap();
    }

    /// Stores a dead letter as a participant does.
    pub async fn bury(&self, service: &str, letter: &str, id: &str, event: &str, topic: &str, error: &str) {
        let record = Record {
            topic: topic.into(),
            key: Some(id.to_owned().into()),
            value: Some("{}".into()),
            headers: vec![],
            timestamp: self.now.into(),
        };
        let letter = DeadLetter {
            id: MessageId::new(letter),
            received: Received { record: record.into(), partition: 0, offset: 7 },
            event_type: Some(event.into()),
            error: error.into(),
            attempts: 5,
            at: self.ago(MINUTE),
            state: DeadLetterState::Open,
            unpublished: None,
        };
        let mut tx = self.database(service).store().begin().await.unwrap();
        tx.insert_dead_letters(service, &[letter]).await.unwrap();
        tx.commit().await.unwrap();
    }

    fn database(&self, service: &str) -> &Database {
        match service {
            "order" => &self.order,
            "inventory" => &self.inventory,
            _ => &self.payment,
        }
    }

    /// Creates one instance of each kind: `running` and `done` are correct; `overdue`, `attention`, `odd` and `old` are not.
    pub async fn one_of_each(&self) {
        self.keep(&self.instance("running", MINUTE, &["InventoryReserved"])).await;
        self.step("inventory", "running", "ReserveInventory", StepState::Done, self.ago(MINUTE), None).await;
        self.step("payment", "running", "ProcessPayment", StepState::Begun, self.ago(MINUTE), Some(self.now.after(MINUTE))).await;
        self.keep(&self.instance("done", 2 * MINUTE, &["InventoryReserved", "PaymentProcessed", "OrderConfirmed"])).await;

        self.keep(&self.instance("overdue", 20 * MINUTE, &["InventoryReserved"])).await;
        let (begun, until) = (self.ago(19 * MINUTE), self.ago(18 * MINUTE));
        self.step("payment", "overdue", "ProcessPayment", StepState::Begun, begun, Some(until)).await;

        let (mut instance, history) = self.instance("attention", 10 * MINUTE, &["InventoryReserved"]);
        let given_up = GivenUp {
            step: "ProcessPayment".into(),
            undo: false,
            service: "payment".into(),
            dead_letter: "letter-1".into(),
            reason: "payment gave ProcessPayment up after 5 attempts: no such card".into(),
            event: None,
        };
        instance.record_given_up(&self.chart.definition, given_up, self.ago(9 * MINUTE));
        self.keep(&(instance, history)).await;
        self.bury("payment", "letter-1", "attention", "InventoryReserved", "inventory", "no such card").await;
        self.bury("payment", "letter-2", "attention", "Unrelated", "elsewhere", "no part of a saga").await;

        // The step was refused, but is reserved nevertheless.
        self.keep(&self.instance("odd", 3 * MINUTE, &["InventoryInsufficient", "InventoryReserved"])).await;

        let (mut instance, history) = self.instance("old", 4 * MINUTE, &[]);
        instance.version = 7;
        self.keep(&(instance, history)).await;
    }

    /// Closes the databases.
    pub async fn stop(self) {
        for database in [self.order, self.inventory, self.payment] {
            database.store().close().await;
        }
    }
}

fn entry(instance: &Instance, event: &str, id: &str, at: Timestamp) -> HistoryEntry {
    let source = match event {
        event if event.starts_with("Inventory") => "inventory",
        event if event.starts_with("Payment") => "payment",
        _ => "order",
    };
    HistoryEntry {
        instance: instance.key.clone(),
        event: event.to_owned(),
        message_id: id.to_owned(),
        causation_id: None,
        source: source.to_owned(),
        at,
        seen_at: at,
        note: None,
    }
}

/// Creates a folder with the databases of stopped services, which have one instance of each kind.
pub async fn one_of_each() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.one_of_each().await;
    services.stop().await;
    folder
}
