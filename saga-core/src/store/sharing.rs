//! What the instances of a service share through their database: who sends which shards of the outbox.

use std::time::Duration;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use super::StoreError;
use crate::{
    message::{Shard, Shards},
    time::Timestamp,
};

/// A shard of a service's outbox that an instance owns for a while.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The shard.
    pub shard: Shard,
    /// Which ownership it is: higher with each owner that takes the shard.
    pub epoch: i64,
}

/// What an instance has of a service's outbox.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Share {
    /// Its shards.
    pub leases: Vec<Lease>,
    /// How many it should have: all of them divided by the live instances, rounded up.
    pub fair: usize,
}

/// What instances of a service tell each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// Rows of these shards were committed by an instance that does not own them.
    Rows(Shards),
    /// An instance has come or gone, or has given up shards: ask for your share anew.
    Shares,
}

/// What waits in a service's outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Backlog {
    /// Rows, counted up to the limit that was asked for.
    pub rows: u64,
    /// The time of the oldest record.
    pub oldest: Option<Timestamp>,
}

/// How the instances of a service divide its outbox among themselves: each shard has at most one owner, for a limited time, by
/// the clock of the database.
#[async_trait]
pub trait Sharing: Send + Sync {
    /// Says that `instance` lives, and for `ttl` from now on owns what it owns. Gives `freed` back first, then takes shards that
    /// have no owner, or one whose time is over, as long as it has less than its fair share.
    ///
    /// # Errors
    /// When the database cannot be written. What was given back or taken is not known then; the next call says it.
    async fn share(&self, service: &str, instance: &str, ttl: Duration, freed: Shards) -> Result<Share, StoreError>;

    /// Gives back everything: the instance ends.
    ///
    /// # Errors
    /// When the database cannot be written: its time will be over by itself.
    async fn leave(&self, service: &str, instance: &str) -> Result<(), StoreError>;

    /// Tells the other instances. They may miss it.
    ///
    /// # Errors
    /// When the database cannot be reached.
    async fn tell(&self, service: &str, news: News) -> Result<(), StoreError>;

    /// What is told from now on, one's own words included, until the stream gives an error or ends.
    ///
    /// # Errors
    /// When the database cannot be reached.
    async fn news(&self, service: &str) -> Result<BoxStream<'static, Result<News, StoreError>>, StoreError>;

    /// What waits in the outbox, whoever is to send it. At most `most` rows are counted.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn backlog(&self, service: &str, most: u64) -> Result<Backlog, StoreError>;
}
