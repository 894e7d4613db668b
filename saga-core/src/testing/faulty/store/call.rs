//! What a script sees of a call, and what it can do to it.

use std::time::Duration;

use crate::store::StoreError;

/// One call of a store, as a [script](super::FaultyStore::script) sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoreCall {
    /// What the call does.
    pub operation: StoreOperation,
    /// The name of the method, as in the traits [`Store`](crate::store::Store), [`StoreTx`](crate::store::StoreTx) and
    /// [`PublishTx`](crate::store::PublishTx). The methods of the parts of a store have the name of the part before them: `sagas.due`,
    /// `replays.step`, `handled.assign`, `sharing.tell`.
    pub method: &'static str,
    /// What the call is about, where it names that: the ids of messages, dead letters and instances, and the keys of records and of parked
    /// messages.
    pub ids: Vec<String>,
}

impl StoreCall {
    /// Whether [`ids`](Self::ids) contains `id`.
    pub fn is_about(&self, id: &str) -> bool {
        self.ids.iter().any(|about| about == id)
    }
}

/// The kind of a call of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreOperation {
    /// The beginning of a transaction.
    Begin,
    /// A statement in a transaction.
    Statement,
    /// A commit.
    Commit,
    /// A read outside a transaction.
    Read,
    /// A write outside a transaction: migrations, the ownership of partitions, applied offsets, replays, pruning.
    Write,
    /// The check whether the database can be used.
    Check,
    /// The leases of the outbox's shards, and its backlog.
    Share,
    /// A notification to the other processes of a service.
    Notify,
    /// The beginning of the listening to notifications, and each notification that arrives.
    Listen,
}

/// What happens to a call of a store.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum StoreFault {
    /// Nothing is done, and the call returns [`StoreError::Unavailable`].
    Unavailable,
    /// Nothing is done, and the call returns this error.
    Error(StoreError),
    /// The call is done, but it returns [`StoreError::Unavailable`].
    LoseAnswer,
    /// The call is done after this time.
    Delay(Duration),
    /// The call is done, and returns after this time.
    DelayAnswer(Duration),
    /// Nothing is done, and the call panics.
    Panic,
}
