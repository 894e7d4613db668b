//! Names of record headers: the CloudEvents 1.0 Kafka binary binding, its extensions, W3C trace context, and the names
//! Spring for Apache Kafka gives to dead letters. And what the values of those that are read may be.

use super::Record;

/// CloudEvents version, always `1.0`.
pub const SPEC_VERSION: &str = "ce_specversion";
/// The message's identity within its source.
pub const ID: &str = "ce_id";
/// The event's name.
pub const TYPE: &str = "ce_type";
/// The service that published it.
pub const SOURCE: &str = "ce_source";
/// When it was published, RFC 3339.
pub const TIME: &str = "ce_time";
/// The event's key.
pub const SUBJECT: &str = "ce_subject";
/// The media type of the value.
pub const CONTENT_TYPE: &str = "content-type";
/// What the whole flow is known by.
pub const CORRELATION_ID: &str = "ce_correlationid";
/// The message that led to this one.
pub const CAUSATION_ID: &str = "ce_causationid";
/// The saga instance this message belongs to.
pub const SAGA_ID: &str = "ce_sagaid";
/// The version of the event's shape.
pub const SCHEMA_VERSION: &str = "ce_schemaversion";
/// W3C trace context.
pub const TRACEPARENT: &str = "traceparent";
/// W3C trace context, vendors' part.
pub const TRACESTATE: &str = "tracestate";

/// The identity of the dead letter in the service's database, on the record that carries it to the dead letter topic.
pub const DLT_LETTER: &str = "sagas_dlt-letter";
/// The topic a dead letter came from.
pub const DLT_TOPIC: &str = "kafka_dlt-original-topic";
/// The partition it came from (big-endian 32 bit).
pub const DLT_PARTITION: &str = "kafka_dlt-original-partition";
/// The offset it had there (big-endian 64 bit).
pub const DLT_OFFSET: &str = "kafka_dlt-original-offset";
/// The timestamp it had (big-endian 64 bit milliseconds).
pub const DLT_TIMESTAMP: &str = "kafka_dlt-original-timestamp";
/// The consumer group that gave it up.
pub const DLT_GROUP: &str = "kafka_dlt-original-consumer-group";
/// What kind of failure it was.
pub const DLT_EXCEPTION: &str = "kafka_dlt-exception-fqcn";
/// What went wrong.
pub const DLT_MESSAGE: &str = "kafka_dlt-exception-message";
/// The bytes that the outbox had of a record's headers, where they could not be read.
pub const UNREADABLE: &str = "sagas_unreadable-headers";

/// The headers that a dead letter has beside those of its message.
pub const DLT: [&str; 8] =
    [DLT_LETTER, DLT_TOPIC, DLT_PARTITION, DLT_OFFSET, DLT_TIMESTAMP, DLT_GROUP, DLT_EXCEPTION, DLT_MESSAGE];

/// The most bytes of an identity: `ce_id`, `ce_source`, `ce_correlationid`, `ce_causationid`, `ce_sagaid`. Every database keeps one of
/// this length as it is, in its indexes too.
pub const MAX_ID: usize = 1_000;
/// The most bytes of a `ce_type`.
pub const MAX_TYPE: usize = 1_000;

/// A header whose value cannot be used, though it says what or whose the message is. Such a message is a dead letter: cut short or
/// replaced, its identity could be another's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header `{header}` {wrong}")]
#[non_exhaustive]
pub struct BadHeader {
    /// Its name.
    pub header: &'static str,
    /// What is wrong with it.
    pub wrong: Wrong,
}

/// What is wrong with the value of a header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Wrong {
    /// It is not UTF-8.
    #[error("is not UTF-8")]
    NotUtf8,
    /// It is longer than it may be.
    #[error("has {length} bytes; it may have at most {limit}")]
    TooLong {
        /// Its bytes.
        length: usize,
        /// The most that it may have.
        limit: usize,
    },
    /// It has a control character in it, which CloudEvents does not allow.
    #[error("has the control character U+{0:04X} in it, which CloudEvents does not allow")]
    Control(u32),
    /// It is no version.
    #[error("is no version: it must be a whole number from 1 to 4294967295, and is {0:?}")]
    NoVersion(String),
}

/// The text of the last header `name`; `None` when there is none, or it is empty.
pub(super) fn read<'r>(record: &'r Record, name: &'static str, limit: usize) -> Result<Option<&'r str>, BadHeader> {
    let last = record.headers.iter().rev().find(|header| header.name == name);
    let Some(bytes) = last.and_then(|header| header.value.as_deref()).filter(|bytes| !bytes.is_empty()) else { return Ok(None) };
    if bytes.len() > limit {
        return Err(BadHeader { header: name, wrong: Wrong::TooLong { length: bytes.len(), limit } });
    }
    let text = std::str::from_utf8(bytes).map_err(|_| BadHeader { header: name, wrong: Wrong::NotUtf8 })?;
    check(name, text, limit).map(|()| Some(text))
}

/// Whether `text` can be the value of the header `name`.
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

/// The version of the event's shape.
pub(super) fn version(record: &Record) -> Result<u32, BadHeader> {
    let Some(text) = read(record, SCHEMA_VERSION, 100)? else { return Ok(1) };
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let version = digits.then(|| text.parse().ok()).flatten().filter(|version| *version > 0);
    version.ok_or_else(|| BadHeader { header: SCHEMA_VERSION, wrong: Wrong::NoVersion(text.to_owned()) })
}
