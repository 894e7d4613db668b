//! Records: the entries of a log.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::time::LogTime;

/// One header of a record. Names can repeat, and a value can be missing, as in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value, if there is one.
    pub value: Option<Bytes>,
}

impl Header {
    /// Creates the header `name` with the text `value`.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(Bytes::from(value.into())) }
    }
}

/// A record: topic, key, value, headers and timestamp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The key, which decides the partition and therefore the order. Without a key, the transport chooses a partition.
    pub key: Option<Bytes>,
    /// The value; `None` is Kafka's null value (a tombstone).
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// The time of publication, as the producer states it.
    pub timestamp: LogTime,
}

impl Record {
    /// Returns the text of the last header `name`, if it exists and is UTF-8.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// Returns the size of key, value and headers together, in bytes.
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len)).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// A record as received from the log, with its position.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// The record, shared by all groups that read it.
    pub record: Arc<Record>,
    /// The partition of the record.
    pub partition: i32,
    /// The offset of the record in its partition.
    pub offset: i64,
}

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Creates the partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
/// Returns the text of the last header `name`.
pub(crate) fn header<'h>(headers: &'h [Header], name: &str) -> Option<&'h str> {
    let last = headers.iter().rev().find(|header| header.name == name)?;
    std::str::from_utf8(last.value.as_deref()?).ok()
}
