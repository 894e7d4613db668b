//! Records: what a log stores.

use std::{fmt, sync::Arc};

use bytes::Bytes;

use crate::time::LogTime;

/// One header of a record. Header names can repeat, and a value can be missing, as in Kafka.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// The name.
    pub name: String,
    /// The value, if there is one.
    pub value: Option<Bytes>,
}

impl Header {
    /// The header `name` with the text `value`.
    pub fn text(name: impl Into<String>, value: impl Into<String>) -> Self {
        Self { name: name.into(), value: Some(Bytes::from(value.into())) }
    }
}

/// A record to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// What decides the partition, and with it the order. Without a key the partition is any.
    pub key: Option<Bytes>,
    /// The value; `None` is Kafka's null value (a tombstone).
    pub value: Option<Bytes>,
    /// The headers, in order.
    pub headers: Vec<Header>,
    /// When it was made, as its producer says.
    pub timestamp: LogTime,
}

impl Record {
    /// The last header called `name`, if it is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .rev()
            .find(|header| header.name == name)
            .and_then(|header| std::str::from_utf8(header.value.as_deref()?).ok())
    }

    /// Bytes of key, value and headers together.
    pub fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|header| header.name.len() + header.value.as_ref().map_or(0, Bytes::len)).sum();
        self.key.as_ref().map_or(0, Bytes::len) + self.value.as_ref().map_or(0, Bytes::len) + headers
    }
}

/// A record as it came from the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What was published, shared by all groups that read it.
    pub record: Arc<Record>,
    /// The partition it is in.
    pub partition: i32,
    /// Its position there.
    pub offset: i64,
}

/// One partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic.
    pub topic: String,
    /// The partition, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// Partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}
