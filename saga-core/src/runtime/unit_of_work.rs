//! The same transaction outside a delivery: an HTTP handler's, a job's.

use std::ops::{Deref, DerefMut};

use crate::store::{StoreError, Tx};

/// A transaction in which rows are written and events are published together, outside a delivery.
///
/// # Delivery
/// Rows and events commit together or not at all; after the commit the events are sent at once, and, should the process die
/// before, when it is started again. Dropped without [`commit`](UnitOfWork::commit), nothing happened.
pub struct UnitOfWork {
    tx: Tx,
}

/// The service cannot take work now: its database is unavailable, or its outbox is full. Try again later.
#[derive(Debug, thiserror::Error)]
#[error("the service cannot take work now: {reason}")]
pub struct Unavailable {
    /// Why.
    pub reason: String,
}

impl UnitOfWork {
    /// Sets what the whole flow is known by; otherwise a new id is made.
    pub fn correlate(&mut self, _correlation_id: impl Into<String>) {
        todo!()
    }

    /// Sets the saga instance that the events belong to.
    pub fn saga(&mut self, _saga_id: impl Into<String>) {
        todo!()
    }

    /// Commits rows and events. The future may be dropped: what began to commit goes on.
    ///
    /// # Errors
    /// When nothing was committed, or that is not known.
    pub async fn commit(self) -> Result<(), StoreError> {
        todo!()
    }
}

impl Deref for UnitOfWork {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for UnitOfWork {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}
