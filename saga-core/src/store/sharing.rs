//! How the processes of a service share its outbox through their database: which process sends which shards.

use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use super::StoreError;
use crate::{
    message::{Shard, Shards},
    time::Timestamp,
};

/// The ownership of a shard of a service's outbox by one process, for a limited time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// The epoch of the ownership. It grows each time the shard changes its owner.
    pub epoch: i64,
}

/// The part of a service's outbox that one process owns.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// The shards that the process owns.
    pub leases: Vec<Lease>,
    /// How many shards it should own: all shards divided by the number of live processes, rounded up.
    pub fair: usize,
}

/// A notification between processes of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerNotification {
    /// A process has committed rows of these shards and does not own them.
    Rows(Shards),
    /// A process has started, has stopped, or has given up shards. Each process should call [`Sharing::acquire_leases`] again.
    SharesChanged,
}

/// The rows that wait in a service's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// The number of rows, up to the limit that the caller gave.
    pub rows: u64,
    /// The time of the oldest record.
    pub oldest: Option<Timestamp>,
}

/// How the processes of a service share its outbox: each shard has at most one owner, for a limited time, by the database's clock.
#[async_trait]
pub trait Sharing: Send + Sync {
    /// Renews the registration of `process` and its leases, for `ttl` from now on. First releases the shards in `freed`, then
    /// takes shards that have no owner or whose lease has expired, until the process has its fair share.
    ///
    /// # Errors
    /// When the database cannot be written. It is then unknown which shards were released or taken; the next call returns the leases.
    async fn acquire_leases(&self, service: &str, process: &str, ttl: Duration, freed: Shards) -> Result<Share, StoreError>;

    /// Releases all shards of `process`, which stops.
    ///
    /// # Errors
    /// When the database cannot be written. The leases then expire.
    async fn leave(&self, service: &str, process: &str) -> Result<(), StoreError>;

    /// Notifies the other processes. A notification can be lost.
    ///
    /// # Errors
    /// When the database cannot be reached.
    async fn notify(&self, service: &str, notification: PeerNotification) -> Result<(), StoreError>;

    /// Returns the notifications from now on, those of this process included. The stream ends after an error.
    ///
    /// # Errors
    /// When the database cannot be reached.
    async fn listen(&self, service: &str) -> Result<BoxStream<'static, Result<PeerNotification, StoreError>>, StoreError>;

    /// Returns the backlog of the whole outbox, over all owners. At most `most` rows are counted.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn backlog(&self, service: &str, most: u64) -> Result<Backlog, StoreError>;
}
