//! The transaction of a handler that calls out first.

use futures_core::future::BoxFuture;

use crate::{failure::Fault, store::Tx};

/// Lets a handler begin its transaction when it is ready: after it has waited on the network.
///
/// # Delivery
/// [`begin`](Work::begin) claims the message in the inbox within the new transaction; what the handler returns is published in it.
/// A handler that returns without having begun has the transaction begun for it. Such handlers run side by side, one at a
/// time per key.
pub struct Work(BeginFn);

/// Begins the transaction of one delivery.
pub type BeginFn = Box<dyn FnOnce() -> BoxFuture<'static, Result<Tx, Fault>> + Send>;

impl Work {
    /// The work that begins by `begin`.
    pub fn new(begin: BeginFn) -> Self {
        Self(begin)
    }

    /// Begins the transaction and claims the message.
    ///
    /// # Errors
    /// When the database is unavailable, or the message was handled in the meantime. Pass it on with `?`.
    pub async fn begin(self) -> Result<Tx, Fault> {
        (self.0)().await
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Work")
    }
}
