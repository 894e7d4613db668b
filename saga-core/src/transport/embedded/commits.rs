//! Committed offsets that wait to be stored. A group that commits faster than the disk writes leaves only its newest offset here, so the
//! size is bounded by the number of groups and partitions.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use futures_core::future::BoxFuture;
use tokio::sync::{Notify, watch};

use crate::transport::{
    TransportError,
    local::{Partition, lock},
};

/// The result of storing offsets.
pub(super) type Outcome = Result<(), String>;

/// The queue of offsets between subscriptions and the writer.
pub(super) struct Commits {
    /// The offsets for the next write; `None` when the writer has ended.
    open: Mutex<Option<Batch>>,
    waiting: Notify,
}

/// Offsets that are stored together.
pub(super) struct Batch {
    /// The offset, by group and row of the partition.
    pub(super) offsets: HashMap<(Arc<str>, i64), (Arc<Partition>, i64)>,
    done: watch::Sender<Option<Outcome>>,
}

impl Commits {
    pub(super) fn new() -> Self {
        Self { open: Mutex::new(Some(Batch::new())), waiting: Notify::new() }
    }

    /// Queues offsets. The future completes when they are stored.
    pub(super) fn add(
        &self,
        group: &Arc<str>,
        offsets: Vec<(Arc<Partition>, i64)>,
    ) -> BoxFuture<'static, Result<(), TransportError>> {
        let mut done = {
            let mut open = lock(&self.open);
            let Some(batch) = open.as_mut() else {
                return Box::pin(std::future::ready(Err(TransportError::Closed)));
            };
            for (partition, offset) in offsets {
                let (start, end) = partition.bounds();
                let offset = offset.clamp(start, end);
                let newest = batch.offsets.entry((Arc::clone(group), partition.row)).or_insert((partition, offset));
                newest.1 = newest.1.max(offset);
            }
            batch.done.subscribe()
        };
        self.waiting.notify_one();
        Box::pin(async move {
            match done.wait_for(Option::is_some).await.as_deref() {
                Ok(Some(Err(problem))) => Err(TransportError::Unavailable(problem.clone())),
                Ok(_) => Ok(()),
                Err(_) => Err(TransportError::Closed),
            }
        })
    }

    /// Waits until offsets are queued.
    pub(super) async fn waiting(&self) {
        self.waiting.notified().await;
    }

    /// Takes the queued offsets; `None` if there are none.
    pub(super) fn take(&self) -> Option<Batch> {
        match lock(&self.open).as_mut() {
            Some(batch) if !batch.offsets.is_empty() => Some(std::mem::replace(batch, Batch::new())),
            _ => None,
        }
    }

    /// Takes the queued offsets and closes the queue.
    pub(super) fn finish(&self) -> Option<Batch> {
        lock(&self.open).take().filter(|batch| !batch.offsets.is_empty())
    }
}

impl Batch {
    fn new() -> Self {
        Self { offsets: HashMap::new(), done: watch::Sender::new(None) }
    }

    /// Reports the outcome to all callers that wait for this batch.
    pub(super) fn end(self, outcome: Outcome) {
        if outcome.is_ok() {
            for ((group, _), (partition, offset)) in &self.offsets {
                partition.commit(group, *offset);
            }
        }
        self.done.send_replace(Some(outcome));
    }
}
