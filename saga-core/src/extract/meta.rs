//! What is known of a message besides its event.

use std::sync::Arc;

use crate::{message::Envelope, time::Timestamp};

/// Ids, attempt and times of a message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The envelope: identity, source, type, times, correlation and causation ids.
    pub envelope: Arc<Envelope>,
    /// The service that handles the message.
    pub service: Arc<str>,
    /// The handler.
    pub handler: &'static str,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The position there.
    pub offset: i64,
    /// The record's key, if it is text: of an event of a saga, the key of the instance.
    pub key: Option<Arc<str>>,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// When the attempt began.
    pub now: Timestamp,
    /// Why the attempt before failed; in an `exhausted` fn, why the last one did.
    pub last_error: Option<Arc<str>>,
}

impl Meta {
    /// A key for whatever must happen once outside the database: the same at every attempt of this handler for this message,
    /// and no other's.
    pub fn idempotency_key(&self) -> String {
        format!("{}:{}:{}:{}", self.service, self.handler, self.envelope.source, self.envelope.id)
    }
}
