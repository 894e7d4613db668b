//! Envelopes: a record whose headers have been understood, and an event on its way to a record.

use std::time::Duration;

use bytes::Bytes;

use super::{BadHeader, Event, EventKey, Header, Received, Record, TraceContext, headers};
use crate::{failure::Fault, id::MessageId, time::Timestamp};

/// How far a time that a record states may lie ahead of the clock here: further than clocks differ. One beyond that is not believed.
pub const MAX_AHEAD: Duration = Duration::from_secs(3_600);

/// What is known of a received message besides its value.
///
/// What a header says comes from whoever published the record, and is read here and nowhere else: what is in an envelope is within the
/// bounds of [`headers`], and can be written to every database, header and answer, and be read again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The identity within the source. Of a record without one: `topic-partition-offset-` and a fingerprint of its timestamp, key and value,
    /// which tells it from one that had its place in a topic of that name before.
    pub id: MessageId,
    /// Who published it. Of a record that does not say: the topic.
    pub source: String,
    /// The event's name, if the record says it.
    pub event_type: Option<String>,
    /// The version of the event's shape; 1 if the record does not say it.
    pub version: u32,
    /// When it was published, as the record says: its header, else its timestamp. A time that cannot be, before 1970 or more than
    /// [`MAX_AHEAD`] ahead of the clock here, is not believed; where neither is, it is the time of arrival.
    ///
    /// It is by the sender's clock and for display: to measure how long something waits, use [`Meta::now`](crate::extract::Meta::now)
    /// and times of the clock here.
    pub time: Timestamp,
    /// What the whole flow is known by; the message's own identity if the record does not say it.
    pub correlation_id: String,
    /// The message that led to this one.
    pub causation_id: Option<String>,
    /// The saga instance it belongs to.
    pub saga_id: Option<String>,
    /// W3C trace context; `None` if there is none that is valid.
    pub trace: Option<TraceContext>,
}

impl Envelope {
    /// The envelope of what comes from no log: a timer.
    pub(crate) fn internal(
        id: MessageId,
        source: &str,
        time: Timestamp,
        correlation_id: &str,
        trace: Option<TraceContext>,
    ) -> Self {
        Self {
            id,
            source: source.to_owned(),
            event_type: None,
            version: 1,
            time,
            correlation_id: correlation_id.to_owned(),
            causation_id: None,
            saga_id: None,
            trace,
        }
    }

    /// Reads the headers of `received`, which has arrived `now`. What is missing is filled in as the fields say; so is a time or a trace
    /// context that makes no sense. Of a header that is repeated the last counts, and one without a value, or with an empty one, is none.
    ///
    /// # Errors
    /// When a header that says what or whose the message is cannot be used as it is.
    pub fn of(received: &Received, now: Timestamp) -> Result<Self, BadHeader> {
        let record = &received.record;
        let source = headers::read(record, headers::SOURCE, headers::MAX_ID)?;
        let id = headers::read(record, headers::ID, headers::MAX_ID)?;
        let correlation_id = headers::read(record, headers::CORRELATION_ID, headers::MAX_ID)?;
        let id = id.map_or_else(|| MessageId::new(position(received)), MessageId::new);
        Ok(Self {
            source: source.unwrap_or(&record.topic).to_owned(),
            event_type: headers::read(record, headers::TYPE, headers::MAX_TYPE)?.map(str::to_owned),
            version: headers::version(record)?,
            time: time(record, now),
            correlation_id: correlation_id.map_or_else(|| id.to_string(), str::to_owned),
            causation_id: headers::read(record, headers::CAUSATION_ID, headers::MAX_ID)?.map(str::to_owned),
            saga_id: headers::read(record, headers::SAGA_ID, headers::MAX_ID)?.map(str::to_owned),
            trace: trace(record),
            id,
        })
    }

    /// The envelope of a record of which no header that could identify it is believed: it is known by its position and what it is. Its type is kept if
    /// it is one.
    pub fn by_position(received: &Received, now: Timestamp) -> Self {
        let record = &received.record;
        let position = position(received);
        let event_type = headers::read(record, headers::TYPE, headers::MAX_TYPE).ok().flatten();
        Self {
            event_type: event_type.map(str::to_owned),
            ..Self::internal(MessageId::new(position.as_str()), &record.topic, time(record, now), &position, None)
        }
    }
}

/// What a record is known by that says no identity: where it is, and what it is.
fn position(received: &Received) -> String {
    let record = &received.record;
    format!("{}-{}-{}-{:016x}", record.topic, received.partition, received.offset, fingerprint(record))
}

/// A number that is the same for the same timestamp, key and value, in every version of the program: FNV-1a.
fn fingerprint(record: &Record) -> u64 {
    let parts = [record.key.as_deref(), record.value.as_deref()];
    let bytes = parts.into_iter().flat_map(|part| {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        length.to_le_bytes().into_iter().chain(part.unwrap_or_default().iter().copied())
    });
    let all = record.timestamp.as_millis().to_le_bytes().into_iter().chain(bytes);
    all.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// When `record` was published, as far as that can be believed.
fn time(record: &Record, now: Timestamp) -> Timestamp {
    let stated = record.header(headers::TIME).and_then(|text| text.parse().ok());
    let possible = |at: &Timestamp| (Timestamp::from_millis(0)..=now.after(MAX_AHEAD)).contains(at);
    stated.filter(possible).or_else(|| record.timestamp.time().filter(possible)).unwrap_or(now)
}

/// What `record` says of its trace. Two that say different things say nothing.
fn trace(record: &Record) -> Option<TraceContext> {
    let all = |name: &'static str| record.headers.iter().filter(move |header| header.name == name);
    let mut parents = all(headers::TRACEPARENT);
    let parent = parents.next()?;
    if parents.any(|other| other != parent) {
        return None;
    }
    let text = |header: &Header| String::from_utf8(header.value.as_deref().unwrap_or_default().to_vec());
    // One that is no text makes the whole list invalid.
    let states: Result<Vec<_>, _> = all(headers::TRACESTATE).map(text).collect();
    TraceContext::parse(&text(parent).ok()?, &states.map(|states| states.join(",")).unwrap_or_default())
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
        let value =
            event.to_json().map_err(|error| Fault::new(format!("event {} cannot be written as JSON: {error}", E::NAME)))?;
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
        self.into_record_within(id, source, time, context, &context.trace)
    }

    /// The same, whose `traceparent` names the span `trace` and not that of `context`.
    pub(crate) fn into_record_within(
        self,
        id: &MessageId,
        source: &str,
        time: Timestamp,
        context: &Context,
        trace: &TraceContext,
    ) -> Record {
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
            Header::text(headers::TRACEPARENT, trace.traceparent()),
        ];
        let optional = [
            (headers::CAUSATION_ID, context.causation_id.as_deref()),
            (headers::SAGA_ID, context.saga_id.as_deref()),
            (headers::TRACESTATE, trace.tracestate()),
        ];
        all.extend(optional.into_iter().filter_map(|(name, value)| Some(Header::text(name, value?))));
        Record {
            topic: self.topic.to_owned(),
            key: Some(Bytes::from(self.key)),
            value: Some(self.value),
            headers: all,
            timestamp: time.into(),
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
    pub trace: TraceContext,
}

impl Context {
    /// The start of a flow known by `correlation_id`, in `trace`.
    pub fn root(correlation_id: impl Into<String>, trace: TraceContext) -> Self {
        Self { correlation_id: correlation_id.into(), causation_id: None, saga_id: None, trace }
    }

    /// What follows from the message in `envelope`, within the span `trace`: the same flow.
    pub fn caused_by(envelope: &Envelope, trace: TraceContext) -> Self {
        Self {
            correlation_id: envelope.correlation_id.clone(),
            causation_id: Some(envelope.id.to_string()),
            saga_id: envelope.saga_id.clone(),
            trace,
        }
    }

    /// What in it could not be read again by those who receive the event.
    pub(crate) fn unreadable(&self) -> Option<BadHeader> {
        let ids = [
            (headers::CORRELATION_ID, Some(&self.correlation_id)),
            (headers::CAUSATION_ID, self.causation_id.as_ref()),
            (headers::SAGA_ID, self.saga_id.as_ref()),
        ];
        ids.into_iter().find_map(|(name, id)| headers::check(name, id?, headers::MAX_ID).err())
    }
}

#[cfg(test)]
mod tests;
