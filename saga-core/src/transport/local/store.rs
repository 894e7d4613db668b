//! What a log inside the process has to be able to store.

use std::{future::Future, sync::Arc};

use futures_core::future::BoxFuture;

use super::{Limits, Partition};
use crate::{
    message::{Received, Record},
    transport::{TopicSpec, TransportError},
};

/// Keeps records and committed offsets. What it has stored it also enters into the [`Partition`]s, which wakes their readers.
pub(crate) trait LogStore: Send + Sync + 'static {
    /// The largest record, in bytes of key, value and headers, that [`append`](LogStore::append) accepts.
    fn max_record_bytes(&self) -> usize {
        usize::MAX
    }

    /// Stores the topics that are missing and enters them into the catalogue.
    fn create(&self, topics: Vec<TopicSpec>) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Stores records in the order given, of each partition a prefix, and answers each with its offset.
    fn append(
        &self,
        records: Vec<(Arc<Partition>, Arc<Record>)>,
    ) -> impl Future<Output = Vec<Result<i64, TransportError>>> + Send;

    /// Reads records that the partition does not hold in memory any more: at least the one at `from`.
    fn read(
        &self,
        partition: &Arc<Partition>,
        from: i64,
        limits: Limits,
    ) -> impl Future<Output = Result<Vec<Received>, TransportError>> + Send;

    /// Remembers that `group` reads `partitions`, so that what it has not read is kept.
    fn register(
        &self,
        group: &Arc<str>,
        partitions: Vec<Arc<Partition>>,
    ) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Stores offsets, which never go back. Works whether or not the future is polled.
    fn commit(&self, group: &Arc<str>, offsets: Vec<(Arc<Partition>, i64)>) -> BoxFuture<'static, Result<(), TransportError>>;

    /// Whether something can be written now.
    fn check(&self) -> impl Future<Output = Result<(), TransportError>> + Send;

    /// Stores what was accepted and lets go of everything. Called once.
    fn close(&self) -> impl Future<Output = ()> + Send;
}
