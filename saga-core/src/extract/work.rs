//! The transaction of a handler that calls another system first.

use futures_core::future::BoxFuture;

use crate::{failure::Fault, store::Tx};

/// Lets a handler begin its transaction later, after a call to another system.
///
/// # Delivery
/// [`begin`](Work::begin) opens the transaction and claims the message in it; the events that the handler returns are published in it. If
/// the handler returns without a call of `begin`, the service begins the transaction afterwards. Such handlers run in parallel, one at a
/// time for each key.
pub struct Work(BeginFn);

/// A function that begins the transaction of one delivery.
pub type BeginFn = Box<dyn FnOnce() -> BoxFuture<'static, Result<Tx, Fault>> + Send>;

impl Work {
    /// Creates the value from the function that begins the transaction.
    pub fn new(begin: BeginFn) -> Self {
        Self(begin)
    }

    /// Begins the transaction and claims the message.
    ///
    /// # Errors
    /// Returns an error if the database is unavailable, or if the message was handled in the meantime. Return it from the handler with `?`.
    pub async fn begin(self) -> Result<Tx, Fault> {
        (self.0)().await
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}
