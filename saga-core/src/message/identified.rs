//! Events that are known by their identity before they leave.

use crate::id::MessageId;

/// An event with the identity under which it will be published: for a service that keeps its events under the identities they have
/// on the log. Made by [`Tx::identify`](crate::store::Tx::identify), and returned by a handler as the event itself would be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified<E> {
    /// The identity (`ce_id`).
    pub id: MessageId,
    /// The event.
    pub event: E,
}
