//! Names of record headers, and limits for the values of those that are parsed. The names are those of the CloudEvents 1.0 Kafka binary
//! binding and its extensions, of W3C Trace Context, and of Spring for Apache Kafka for dead letters.

use super::Record;

/// The CloudEvents version, always `1.0`.
pub const SPEC_VERSION: &str = "ce_specversion";
/// The message's id within its source.
pub const ID: &str = "ce_id";
/// The event's name.
pub const TYPE: &str = "ce_type";
/// The service that published the message.
pub const SOURCE: &str = "ce_source";
/// The time of publication, RFC 3339.
pub const TIME: &str = "ce_time";
/// The event's key.
pub const SUBJECT: &str = "ce_subject";
/// The media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// The id that all messages that follow from one first message share.
pub const CORRELATION_ID: &str = "ce_correlationid";
/// The id of the message that caused this one.
pub const CAUSATION_ID: &str = "ce_causationid";
/// The id of the saga instance that this message belongs to.
pub const SAGA_ID: &str = "ce_sagaid";
/// The version of the event's schema.
pub const SCHEMA_VERSION: &str = "ce_schemaversion";
/// The W3C trace context: trace, span and flags.
pub const TRACEPARENT: &str = "traceparent";
/// The W3C trace context: the vendors' part.
pub const TRACESTATE: &str = "tracestate";

/// The id of the dead letter in the service's database, in its record on the dead-letter topic.
pub const DLT_LETTER: &str = "sagas_dlt-letter";
/// The topic of the dead letter's message.
pub const DLT_TOPIC: &str = "kafka_dlt-original-topic";
/// The partition of the dead letter's message (big-endian 32 bit).
pub const DLT_PARTITION: &str = "kafka_dlt-original-partition";
/// The offset of the dead letter's message (big-endian 64 bit).
pub const DLT_OFFSET: &str = "kafka_dlt-original-offset";
/// The timestamp of the dead letter's message (big-endian 64 bit milliseconds).
pub const DLT_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
/// The consumer group that gave up the message.
pub const DLT_GROUP: &str = "kafka_dlt-original-consumer-group";
/// The kind of the failure.
pub const DLT_EXCEPTION: &str = "kafka_dlt-exception-fqcn";
/// The text of the error.
pub const DLT_MESSAGE: &str = "kafka_dlt-exception-message";
/// The header bytes of an outbox row, where they could not be parsed.
pub const UNREADABLE: &str = "sagas_unreadable-headers";

/// The handler that a stored message (parked, or a dead letter) belongs to.
///
/// A message without it was stored before its handler was determined, and belongs to all handlers of its type.
pub const HANDLER: &str = "sagas_handler";
/// The suffix that the inbox adds to the ids of that handler's messages, if any.
pub const KNOWN_AS: &str = "sagas_handler-known-as";

/// The headers that a dead letter has in addition to those of its message.
pub const DLT: [&str; 10] =
    [HANDLER, KNOWN_AS, DLT_LETTER, DLT_TOPIC, DLT_PARTITION, DLT_OFFSET, DLT_TIMESTAMP, DLT_GROUP, DLT_EXCEPTION, DLT_MESSAGE];

/// The most bytes of an id: `ce_id`, `ce_source`, `ce_correlationid`, `ce_causationid`, `ce_sagaid`.
///
/// Each database can store and index an id of this length unchanged.
pub const MAX_ID: usize = 1_000;
/// The most bytes of a `ce_type`.
pub const MAX_TYPE: usize = 1_000;

/// A header that identifies the message, or states its type or version, and has an invalid value.
///
/// Such a message becomes a dead letter: a truncated or replaced id could be the id of another message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header `{header}` {wrong}")]
#[non_exhaustive]
pub struct BadHeader {
    /// The name of the header.
    pub header: &'static str,
    /// What is wrong with its value.
    pub wrong: Wrong,
}

/// What is wrong with the value of a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// The value is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// The value is too long.
    #[error("has {length} bytes; it may have at most {limit}")]
    TooLong {
        /// Its length, in bytes.
        length: usize,
        /// The maximum length, in bytes.
        limit: usize,
    },
    /// The value contains a control character, which CloudEvents does not allow.
    #[error("has the control character U+{0:04X} in it, which CloudEvents does not allow")]
    Control(u32),
    /// The value is not a version number.
    #[error("is no version: it must be a whole number from 1 to 4294967295, and is {0:?}")]
    NoVersion(String),
}

/// Returns the text of the last header `name`; `None` if it is missing or empty.
pub(super) fn read<'r>(record: &'r Record, name: &'static str, limit: usize) -> Result<Option<&'r str>, BadHeader> {
    let last = record.headers.iter().rev().find(|header| header.name == name);
    let Some(bytes) = last.and_then(|header| header.value.as_deref()).filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    if bytes.len() > limit {
        return Err(BadHeader { header: name, wrong: Wrong::TooLong { length: bytes.len(), limit } });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadHeader { header: name, wrong: Wrong::NotUtf8 })?;
    check(name, text, limit).map(|()| Some(text))
}

/// Checks that `text` is a valid value of the header `name`.
pub(super) fn check(name: &'static str, text: &str, limit: usize) -> Result<(), BadHeader> {
    let wrong = if text.len() > limit {
        Wrong::TooLong { length: text.len(), limit }
    } else if let Some(control) = text.chars().find(|character| character.is_control()) {
        Wrong::Control(control.into())
    } else {
        return Ok(());
    };
    Err(BadHeader { header: name, wrong })
}

/// Returns the version of the event's schema.
pub(super) fn version(record: &Record) -> Result<u32, BadHeader> {
    let Some(text) = read(record, SCHEMA_VERSION, 100)? else { return Ok(1) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let version = digits.then(|| text.parse().ok()).flatten().filter(|version| *version > 0);
    version.ok_or_else(|| BadHeader { header: SCHEMA_VERSION, wrong: Wrong::NoVersion(text.to_owned()) })
}
