//! The shop on its own log and databases, and queries for tests.

use std::{sync::Arc, time::Duration};

use sagas::{
    Sagas, Settings, StartError, TopicNames,
    port::transport::Transport,
    prelude::*,
    saga::{HistoryEntry, InstanceView},
    testing::Pump,
    time::Clock,
};
pub use sagas_tests::{advance_until, clock, databases, metric, sqlite, until};

use crate::shop::{PlaceOrder, Shop, books::Books, inventory, order, payment};

/// The log and databases of a shop, which outlive the app.
#[derive(Clone)]
pub struct Site {
    pub shop: Shop,
    pub log: Arc<dyn Transport>,
    pub names: TopicNames,
    pub clock: Clock,
    pub order: Database,
    pub inventory: Database,
    pub payment: Database,
}

impl Site {
    /// Creates a site on `log`, with stores in memory.
    pub fn on(log: impl Transport, stock: u32) -> Self {
        Self {
            shop: Shop::with_stock(stock),
            log: Arc::new(log),
            names: TopicNames::default(),
            clock: clock(),
            order: Database::memory(),
            inventory: Database::memory(),
            payment: Database::memory(),
        }
    }

    /// Uses databases with SQL.
    pub async fn sql(self) -> Self {
        Self { order: sqlite().await, inventory: sqlite().await, payment: sqlite().await, ..self }
    }

    pub fn services(&self) -> [Service; 3] {
        let services = [
            order::service(&self.order, &self.shop),
            inventory::service(&self.inventory, &self.shop),
            payment::service(&self.payment, &self.shop),
        ];
        services.map(|service| service.settings(settings()))
    }

    /// Ends the process as a crash does, and waits until no task of it is left.
    pub async fn crash(&self, stage: Stage) {
        drop(stage);
        let databases = [&self.order, &self.inventory, &self.payment];
        until("the app has ended", async || databases.iter().all(|database| Arc::strong_count(database.store()) == 1)).await;
    }

    /// Opens the shop.
    pub async fn open(&self) -> Stage {
        self.open_with(self.services()).await
    }

    /// Opens a shop with these services.
    pub async fn open_with(&self, services: impl IntoIterator<Item = Service>) -> Stage {
        self.try_open(services).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Opens a shop with these services, or returns why it cannot start.
    pub async fn try_open(&self, services: impl IntoIterator<Item = Service>) -> Result<Stage, StartError> {
        let pump =
            Pump::of(services).on(self.log.clone()).topics(self.names.clone()).clock(self.clock.clone()).try_start(&[]).await?;
        Ok(Stage { pump, shop: self.shop.clone() })
    }
}

/// Returns settings with one partition for each topic, which gates require.
pub fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.topic_partitions = 1;
    settings
}

/// A running shop.
pub struct Stage {
    pub pump: Pump,
    pub shop: Shop,
}

impl Stage {
    pub fn books(&self) -> &Books {
        &self.shop.books
    }

    pub async fn place(&self, id: u64, quantity: u32, amount: u32) {
        order::place(self.pump.service("order"), &self.shop, id, quantity, amount).await;
    }

    pub async fn cancel(&self, id: u64) -> Aborting {
        order::cancel(self.pump.service("order"), &self.shop, id).await
    }

    pub fn sagas(&self) -> Sagas {
        self.pump.service("order").sagas()
    }

    /// Returns the instance of an order.
    pub async fn instance(&self, id: u64) -> InstanceView {
        self.sagas().find(PlaceOrder::NAME, &id.to_string()).await.unwrap().unwrap()
    }

    pub async fn history(&self, id: u64) -> Vec<HistoryEntry> {
        self.sagas().history(PlaceOrder::NAME, &id.to_string()).await.unwrap()
    }

    /// Returns the number of dead letters of all services.
    pub async fn dead_letters(&self) -> u64 {
        let mut open = 0;
        for service in ["order", "inventory", "payment"] {
            open += self.pump.service(service).dead_letters(0, 1).await.unwrap().1;
        }
        open
    }
}

/// Advances the clock until the instance of an order needs attention.
pub async fn until_attention(stage: &Stage, id: u64) {
    until_attention_of(&stage.pump, "order", id).await;
}

/// Like `until_attention`, for the instance that `tracker` keeps.
pub async fn until_attention_of(pump: &Pump, tracker: &str, id: u64) {
    let find = async || pump.service(tracker).sagas().find(PlaceOrder::NAME, &id.to_string()).await.unwrap().unwrap();
    for _ in 0..10 {
        pump.advance(Duration::from_secs(1)).await;
        if find().await.attention.is_some() {
            return;
        }
    }
    panic!("order {id} does not need attention: {:?}", find().await);
}
