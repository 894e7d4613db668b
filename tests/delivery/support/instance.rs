//! Several processes of the service under test, each an app of its own, on one log and one database.

use std::{sync::Arc, time::Duration};

use sagas::{
    Handle, Settings,
    id::IdSource,
    port::transport::Transport,
    prelude::*,
    testing::faulty::{Faults, Faulty},
    time::Clock,
    transport::memory::Memory,
};

use super::{metric, record, until};

/// A process with its access to the log.
pub struct Instance {
    pub handle: Handle,
    pub log: Arc<Faulty>,
}

impl Instance {
    pub async fn start(service: Service, log: &Memory, clock: &Clock, seed: u64) -> Self {
        let log = Arc::new(Faulty::new(Arc::new(log.clone()), Faults::default(), seed, clock.clone()));
        let app = App::new("shop").service(service).clock(clock.clone()).ids(IdSource::seeded(seed));
        let handle = app.start(log.clone()).await.unwrap_or_else(|error| panic!("{error}"));
        Self { handle, log }
    }

    pub fn service(&self) -> &ServiceHandle {
        self.handle.service("payments").unwrap()
    }

    /// Waits until no work is left for this process or for others, which do not notify this one.
    pub async fn quiet(&self) {
        let look = || async { tokio::time::timeout(Duration::from_millis(50), self.handle.quiet()).await.is_ok() };
        until("the services are at rest", look).await;
    }

    /// Returns the number of messages that had no effect here, because another process had acquired their partition.
    pub fn fenced(&self) -> f64 {
        metric(self.service(), "sagas_fenced_messages_total", "")
    }
}

pub fn partitions(count: u32) -> Settings {
    let mut settings = Settings::default();
    settings.topic_partitions = count;
    settings
}

/// Publishes an order as the shop does; returns its partition.
pub async fn publish(log: &Memory, order_id: &str, number: u32) -> i32 {
    let value = format!(r#"{{"order_id":"{order_id}","number":{number}}}"#);
    let headers = [("ce_id", &*format!("{order_id}-{number}")), ("ce_source", "shop"), ("ce_type", "Placed")];
    let record = record(Some(order_id.as_bytes()), Some(value.as_bytes()), &headers);
    log.publish(vec![record]).await.remove(0).unwrap().partition
}
