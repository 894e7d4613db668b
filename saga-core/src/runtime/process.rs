//! This process among the processes of its service: whether it owns its shards of the outbox, and the notifications that it has
//! for the others.
//!
//! [`relay`](super::relay) renews the leases and exchanges the notifications.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::message::Shards;

/// The last part of a lease, in which no more rows are passed to the transport.
const MARGIN: Duration = Duration::from_secs(1);

/// The part of this process in sharing the outbox. In a process that has its database to itself, it does nothing.
#[derive(Debug)]
pub(crate) struct Process {
    /// The name of this process in the database; `None` if the outbox is not shared.
    pub(super) id: Option<String>,
    /// Until when this process surely owns its shards, by the clock of this machine.
    pub(super) until: Mutex<Option<Instant>>,
    /// Shards of other processes in which this process has committed rows.
    pub(super) foreign: Mutex<Shards>,
    pub(super) foreign_wake: Notify,
    /// Notified when there is a reason to renew the leases now.
    pub(super) shares_changed: Notify,
    /// The number of rows of the whole service, as last counted.
    pub(super) counted: AtomicUsize,
}

impl Process {
    pub(crate) fn new(id: Option<String>) -> Self {
        Self {
            id,
            until: Mutex::default(),
            foreign: Mutex::default(),
            foreign_wake: Notify::new(),
            shares_changed: Notify::new(),
            counted: AtomicUsize::new(0),
        }
    }

    /// Schedules a notification to the owners of `shards` that this process has committed rows in them.
    pub(crate) fn notify(&self, shards: Shards) {
        if !shards.is_empty() {
            let mut foreign = lock(&self.foreign);
            *foreign = foreign.and(shards);
            self.foreign_wake.notify_one();
        }
    }

    /// The number of rows in the outbox of the whole service, as last counted; 0 if the outbox is not shared.
    pub(crate) fn counted(&self) -> usize {
        self.counted.load(Ordering::Relaxed)
    }

    /// Whether the outbox can be shared with other processes.
    pub(crate) fn is_shared(&self) -> bool {
        self.id.is_some()
    }

    /// Whether this process surely owns its shards.
    pub(crate) fn may_send(&self) -> bool {
        !self.is_shared() || lock(&self.until).is_some_and(|until| Instant::now() + MARGIN < until)
    }

    /// Requests a renewal of the leases soon.
    pub(crate) fn renew_soon(&self) {
        self.shares_changed.notify_one();
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
