//! A durable log inside the process: one folder, one SQLite file, no server.
//!
//! What [`publish`](Transport::publish) has answered is on the disk. One task writes, and it writes everything that waits
//! in one transaction, so that many publishers share one fsync. Readers at the end of the log are served from memory,
//! readers further back from the file.
//!
//! The folder belongs to one process at a time. Another log, in this process or a second one, cannot be opened on it
//! until this one is closed or its process has ended.
//!
//! ```
//! # use saga_core::transport::{TopicSpec, Transport, embedded::{Embedded, EmbeddedOptions}};
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let log = Embedded::open(folder.path(), EmbeddedOptions::default()).await?;
//! log.ensure_topics(&[TopicSpec { name: "orders".into(), partitions: 6 }]).await?;
//! log.close().await;
//! # Ok(()) }
//! ```

mod commits;
mod file;
mod folder;
mod headers;
mod options;
mod records;
mod retention;
mod store;
#[cfg(all(test, feature = "test-util"))]
mod tests;
mod writer;

use std::{path::Path, sync::Arc};

use async_trait::async_trait;

pub use options::EmbeddedOptions;

use self::store::SqliteStore;
use super::{
    GroupLag, PartitionOffsets, Position, Subscription, TopicIdentity, TopicSpec, Transport, TransportError, local::Broker,
};
use crate::{message::Record, time::Timestamp};

/// A durable log in a folder.
///
/// Close it before the program ends or opens the folder again. When it is only dropped, nothing that was answered is
/// lost, and the folder is let go of when the last subscription is dropped too and the writer has seen it.
pub struct Embedded(Arc<Broker<SqliteStore>>);

impl Embedded {
    /// Opens the log in `data_dir`, making the folder and the log if they are not there.
    ///
    /// # Errors
    /// [`TransportError::Open`], saying what to do, when the folder cannot be written, another log is open on it, or its
    /// file is damaged, of a newer version, or something else.
    pub async fn open(data_dir: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Arc<Self>, TransportError> {
        let clock = options.clock.clone();
        let (store, catalog) = SqliteStore::open(data_dir.as_ref(), options).await?;
        Ok(Arc::new(Self(Broker::new(store, catalog, clock))))
    }

    /// Forgets a consumer group that will not come back, so that retention need not keep what it has not read. A group
    /// that does come back begins at the oldest record there is.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub async fn forget_group(&self, group: &str) -> Result<(), TransportError> {
        self.0.store().forget(group).await
    }
}

impl std::fmt::Debug for Embedded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Embedded").finish_non_exhaustive()
    }
}

#[async_trait]
impl Transport for Embedded {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.0.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        self.0.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.0.subscribe(group, topics).await
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.0.lag(group, topics)
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        self.0.offsets(topic, at).await
    }

    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        self.0.identities(topics)
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.0.check().await
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
