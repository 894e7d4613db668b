//! Envelopes: the parsed headers of a record, and an encoded event before it becomes a record.

use std::time::Duration;

use bytes::Bytes;

use super::{BadHeader, Encode, Event, Header, Received, Record, TraceContext, headers};
use crate::{failure::Fault, id::MessageId, time::Timestamp};

/// The most that the time in a record can be ahead of the local clock.
///
/// It exceeds the usual differences between clocks; a later time is ignored.
pub const MAX_AHEAD: Duration = Duration::from_secs(3_600);

/// The metadata of a received message: everything except its value.
///
/// Headers come from the producer of the record and are parsed and validated here, nowhere else. The values in an envelope are within the
/// limits of [`headers`], so they can be stored in each database, written to headers and HTTP responses, and parsed again.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Envelope {
    /// The id within the source.
    ///
    /// For a record without one: `topic-partition-offset-` and a fingerprint of its timestamp, key and value. The fingerprint distinguishes
    /// the record from one at the same offset of an earlier topic with the same name.
    pub id: MessageId,
    /// The service that published the message. For a record without a source: the topic.
    pub source: String,
    /// The event's name, if the record has one.
    pub event_type: Option<String>,
    /// The version of the event's schema; 1 if the record has none.
    pub version: u32,
    /// When the message was published: the time in its header, else the record's timestamp.
    ///
    /// A time before 1970 or more than [`MAX_AHEAD`] ahead of the local clock is ignored; if neither can be used, it is the time of
    /// arrival.
    ///
    /// It comes from the sender's clock and is for display. To measure how long something waits, use
    /// [`Meta::now`](crate::extract::Meta::now) and times of the local clock.
    pub time: Timestamp,
    /// The id that all messages that follow from one first message share; the message's own id if the record has none.
    pub correlation_id: String,
    /// The id of the message that caused this one.
    pub causation_id: Option<String>,
    /// The id of the saga instance that the message belongs to.
    pub saga_id: Option<String>,
    /// The W3C trace context; `None` if the record has no valid one.
    pub trace: Option<TraceContext>,
}

impl Envelope {
    /// Creates the envelope of a message that comes from a timer and not from the log.
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

    /// Parses the headers of `received`, which arrived at `now`.
    ///
    /// The documentation of each field states its default, which also replaces an invalid time or trace context. Of repeated headers the
    /// last one counts. A header with no value or an empty value is missing.
    ///
    /// # Errors
    /// Returns an error if a header that identifies the message, or states its type or version, is invalid.
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

    /// Creates the envelope of a record with invalid identifying headers, which are ignored.
    ///
    /// The message is identified by its position and fingerprint. Its type is kept if it is valid.
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

/// Returns the id of a record that has none: its position and its fingerprint.
fn position(received: &Received) -> String {
    let record = &received.record;
    format!("{}-{}-{}-{:016x}", record.topic, received.partition, received.offset, fingerprint(record))
}

/// Returns a hash of timestamp, key and value (FNV-1a). It must be the same in all versions of the program, because inboxes contain it.
fn fingerprint(record: &Record) -> u64 {
    let parts = [record.key.as_deref(), record.value.as_deref()];
    let bytes = parts.into_iter().flat_map(|part| {
        let length = part.map_or(u64::MAX, |part| part.len() as u64);
        length.to_le_bytes().into_iter().chain(part.unwrap_or_default().iter().copied())
    });
    let all = record.timestamp.as_millis().to_le_bytes().into_iter().chain(bytes);
    all.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Returns when `record` was published, or `now` if it has no plausible time.
fn time(record: &Record, now: Timestamp) -> Timestamp {
    let stated = record.header(headers::TIME).and_then(|text| text.parse().ok());
    let possible = |at: &Timestamp| (Timestamp::from_millis(0)..=now.after(MAX_AHEAD)).contains(at);
    stated.filter(possible).or_else(|| record.timestamp.time().filter(possible)).unwrap_or(now)
}

/// Returns the trace context of `record`. Several different `traceparent` headers are ambiguous, so they are ignored.
fn trace(record: &Record) -> Option<TraceContext> {
    let all = |name: &'static str| record.headers.iter().filter(move |header| header.name == name);
    let mut parents = all(headers::TRACEPARENT);
    let parent = parents.next()?;
    if parents.any(|other| other != parent) {
        return None;
    }
    let text = |header: &Header| String::from_utf8(header.value.as_deref().unwrap_or_default().to_vec());
    // One `tracestate` that is not UTF-8 makes the whole list invalid.
    let states: Result<Vec<_>, _> = all(headers::TRACESTATE).map(text).collect();
    TraceContext::parse(&text(parent).ok()?, &states.map(|states| states.join(",")).unwrap_or_default())
}

/// An encoded event that has no id yet and is not yet in the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Outgoing {
    /// The event's name.
    pub name: &'static str,
    /// The topic.
    pub topic: &'static str,
    /// The version of the event's schema.
    pub version: u32,
    /// The key, as text.
    pub key: String,
    /// The value, as encoded by the event's codec.
    pub value: Bytes,
    /// The media type of the value.
    pub content_type: &'static str,
    /// The id, if it was assigned by [`Tx::identify`](crate::store::Tx::identify); otherwise it is assigned after the handler has returned.
    pub id: Option<MessageId>,
}

impl Outgoing {
    /// Encodes `event`.
    ///
    /// # Errors
    /// Returns the error of its codec.
    pub fn of<E: Event>(event: &E) -> Result<Self, Fault> {
        let value =
            E::Codec::encode(event).map_err(|fault| Fault::new(format!("event {} cannot be written: {fault}", E::NAME)))?;
        Ok(Self {
            name: E::NAME,
            topic: E::TOPIC,
            version: E::VERSION,
            key: event.key(),
            value: value.into(),
            content_type: <E::Codec as Encode<E>>::CONTENT_TYPE,
            id: None,
        })
    }

    /// Creates the record of this event, with the message id `id`, published by `source` at `time` within `context`.
    pub fn into_record(self, id: &MessageId, source: &str, time: Timestamp, context: &Context) -> Record {
        self.into_record_within(id, source, time, context, &context.trace)
    }

    /// Like [`into_record`](Self::into_record), but its `traceparent` is the span `trace` and not the one of `context`.
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
            Header::text(headers::CONTENT_TYPE, self.content_type),
            Header::text(headers::SCHEMA_VERSION, self.version.to_string()),
            Header::text(headers::CORRELATION_ID, context.correlation_id.clone()),
            Header::text(headers::TRACEPARENT, trace.traceparent()),
        ];
        let optional = [
            // CloudEvents does not allow an empty subject.
            (headers::SUBJECT, Some(&*self.key).filter(|key| !key.is_empty())),
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

/// The metadata that a published event inherits from the message that caused it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Context {
    /// The id that all messages that follow from one first message share.
    pub correlation_id: String,
    /// The id of the message that caused the event.
    pub causation_id: Option<String>,
    /// The id of the saga instance.
    pub saga_id: Option<String>,
    /// The W3C trace context.
    pub trace: TraceContext,
}

impl Context {
    /// Creates the context of a first message, with its `correlation_id` and its trace.
    pub fn root(correlation_id: impl Into<String>, trace: TraceContext) -> Self {
        Self { correlation_id: correlation_id.into(), causation_id: None, saga_id: None, trace }
    }

    /// Creates the context of the messages that the message in `envelope` causes, within the span `trace`.
    pub fn caused_by(envelope: &Envelope, trace: TraceContext) -> Self {
        Self {
            correlation_id: envelope.correlation_id.clone(),
            causation_id: Some(envelope.id.to_string()),
            saga_id: envelope.saga_id.clone(),
            trace,
        }
    }

    /// Returns the first id that a consumer could not parse from the headers, because it exceeds their limits.
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
