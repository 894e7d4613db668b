//! Whether the partitions of messages are still ours: asked in the transaction that has their effects, last before its commit.

use std::time::Duration;

use tokio::sync::watch;

use super::{core::Core, item::Item};
use crate::{
    message::TopicPartition,
    store::{StoreError, StoreTx},
};

/// How long a transaction may take to begin once the service stops.
const LAST_BEGIN: Duration = Duration::from_secs(1);

/// What became of a message that a task was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its effects are durable, or it has none.
    Done,
    /// Another has taken its partition over: it had no effect here.
    Fenced,
    /// The service stops while the database fails: the message comes again.
    GivenBack,
    /// It can be neither handled nor given up now: it and its key are left alone for a while.
    LeftAlone,
}

/// Partitions that others have taken over, each with the epoch under which we had it.
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

/// Holds the partitions of `items` until `tx` has ended. Those that it gives back are not ours any more: nothing of them may be
/// committed.
pub(crate) async fn hold(
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
    let stand = tx.hold(&core.name, &owned).await?;
    Ok(owned.into_iter().zip(stand).filter_map(|(owned, stands)| (!stands).then_some(owned)).collect())
}

/// Says to whoever waits for the database that the service stops.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    pub(crate) fn new(stopping: watch::Receiver<bool>) -> Self {
        Self(stopping)
    }

    /// Of what is ended by dropping it.
    pub(crate) fn never() -> Self {
        static NEVER: std::sync::LazyLock<watch::Sender<bool>> = std::sync::LazyLock::new(|| watch::Sender::new(false));
        Self(NEVER.subscribe())
    }

    /// Waits for `wait`, or until the service stops; says whether it does.
    pub(crate) async fn comes_within(&self, core: &Core, wait: Duration) -> bool {
        tokio::select! {
            () = self.comes() => true,
            () = core.clock.sleep(wait) => false,
        }
    }

    /// Begins a transaction. A service that stops waits no longer than it has to.
    pub(crate) async fn begin(&self, core: &Core) -> Result<Box<dyn StoreTx>, StoreError> {
        let late = async {
            self.comes().await;
            tokio::time::sleep(LAST_BEGIN).await;
        };
        tokio::select! {
            biased;
            tx = core.store().begin() => tx,
            () = late => Err(StoreError::Unavailable("no transaction began before the service stopped".into())),
        }
    }

    /// Whether the service stops.
    pub(crate) fn is_there(&self) -> bool {
        *self.0.borrow()
    }

    /// Ends when the service stops, and when whoever would say so is gone.
    pub(crate) async fn comes(&self) {
        let _ = self.0.clone().wait_for(|stopping| *stopping).await;
    }
}
