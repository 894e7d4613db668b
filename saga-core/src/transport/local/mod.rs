//! What the transports inside the process share: topics, consumer groups and subscriptions over any [`LogStore`].
//!
//! The store only keeps records and committed offsets. Everything else is here, once: which partition a key belongs to,
//! which member of a group reads which partition, waking readers, and limits on what one delivery holds. Nothing polls:
//! a reader sleeps on a [`Notify`](tokio::sync::Notify) that appends and rebalances ring.

mod assignment;
mod broker;
mod group;
mod partition;
mod partitioner;
mod store;
mod subscription;

pub(crate) use broker::{Broker, Limits};
pub(crate) use partition::{Catalog, Partition, Topic};
pub(crate) use store::LogStore;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{id::IdSource, time::Timestamp};

/// An identity that no other topic has, in whichever process.
pub(crate) fn new_identity() -> Arc<str> {
    IdSource::random().uuid(Timestamp::from_millis(0)).to_string().into()
}

/// Locks, also after a panic elsewhere: every critical section here leaves its data whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
