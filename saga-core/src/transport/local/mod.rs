//! What the transports inside the process share: topics, consumer groups and subscriptions over any [`LogStore`].
//!
//! A store only keeps records and committed offsets. Everything else is here: the partition of a key, the member of a group that reads a
//! partition, waking readers, and limits for one delivery. Nothing polls: a reader waits for a [`Notify`](tokio::sync::Notify), which
//! appends and rebalances trigger.

mod assignment;
mod broker;
mod group;
mod partition;
mod partitioner;
mod store;
mod subscription;

pub(crate) use broker::Broker;
pub(crate) use partition::{Catalog, Limits, Partition, Topic};
pub(crate) use store::LogStore;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{id::IdSource, time::Timestamp};

/// Creates an identity that no other topic has, in any process.
pub(crate) fn new_identity() -> Arc<str> {
    IdSource::random().uuid(Timestamp::from_millis(0)).to_string().into()
}

/// Locks a mutex, even one that is poisoned by a panic: no critical section of this module leaves its data inconsistent.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
