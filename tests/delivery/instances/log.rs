//! A log that only keeps the records it receives, in the order in which they arrive.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, AtomicUsize, Ordering},
};

use async_trait::async_trait;
use sagas::{
    message::Record,
    port::transport::{GroupLag, Position, Subscription, TopicSpec, Transport},
    transport::TransportError,
};

use crate::support::Placed;

type Notes = Arc<Mutex<Vec<(String, u32)>>>;

/// One process's access to the log.
#[derive(Default)]
pub struct Log {
    notes: Notes,
    down: AtomicBool,
    /// The number of records that this process has sent.
    brought: AtomicUsize,
}

impl Log {
    /// Returns another process's access to the same log.
    pub fn beside(&self) -> Arc<Self> {
        Arc::new(Self { notes: self.notes.clone(), ..Self::default() })
    }

    /// Sets whether this process can reach the log.
    pub fn set_down(&self, down: bool) {
        self.down.store(down, Ordering::SeqCst);
    }

    pub fn records(&self) -> Vec<(String, u32)> {
        self.notes.lock().unwrap().clone()
    }

    pub fn brought(&self) -> usize {
        self.brought.load(Ordering::SeqCst)
    }
}

#[async_trait]
impl Transport for Log {
    async fn ensure_topics(&self, _: &[TopicSpec]) -> Result<(), TransportError> {
        Ok(())
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        tokio::task::yield_now().await;
        if self.down.load(Ordering::SeqCst) {
            return records.iter().map(|_| Err(TransportError::Unavailable("it is down".into()))).collect();
        }
        self.brought.fetch_add(records.len(), Ordering::SeqCst);
        let mut notes = self.notes.lock().unwrap();
        notes.extend(records.iter().map(|record| {
            let placed: Placed = serde_json::from_slice(record.value.as_deref().unwrap()).unwrap();
            (placed.order_id, placed.number)
        }));
        records.iter().map(|_| Ok(Position { partition: 0, offset: 0 })).collect()
    }

    async fn subscribe(&self, _: &str, _: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        Err(TransportError::Closed)
    }

    async fn lag(&self, _: &str, _: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        Ok(Vec::new())
    }

    async fn check(&self) -> Result<(), TransportError> {
        Ok(())
    }

    async fn close(&self) {}
}
