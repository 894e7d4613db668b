//! The transaction that user code receives.

use std::sync::{Arc, Mutex, PoisonError};

use super::{AfterCommit, StoreError, StoreTx};
use crate::{
    failure::Fault,
    id::{IdSource, MessageId},
    message::{Event, Identified, Outgoing},
    time::Timestamp,
};

/// The transaction of a delivery or of a [`UnitOfWork`](crate::runtime::UnitOfWork).
///
/// A handler takes it as an argument and runs its statements on it. What the framework writes for the same message commits with them.
///
/// With a feature for a database, `&mut Tx` is an sqlx executor for `sqlx::Any`, so the same statements run on every database that the
/// service can be given. A service that uses only SQLite can take the connection of SQLite with `tx.sqlite()`. Pass the `Tx` itself to
/// sqlx: `&mut tx`, or `tx` if it is a `&mut Tx` that is not needed afterwards; not `&mut *tx`, as with a transaction of sqlx. A unit of
/// work dereferences to its `Tx`, so pass `&mut *work`.
///
/// # Delivery
/// The transaction ends after the handler, according to the handler's outcome. The handler cannot commit it or keep it: dropping it returns
/// it to the delivery. A delivery fails if its `Tx` was moved into a task that outlives the handler.
pub struct Tx {
    open: Option<Box<dyn StoreTx>>,
    slot: TxSlot,
    ids: IdSource,
    now: Timestamp,
    #[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "only the statements of a SQL database set a savepoint"))]
    savepoint: bool,
    touched: bool,
    published: Vec<(MessageId, Outgoing)>,
    after_commit: AfterCommit,
}

/// The place to which a [`Tx`] returns when it is dropped.
#[derive(Clone, Default)]
pub struct TxSlot(Arc<Mutex<Option<Returned>>>);

impl std::fmt::Debug for TxSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TxSlot").finish_non_exhaustive()
    }
}

/// A transaction that was returned.
pub struct Returned {
    /// The transaction.
    pub tx: Box<dyn StoreTx>,
    /// Whether a statement was run on it since it was lent.
    pub touched: bool,
    /// The events published in it, in order.
    pub published: Vec<(MessageId, Outgoing)>,
    /// The hooks to call after the commit.
    pub after_commit: AfterCommit,
}

impl std::fmt::Debug for Returned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Returned")
            .field("touched", &self.touched)
            .field("published", &self.published.len())
            .finish_non_exhaustive()
    }
}

impl TxSlot {
    /// Takes the transaction out; `None` while a [`Tx`] still has it.
    pub fn take(&self) -> Option<Returned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tx {
    /// Lends `open` to user code; it returns to `slot`. With `savepoint`, a savepoint is set before the first statement.
    pub fn lend(open: Box<dyn StoreTx>, slot: TxSlot, savepoint: bool, ids: IdSource, now: Timestamp) -> Self {
        let (published, after_commit) = (Vec::new(), AfterCommit::default());
        Self { open: Some(open), slot, ids, now, savepoint, touched: false, published, after_commit }
    }

    /// Publishes `event` in this transaction, and returns its message id. A handler that does not need the id returns its events instead.
    /// If it needs the id, and the events are part of a saga, it [identifies](Tx::identify) them and returns them.
    ///
    /// # Delivery
    /// The event is sent after the commit, before the events that the handler returns.
    ///
    /// # Errors
    /// When the event's codec fails: a technical error, as when a handler returns such an event.
    pub fn publish<E: Event>(&mut self, event: &E) -> Result<MessageId, Fault> {
        let id = MessageId::from(self.ids.uuid(self.now));
        self.published.push((id.clone(), Outgoing::of(event)?));
        Ok(id)
    }

    /// Gives `event` the message id under which it is published when the handler returns it.
    pub fn identify<E: Event>(&self, event: E) -> Identified<E> {
        Identified { id: MessageId::from(self.ids.uuid(self.now)), event }
    }

    /// Registers `hook` to be called after this transaction has committed, for example to wake a task of this process, to empty a cache, or
    /// to count. Hooks are called in the order in which they were registered.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use saga_core::store::Tx;
    /// # use tokio::sync::Notify;
    /// # async fn write(_: &mut Tx) -> Result<(), saga_core::failure::Fault> { Ok(()) }
    /// async fn add(tx: &mut Tx, readers: Arc<Notify>) -> Result<(), saga_core::failure::Fault> {
    ///     write(tx).await?;
    ///     // If they were woken earlier, they would not see the new rows.
    ///     tx.after_commit(move || readers.notify_waiters());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Delivery
    /// At most once. The hook is called when the commit has succeeded, before anything else is done with the same key, and at the latest
    /// when [`UnitOfWork::commit`](crate::runtime::UnitOfWork::commit) returns.
    ///
    /// The hook is dropped without a call when the writes of the handler are rolled back: the handler fails or refuses, it exceeds its
    /// time, its message runs again alone, the commit fails, or a shutdown does not wait for it. It is also dropped when the database does
    /// not report whether the commit succeeded, and it is lost when the process dies between the commit and the call. Publish an event for
    /// work that must not be lost.
    ///
    /// The delivery waits for the hook, so the hook must not block; it can spawn a task. A panic in it is logged and counted
    /// (`sagas_task_panics_total`, `task="after_commit"`). It does not affect what was committed.
    #[track_caller]
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.after_commit.push(hook);
    }

    /// Returns the open transaction, for the framework's own statements.
    ///
    /// # Errors
    /// When the transaction has ended.
    pub(crate) fn open_mut(&mut self) -> Result<&mut dyn StoreTx, StoreError> {
        self.touched = true;
        self.open.as_deref_mut().ok_or_else(|| StoreError::Refused("the transaction has ended".into()))
    }

    /// The time at which the transaction began, by the service's clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the open transaction, after setting the savepoint if one was requested.
    #[cfg(feature = "sql")]
    pub(super) async fn store(&mut self) -> Result<&mut dyn StoreTx, StoreError> {
        let open = self.open.as_deref_mut().ok_or_else(|| {
            StoreError::Refused("the transaction has ended; run the statement before the handler returns its `Tx`".into())
        })?;
        if self.savepoint {
            open.savepoint().await?;
            self.savepoint = false;
        }
        self.touched = true;
        Ok(open)
    }
}

impl Drop for Tx {
    fn drop(&mut self) {
        let (touched, published) = (self.touched, std::mem::take(&mut self.published));
        let after_commit = std::mem::take(&mut self.after_commit);
        let returned = self.open.take().map(|tx| Returned { tx, touched, published, after_commit });
        *self.slot.0.lock().unwrap_or_else(PoisonError::into_inner) = returned;
    }
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tx")
    }
}
