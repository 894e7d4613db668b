//! Several processes of a service on one database share the sending of its outbox, and keep the order of every key.

mod log;
mod model;
mod postgres;

use std::{collections::HashMap, time::Duration};

use sagas::{App, Settings, prelude::*};

pub use self::log::Log;
use crate::support::*;

/// A process of the service `shop`, with its view of the log.
pub struct Instance {
    pub handle: Option<sagas::Handle>,
    pub log: std::sync::Arc<Log>,
}

impl Instance {
    pub async fn start(database: Database, log: std::sync::Arc<Log>) -> Self {
        let mut settings = Settings::default();
        (settings.stop_timeout_ms, settings.outbox_rows) = (20_000, 2_000);
        let service = Service::new("shop", database).settings(settings);
        let handle = App::new("shop").service(service).start(log.clone()).await.unwrap();
        Self { handle: Some(handle), log }
    }

    pub fn service(&self) -> &ServiceHandle {
        self.handle.as_ref().unwrap().service("shop").unwrap()
    }

    pub async fn commit(&self, key: &str, number: u32) {
        let mut work = self.service().begin().await.unwrap();
        work.publish(&placed(key, number)).unwrap();
        work.commit().await.unwrap();
    }

    /// Ends like a process that is killed.
    pub fn kill(mut self) {
        drop(self.handle.take());
    }

    pub async fn stop(mut self) {
        assert!(self.handle.take().unwrap().stop().await, "it stops in time");
    }
}

/// Returns the first occurrences of the records with this key in the log, in their order.
pub fn firsts(log: &Log, key: &str) -> Vec<u32> {
    let mut seen = std::collections::HashSet::new();
    log.records().into_iter().filter(|(of, number)| of == key && seen.insert(*number)).map(|(_, number)| number).collect()
}

/// Returns the number of repeated records in the log.
pub fn twice(log: &Log) -> usize {
    let mut counts: HashMap<(String, u32), usize> = HashMap::new();
    log.records().into_iter().for_each(|record| *counts.entry(record).or_default() += 1);
    counts.into_values().map(|count| count - 1).sum()
}

pub async fn nothing_left(database: &Database) {
    let store = database.store().clone();
    sagas_tests::eventually("the outbox is empty", async || store.outbox("shop", 0, 1).await.unwrap().is_empty().then_some(()))
        .await;
}

/// Two processes commit events with the same keys in turn; each key is in the log in the order of the commits.
pub async fn in_turn(instances: [&Instance; 2], keys: u32, numbers: std::ops::Range<u32>) {
    for number in numbers {
        for key in 0..keys {
            instances[((number + key) % 2) as usize].commit(&format!("o{key}"), number).await;
        }
    }
}

pub const LEASE: Duration = Duration::from_secs(5);
