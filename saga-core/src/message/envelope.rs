//! Envelopes: a record whose headers have been understood, and an event on its way to a record.

use bytes::Bytes;

use super::{Event, EventKey, Header, Received, Record, headers};
use crate::{
    failure::Fault,
    id::{IdSource, MessageId},
    time::Timestamp,
};

/// What is known of a received message besides its value.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The identity within the source. Of a record without one: `topic-partition-offset`.
    pub id: MessageId,
    /// Who published it. Of a record that does not say: the topic.
    pub source: String,
    /// The event's name, if the record says it.
    pub event_type: Option<String>,
    /// The version of the event's shape; 1 if the record does not say it.
    pub version: u32,
    /// When it was published; the record's timestamp if its headers do not say it.
    pub time: Timestamp,
    /// What the whole flow is known by; the message's own identity if the record does not say it.
    pub correlation_id: String,
    /// The message that led to this one.
    pub causation_id: Option<String>,
    /// The saga instance it belongs to.
    pub saga_id: Option<String>,
    /// W3C trace context.
    pub traceparent: Option<String>,
    /// W3C trace context, vendors' part.
    pub tracestate: Option<String>,
}

impl Envelope {
    /// The envelope of what comes from no log: a timer.
    pub(crate) fn internal(id: MessageId, source: &str, time: Timestamp, correlation_id: &str) -> Self {
        Self {
            id,
            source: source.to_owned(),
            event_type: None,
            version: 1,
            time,
            correlation_id: correlation_id.to_owned(),
            causation_id: None,
            saga_id: None,
            traceparent: None,
            tracestate: None,
        }
    }

    /// Reads the headers of `received`. Whatever is missing or makes no sense is filled in as the fields say.
    pub fn of(received: &Received) -> Self {
        let record = &received.record;
        let text = |name: &str| record.header(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let id = match text(headers::ID) {
            Some(id) => MessageId::new(id),
            None => MessageId::new(format!("{}-{}-{}", record.topic, received.partition, received.offset)),
        };
        Self {
            source: text(headers::SOURCE).unwrap_or_else(|| record.topic.clone()),
            event_type: text(headers::TYPE),
            version: record.header(headers::SCHEMA_VERSION).and_then(|text| text.parse().ok()).unwrap_or(1),
            time: record.header(headers::TIME).and_then(|text| text.parse().ok()).unwrap_or(record.timestamp),
            correlation_id: text(headers::CORRELATION_ID).unwrap_or_else(|| id.to_string()),
            causation_id: text(headers::CAUSATION_ID),
            saga_id: text(headers::SAGA_ID),
            traceparent: text(headers::TRACEPARENT),
            tracestate: text(headers::TRACESTATE),
            id,
        }
    }
}

/// An event that has been encoded and waits for its identity and its place in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The event's name.
    pub name: &'static str,
    /// The topic.
    pub topic: &'static str,
    /// The version of the event's shape.
    pub version: u32,
    /// The key, as text.
    pub key: String,
    /// The event as JSON.
    pub value: Bytes,
    /// The identity that it was given; without one it gets its own when its handler has ended.
    pub id: Option<MessageId>,
}

impl Outgoing {
    /// Encodes `event`.
    ///
    /// # Errors
    /// When the event's `Serialize` fails.
    pub fn of<E: Event>(event: &E) -> Result<Self, Fault> {
        let value = serde_json::to_vec(event)
            .map_err(|error| Fault::new(format!("event {} cannot be written as JSON: {error}", E::NAME)))?;
        Ok(Self {
            name: E::NAME,
            topic: E::TOPIC,
            version: E::VERSION,
            key: event.key().to_text(),
            value: value.into(),
            id: None,
        })
    }

    /// The record that carries this event, identified by `id`, published by `source` at `time` within `context`.
    pub fn into_record(self, id: &MessageId, source: &str, time: Timestamp, context: &Context) -> Record {
        let mut all = vec![
            Header::text(headers::SPEC_VERSION, "1.0"),
            Header::text(headers::ID, id.as_str()),
            Header::text(headers::TYPE, self.name),
            Header::text(headers::SOURCE, source),
            Header::text(headers::TIME, time.to_string()),
            Header::text(headers::SUBJECT, self.key.clone()),
            Header::text(headers::CONTENT_TYPE, "application/json"),
            Header::text(headers::SCHEMA_VERSION, self.version.to_string()),
            Header::text(headers::CORRELATION_ID, context.correlation_id.clone()),
            Header::text(headers::TRACEPARENT, context.traceparent.clone()),
        ];
        let optional = [
            (headers::CAUSATION_ID, &context.causation_id),
            (headers::SAGA_ID, &context.saga_id),
            (headers::TRACESTATE, &context.tracestate),
        ];
        all.extend(optional.into_iter().filter_map(|(name, value)| Some(Header::text(name, value.clone()?))));
        Record {
            topic: self.topic.to_owned(),
            key: Some(Bytes::from(self.key)),
            value: Some(self.value),
            headers: all,
            timestamp: time,
        }
    }
}

/// What a published event inherits from whatever led to it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// What the whole flow is known by.
    pub correlation_id: String,
    /// The message that led to the event.
    pub causation_id: Option<String>,
    /// The saga instance.
    pub saga_id: Option<String>,
    /// W3C trace context.
    pub traceparent: String,
    /// W3C trace context, vendors' part.
    pub tracestate: Option<String>,
}

impl Context {
    /// The start of a flow known by `correlation_id`, traced by `traceparent`.
    pub fn root(correlation_id: impl Into<String>, traceparent: impl Into<String>) -> Self {
        Self {
            correlation_id: correlation_id.into(),
            causation_id: None,
            saga_id: None,
            traceparent: traceparent.into(),
            tracestate: None,
        }
    }

    /// What follows from the message in `envelope`: the same flow and trace, a new span.
    pub fn caused_by(envelope: &Envelope, ids: &IdSource) -> Self {
        Self {
            correlation_id: envelope.correlation_id.clone(),
            causation_id: Some(envelope.id.to_string()),
            saga_id: envelope.saga_id.clone(),
            traceparent: envelope.traceparent.as_deref().map_or_else(|| ids.traceparent(), |parent| ids.child_of(parent)),
            tracestate: envelope.tracestate.clone(),
        }
    }
}
