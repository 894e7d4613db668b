//! Checks that the process still owns the partitions of messages, in the transaction of their effects, as the last step before its commit.

use std::time::Duration;

use tokio::sync::watch;

use super::{core::Core, item::Item};
use crate::{
    message::TopicPartition,
    store::{StoreError, StoreTx},
};

/// How long a transaction may wait to begin while the service stops.
const LAST_BEGIN: Duration = Duration::from_secs(1);

/// What happened to a message that a task was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disposition {
    /// Its effects are durable, or it has none.
    Done,
    /// Another process has acquired its partition. It had no effect here.
    Fenced,
    /// The service stops while the database fails. The log delivers the message again.
    GivenBack,
    /// It can be neither handled nor dead-lettered now. It and its key are retried later.
    SetAside,
}

/// The partitions that other processes have acquired, each with the epoch under which this process owned it.
#[derive(Debug, Default)]
pub(crate) struct Fenced(Vec<(TopicPartition, i64)>);

impl Fenced {
    pub(crate) fn has(&self, item: &Item) -> bool {
        self.0.iter().any(|(partition, epoch)| *epoch == item.epoch && item.is_of(partition))
    }

    pub(crate) fn add(&mut self, lost: Vec<(TopicPartition, i64)>) {
        self.0.extend(lost);
    }
}

/// Locks the ownership of the partitions of `items` until `tx` has ended. Returns the partitions that this process no longer owns: no
/// effects of their messages may be committed.
pub(crate) async fn check_ownership(
    core: &Core,
    tx: &mut dyn StoreTx,
    items: impl Iterator<Item = &Item>,
) -> Result<Vec<(TopicPartition, i64)>, StoreError> {
    let mut owned: Vec<(TopicPartition, i64)> = Vec::new();
    for item in items {
        if !owned.iter().any(|(partition, epoch)| *epoch == item.epoch && item.is_of(partition)) {
            owned.push((item.partition(), item.epoch));
        }
    }
    let stand = tx.check_ownership(&core.name, &owned).await?;
    Ok(owned.into_iter().zip(stand).filter_map(|(owned, stands)| (!stands).then_some(owned)).collect())
}

/// The signal that the service stops.
#[derive(Debug, Clone)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    pub(crate) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self(stopping)
    }

    /// Returns a shutdown that is never requested, for a task that ends by being dropped.
    pub(crate) fn never() -> Self {
        static NEVER: std::sync::LazyLock<watch::Sender<bool>> = std::sync::LazyLock::new(|| watch::Sender::new(false));
        Self(NEVER.subscribe())
    }

    /// Waits for `wait`, or until the service stops. Returns whether it stops.
    pub(crate) async fn sleep(&self, core: &Core, wait: Duration) -> bool {
        tokio::select! {
            () = self.requested() => true,
            () = core.clock.sleep(wait) => false,
        }
    }

    /// Begins a transaction. While the service stops, the wait for it is limited to one second.
    pub(crate) async fn begin(&self, core: &Core) -> Result<Box<dyn StoreTx>, StoreError> {
        let late = async {
            self.requested().await;
            tokio::time::sleep(LAST_BEGIN).await;
        };
        tokio::select! {
            biased;
            tx = core.store().begin() => tx,
            () = late => Err(StoreError::Unavailable("no transaction began before the service stopped".into())),
        }
    }

    /// Returns whether the service stops.
    pub fn is_requested(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until the service stops, or until the sender of the signal has been dropped.
    pub async fn requested(&self) {
        let _ = self.0.clone().wait_for(|stopping| *stopping).await;
    }
}
