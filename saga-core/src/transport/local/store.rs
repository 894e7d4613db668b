//! The interface to the storage of a log inside the process.

use std::{future::Future, sync::Arc};

use futures_core::future::BoxFuture;

use super::{Limits, Partition};
use crate::{
    message::{Received, Record},
    transport::{TopicSpec, TransportError},
};

/// Stores records and committed offsets. What is stored is then entered into the [`Partition`]s, which wakes their readers.
pub(crate) trait LogStore: Send + Sync + 'static {
    /// Returns the size of the largest record that [`append`](LogStore::append) accepts, in bytes of key, value and headers.
    fn max_record_bytes(&self) -> usize {
        usize::MAX
    }

    /// Stores the topics that do not exist, and adds them to the catalog.
    fn create(&self, topics: Vec<TopicSpec>) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Stores records in the order given and returns the offset of each. If it fails, the stored records of each partition are a prefix of
    /// those given.
    fn append(
        &self,
        records: Vec<(Arc<Partition>, Arc<Record>)>,
    ) -> impl Future<Output = Vec<Result<i64, TransportError>>> + Send;

    /// Reads records that the partition no longer has in memory, at least the one at `from`.
    fn read(
        &self,
        partition: &Arc<Partition>,
        from: i64,
        limits: Limits,
    ) -> impl Future<Output = Result<Vec<Received>, TransportError>> + Send;

    /// Records that `group` reads `partitions`, so that the records it has not read are kept.
    fn register(
        &self,
        group: &Arc<str>,
        partitions: Vec<Arc<Partition>>,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Stores committed offsets, which never decrease. Proceeds even if the future is not polled.
    fn commit(&self, group: &Arc<str>, offsets: Vec<(Arc<Partition>, i64)>) -> BoxFuture<'static, Result<(), TransportError>>;

    /// Checks that the store can be written now.
    fn check(&self) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Stores what was accepted and releases all resources. Called once.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
