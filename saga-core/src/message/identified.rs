//! Events with a message id that is known before they are published.

use crate::id::MessageId;

/// An event with the message id that it will be published with, for a service that stores its events under their ids in the log.
///
/// Created by [`Tx::identify`](crate::store::Tx::identify). A handler returns it in place of the event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identified<E> {
    /// The message id (`ce_id`).
    pub id: MessageId,
    /// The event.
    pub event: E,
}
