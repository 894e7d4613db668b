//! Which events a service handles and has handled, and by which handlers.
//!
//! - If a record's event no longer has a handler, the service must distinguish it from an event that it never handled.
//! - If one event has several handlers, each handler keeps its inbox key if other handlers are added or removed.

use async_trait::async_trait;

use super::{Assignment, StoreError, Taken};

/// The part of a [`Store`](super::Store) that stores which events services handle.
#[async_trait]
pub trait HandledStore: Send + Sync {
    /// Returns the topics and names of the events that the service has handled, in order.
    ///
    /// # Errors
    /// When the database cannot be read.
    async fn events(&self, service: &str) -> Result<Vec<(String, String)>, StoreError>;

    /// Records that the service handles `events`, and removes `forget`. Both are pairs of topic and name.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn note(&self, service: &str, events: &[(String, String)], forget: &[(String, String)]) -> Result<(), StoreError>;

    /// Stores which handlers of the service take `taken`, with the inbox key of each. Existing assignments are kept. Of processes that
    /// start at the same time, the first decides: each call is one transaction, and the calls run one after another.
    ///
    /// # Errors
    /// When the database cannot be written.
    async fn assign(&self, service: &str, taken: &[Taken]) -> Result<Assignment, StoreError>;
}
