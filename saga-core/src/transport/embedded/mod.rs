//! A durable log inside the process: one folder, one SQLite file, no server.
//!
//! Records that [`publish`](Transport::publish) reported as stored are on the disk. One task writes. It writes everything that waits in one
//! transaction, so that many publishers share one fsync. Records near the end of the log are read from memory, older ones from the file.
//!
//! The folder belongs to one log at a time. Another log, in this process or in another, cannot be opened on it until this one is closed or
//! its process has ended.
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

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use async_trait::async_trait;

pub use options::EmbeddedOptions;

use self::store::SqliteLog;
use super::{
    GroupLag, PartitionOffsets, Position, Subscription, TopicIdentity, TopicSpec, Transport, TransportError, local::Broker,
};
use crate::{message::Record, time::Timestamp};

/// A durable log in a folder.
///
/// Call [`close`](Transport::close) before the program ends, or before it opens the folder again. If the log is only dropped, no stored
/// record is lost. The folder is then released when the last subscription is dropped and the writer task has ended.
pub struct Embedded(Arc<Broker<SqliteLog>>, PathBuf);

impl Embedded {
    /// Opens the log in `data_dir`. Creates the folder and the log if they do not exist.
    ///
    /// # Errors
    /// Returns [`TransportError::Open`], with what to do, if the folder cannot be written, if another log is open on it, or if its file is
    /// damaged, has a newer version or is not a log.
    pub async fn open(data_dir: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Arc<Self>, TransportError> {
        let clock = options.clock.clone();
        let (store, catalog) = SqliteLog::open(data_dir.as_ref(), options).await?;
        Ok(Arc::new(Self(Broker::new(store, catalog, clock), data_dir.as_ref().to_owned())))
    }

    /// Removes a consumer group that will not come back, so that retention does not keep the records that it has not read. If the group
    /// does come back, it begins at the oldest record.
    ///
    /// # Errors
    /// Returns an error if the log cannot be written.
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

    async fn about(&self) -> Option<String> {
        Some(format!("embedded, in {}", self.1.display()))
    }

    async fn close(&self) {
        self.0.close().await;
    }
}
