//! What is known of a message besides its event.

use std::sync::Arc;

use crate::{
    message::{Envelope, TraceContext},
    time::Timestamp,
};

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
    /// When this service first saw the message, by its own clock; when it was given back, if an operator did that. What a sender states
    /// does not move it: how long a handler has patience with a message is measured from here.
    pub first_seen: Timestamp,
    /// The span of this delivery: what is called from here goes on with its trace by the headers `traceparent` and `tracestate` that it
    /// gives. That of the envelope is the span that the message comes from.
    pub trace: TraceContext,
    /// Why the attempt before failed; in an `exhausted` fn, why the last one did.
    pub last_error: Option<Arc<str>>,
    /// The step of a saga that the handler does, or undoes.
    pub(crate) step: Option<StepName>,
}

/// A step of a flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepName {
    pub(crate) saga: Arc<str>,
    pub(crate) step: &'static str,
}

impl Meta {
    /// A key for whatever must happen once outside the database: the same at every attempt of this handler for this message,
    /// and no other's. Colons of the source are written as `%3A`, so that no two messages share one. Of a step of a saga it is the instance's, whatever message called for the step, and the same for what undoes
    /// the step, which can so name what it takes back.
    pub fn idempotency_key(&self) -> String {
        if let (Some(StepName { saga, step }), Some(id)) = (&self.step, &self.key) {
            return format!("{}:{saga}:{id}:{step}", self.service);
        }
        let source = self.envelope.source.replace('%', "%25").replace(':', "%3A");
        format!("{}:{}:{source}:{}", self.service, self.handler, self.envelope.id)
    }
}
