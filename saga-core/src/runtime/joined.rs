//! Transactions of user code in which this process publishes, on a database that does not report their end.
//!
//! Such a database has one writer, and a transaction in which an event was published blocks all other writers. So when the framework's next
//! transaction begins, all these transactions have ended, by a commit or a rollback; the relay looks up which. One task waits for that,
//! whatever the number of events and transactions. Until then, the rows that were written hold back later rows of the same keys.

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::runtime::Handle;

use super::{
    core::{Core, Staged},
    panics::{Panics, Task, guarded},
    saga::Scope,
};
use crate::message::Shards;

/// What was published in transactions that may still be open.
#[derive(Default)]
pub(crate) struct Joined {
    open: Mutex<Open>,
    /// The runtime of the service, on which the task waits. The runtime of a caller may end earlier.
    runtime: OnceLock<Handle>,
}

#[derive(Default)]
struct Open {
    calls: Vec<Publication>,
    /// Whether a task waits for the end of the transactions.
    awaited: bool,
}

/// The result of a call that publishes.
enum Publication {
    Ended(Staged, Scope),
    /// The call did not finish, because its future was dropped or a statement failed. The rows that it has written are unknown here, and
    /// may be committed.
    Unfinished,
}

impl Publication {
    fn may_hide_rows(&self) -> bool {
        matches!(self, Self::Unfinished)
    }
}

/// The guard of one publication in a transaction of user code. It is created when that transaction already blocks other writers. If it is
/// dropped before [`end`](Self::end), the publication counts as unfinished.
pub(super) struct PublicationGuard<'c> {
    core: &'c Arc<Core>,
    call: Publication,
}

impl<'c> PublicationGuard<'c> {
    /// Returns `None` for a database that processes share: it reports commits itself.
    pub(super) fn begin(core: &'c Arc<Core>) -> Option<Self> {
        core.store().sharing().is_none().then_some(Self { core, call: Publication::Unfinished })
    }

    /// Records what the call has written.
    pub(super) fn end(mut self, staged: Staged, sagas: Scope) {
        self.call = Publication::Ended(staged, sagas);
    }
}

impl Drop for PublicationGuard<'_> {
    fn drop(&mut self) {
        let first = {
            let mut open = self.core.joined.open();
            open.calls.push(std::mem::replace(&mut self.call, Publication::Unfinished));
            !std::mem::replace(&mut open.awaited, true)
        };
        if first {
            // The guard is created before the spawn: a runtime that is shutting down drops the task at once, and the guard then cleans up.
            let awaiting = Awaiting { core: Arc::clone(self.core), done: false };
            match self.core.joined.runtime.get() {
                Some(runtime) => drop(runtime.spawn(await_end(awaiting))),
                None => drop(awaiting),
            }
        }
    }
}

impl Joined {
    /// Records that the service runs on the current runtime.
    pub(crate) fn started(&self) {
        let _ = self.runtime.set(Handle::current());
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns whether rows that this process does not know may have been committed.
    pub(crate) fn may_hide_rows(&self) -> bool {
        self.open().calls.iter().any(Publication::may_hide_rows)
    }
}

/// The guard of the task that waits. If the task ends early, with its runtime or because the service stops, it drops the recorded calls;
/// the next start of the service reads their rows from the outbox.
struct Awaiting {
    core: Arc<Core>,
    done: bool,
}

impl Drop for Awaiting {
    fn drop(&mut self) {
        if !self.done {
            // Dropping the calls removes their rows from the ledger. Do it after the lock is released.
            let left = std::mem::take(&mut *self.core.joined.open());
            drop(left);
        }
    }
}

async fn await_end(mut awaiting: Awaiting) {
    let (core, mut failures) = (awaiting.core.clone(), 0);
    loop {
        let wait = match guarded(core.store().begin()).await {
            Ok(Ok(_alone)) => {
                ended(&core);
                let mut open = core.joined.open();
                if open.calls.is_empty() {
                    (open.awaited, awaiting.done) = (false, true);
                    return;
                }
                failures = 0;
                continue;
            }
            Ok(Err(error)) => core.store_backoff(&error, failures),
            Err(text) => {
                Panics::note(&core, "joined", Task::Helping, &text);
                core.outage_backoff(failures)
            }
        };
        if core.health.is_stopping() {
            return;
        }
        failures += 1;
        core.clock.sleep(wait).await;
    }
}

/// Handles the end of the transactions of all recorded calls.
fn ended(core: &Arc<Core>) {
    let look = || {
        core.ledger().mark_stale(Shards::ALL);
        core.sagas.plan(Some(core.clock.now()));
    };
    // Mark the ledger before the calls are removed, because a commit in between must not assume that no rows are hidden. Mark it again
    // after, for calls that were added in between.
    if core.joined.may_hide_rows() {
        look();
    }
    let calls = std::mem::take(&mut core.joined.open().calls);
    if calls.iter().any(Publication::may_hide_rows) {
        look();
    }
    for call in calls {
        if let Publication::Ended(staged, sagas) = call {
            staged.in_doubt();
            sagas.committed(core);
        }
    }
    core.relay_wake.notify_one();
}
