//! The transaction as user code holds it.

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
/// A handler takes it as an argument and runs its statements on it; what the framework writes for the same message commits with
/// them. With a feature for a database `&mut Tx` is an executor of `sqlx` for `sqlx::Any`, so that the same statements run on
/// whatever database the service was given; a service that lives on SQLite takes SQLite's own connection with `tx.sqlite()`.
///
/// # Delivery
/// The transaction ends after the handler, with the handler's outcome. It cannot be committed or kept: dropping it gives it
/// back to the delivery. A `Tx` that was moved into a task that outlives the handler fails the delivery.
pub struct Tx {
    open: Option<Box<dyn StoreTx>>,
    slot: TxSlot,
    ids: IdSource,
    now: Timestamp,
    #[cfg_attr(not(feature = "sql"), expect(dead_code, reason = "without a database there is no statement to set it before"))]
    savepoint: bool,
    touched: bool,
    published: Vec<(MessageId, Outgoing)>,
    after_commit: AfterCommit,
}

/// Where a [`Tx`] goes back to when it is dropped.
#[derive(Clone, Default)]
pub struct TxSlot(Arc<Mutex<Option<Returned>>>);

/// A transaction that came back.
pub struct Returned {
    /// The transaction.
    pub tx: Box<dyn StoreTx>,
    /// Whether anything was run on it while it was lent.
    pub touched: bool,
    /// The events published on it, in order.
    pub published: Vec<(MessageId, Outgoing)>,
    /// What is to be called once it has committed.
    pub after_commit: AfterCommit,
}

impl TxSlot {
    /// Takes the transaction out; `None` when a [`Tx`] still has it.
    pub fn take(&self) -> Option<Returned> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Tx {
    /// Lends `open` out, to come back to `slot`. With `savepoint`, one is set before the first statement.
    pub fn lend(open: Box<dyn StoreTx>, slot: TxSlot, savepoint: bool, ids: IdSource, now: Timestamp) -> Self {
        let (published, after_commit) = (Vec::new(), AfterCommit::default());
        Self { open: Some(open), slot, ids, now, savepoint, touched: false, published, after_commit }
    }

    /// Publishes `event` with this transaction, and says under which identity. A handler that does not need the identity
    /// returns its events instead; one that does, and whose events its flow asks for, [identifies](Tx::identify) and returns them.
    ///
    /// # Delivery
    /// The event leaves when the transaction has committed, before the events the handler returns.
    ///
    /// # Errors
    /// When the event's `Serialize` fails.
    pub fn publish<E: Event>(&mut self, event: &E) -> Result<MessageId, Fault> {
        let id = MessageId::from(self.ids.uuid(self.now));
        self.published.push((id.clone(), Outgoing::of(event)?));
        Ok(id)
    }

    /// `event` with the identity under which it is published when the handler returns it.
    pub fn identify<E: Event>(&self, event: E) -> Identified<E> {
        Identified { id: MessageId::from(self.ids.uuid(self.now)), event }
    }

    /// Has `hook` called once this transaction has committed: to wake a task of this process, to empty a cache, to count. Several
    /// are called in the order in which they were given.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use saga_core::store::Tx;
    /// # use tokio::sync::Notify;
    /// # async fn write(_: &mut Tx) -> Result<(), saga_core::failure::Fault> { Ok(()) }
    /// async fn add(tx: &mut Tx, readers: Arc<Notify>) -> Result<(), saga_core::failure::Fault> {
    ///     write(tx).await?;
    ///     // Woken earlier, they would not see what was written.
    ///     tx.after_commit(move || readers.notify_waiters());
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Delivery
    /// At most once. The hook is called when the commit has succeeded, before anything else is done with the same key, and at the
    /// latest when [`UnitOfWork::commit`](crate::runtime::UnitOfWork::commit) returns. It is dropped without a call when what the
    /// handler has written is rolled back: the handler fails or refuses, its time is over, its message is run again alone, the
    /// commit fails, a stop does not wait for it. It is also dropped when the database did not answer whether the commit succeeded,
    /// and it is lost when the process dies between the commit and the call. What has to happen belongs into an event.
    ///
    /// The delivery waits for the hook, so it must not block; it can spawn a task. A panic in it is logged and counted
    /// (`sagas_task_panics_total`, `task="after_commit"`), and changes nothing of what was committed.
    #[track_caller]
    pub fn after_commit(&mut self, hook: impl FnOnce() + Send + 'static) {
        self.after_commit.push(hook);
    }

    /// The open transaction, for what the framework itself does in it.
    ///
    /// # Errors
    /// When it has ended.
    pub(crate) fn open_mut(&mut self) -> Result<&mut dyn StoreTx, StoreError> {
        self.touched = true;
        self.open.as_deref_mut().ok_or_else(|| StoreError::Refused("the transaction has ended".into()))
    }

    /// When the transaction began, as the service's clock says.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// The open transaction, after the savepoint if one is wanted.
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
