//! The metadata of a delivery.

use std::{sync::Arc, time::Duration};

use crate::{
    failure::Failure,
    message::{Envelope, TraceContext},
    time::Timestamp,
};

/// The shortest and the longest time until a message that waits for its cause is delivered again.
const CAUSE_WAITS: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// The ids, the attempt and the times of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// The envelope: message id, source, type, time, correlation and causation ids.
    pub envelope: Arc<Envelope>,
    /// The service that handles the message.
    pub service: Arc<str>,
    /// The name of the handler.
    pub handler: &'static str,
    /// The topic of the record.
    pub topic: Arc<str>,
    /// The partition of the record.
    pub partition: i32,
    /// The offset of the record in its partition.
    pub offset: i64,
    /// The record's key, if it is UTF-8. For an event of a saga, it is the key of the instance.
    pub key: Option<Arc<str>>,
    /// The number of the attempt, from 1.
    pub attempt: u32,
    /// When the attempt began, by the service's clock.
    pub now: Timestamp,
    /// When this service first saw the message, by its own clock, or when an operator last retried its dead letter.
    ///
    /// The sender's time has no influence on it, so use it to limit how long a handler waits for something else.
    pub first_seen: Timestamp,
    /// The span of this delivery.
    ///
    /// Send its `traceparent` and `tracestate` as headers of calls to other systems, so that they continue the trace. The envelope has the
    /// span that published the message.
    pub trace: TraceContext,
    /// The error of the previous attempt; in an `exhausted` fn, the error of the last one.
    pub last_error: Option<Arc<str>>,
    /// The step that the handler does or undoes, if it belongs to a saga.
    pub(crate) step: Option<StepName>,
}

/// A step of a saga.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StepName {
    pub(crate) saga: Arc<str>,
    pub(crate) step: &'static str,
}

impl Meta {
    /// Postpones the message until it has waited for `limit`, because the event that caused it has not been handled yet.
    ///
    /// Events of different topics can overtake each other. A handler that does not find what an earlier event writes calls this, and goes on
    /// when the wait has ended:
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use saga_core::{extract::Meta, failure::Failure};
    /// fn unknown_order(meta: &Meta) -> Result<(), Failure> {
    ///     meta.wait_for_cause(Duration::from_secs(60))?;
    ///     Err(Failure::dead("there is no such order"))
    /// }
    /// ```
    ///
    /// # Delivery
    /// The wait begins when the service first sees the message, and no attempt is counted. The message is delivered again after 50 ms, and
    /// later after a quarter of the time that it has waited, at most 1 s. Later messages of its key wait for it.
    ///
    /// # Errors
    /// [`Failure::Later`] until the message has waited for `limit`.
    pub fn wait_for_cause<R>(&self, limit: Duration) -> Result<(), Failure<R>> {
        let waited = self.now.since(self.first_seen);
        if waited >= limit {
            return Ok(());
        }
        let next = (waited / 4).clamp(CAUSE_WAITS.0, CAUSE_WAITS.1);
        Err(Failure::Later(next.min(limit - waited)))
    }

    /// Returns a key for an effect outside the database that must happen once.
    ///
    /// It is the same for each attempt of this handler with this message, and different for any other handler or message: colons in the
    /// source are written as `%3A`.
    ///
    /// For a step of a saga, the key identifies the step of the instance, whichever message triggers it. The compensation of the step
    /// returns the same key, so it can refer to the effect that it takes back.
    pub fn idempotency_key(&self) -> String {
        if let (Some(StepName { saga, step }), Some(id)) = (&self.step, &self.key) {
            return format!("{}:{saga}:{id}:{step}", self.service);
        }
        let source = self.envelope.source.replace('%', "%25").replace(':', "%3A");
        format!("{}:{}:{source}:{}", self.service, self.handler, self.envelope.id)
    }
}
