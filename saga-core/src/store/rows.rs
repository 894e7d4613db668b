//! The rows that the framework keeps in a service's database.

use bytes::Bytes;

use crate::{
    id::MessageId,
    message::{Received, Record, TopicPartition},
    time::Timestamp,
};

/// A change of a database's schema. It runs once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// The number in its set. Numbers begin with 1 and have no gaps.
    pub version: u32,
    /// What the migration does, in a few words.
    pub name: &'static str,
    /// The statements, separated by semicolons.
    pub sql: &'static str,
}

/// The key of a message in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InboxKey {
    /// The publisher of the message, `ce_source`.
    pub source: String,
    /// The id of the message at its publisher, `ce_id`.
    pub id: MessageId,
}

/// A partition that a process reads for a service, as the database stores it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch: how many times the partition was acquired. The process that acquired it last owns it.
    pub epoch: i64,
    /// The applied offset, where reading continues: the effects of all earlier messages are in the database. `None`: the service has never
    /// read the partition.
    pub applied: Option<i64>,
    /// The identity of the log to which `applied` belongs; `None` if it is unknown.
    pub log: Option<String>,
}

/// The state of a service's clock, stored for the processes that start later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptClock {
    /// The last time that was stored while the service ran.
    pub seen: Timestamp,
    /// By how many milliseconds the service's clock was ahead of the database's.
    pub offset: i64,
    /// The downtimes of the service whose length is not certain, in the runtime's text format.
    pub stops: String,
}

/// The id of an outbox row. Ids ascend.
pub type OutboxId = i64;

/// A record that waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// The id of the row.
    pub id: OutboxId,
    /// The record.
    pub record: Record,
    /// Why the stored headers cannot be decoded. The record then has one header, [`UNREADABLE`](crate::message::headers::UNREADABLE), with
    /// the bytes of the stored headers.
    pub unreadable: Option<String>,
}

/// The id of a parked message. Ids ascend in the order of parking.
pub type ParkedId = i64;

/// A message that waits for its next attempt, or behind an earlier message of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMessage {
    /// The id of the row.
    pub id: ParkedId,
    /// The message.
    pub received: Received,
    /// The number of attempts that failed.
    pub attempts: u32,
    /// When the message is due. Only the due time of the first message of a key counts.
    pub due: Timestamp,
    /// Why the last attempt failed; empty for a message that waits behind another.
    pub error: String,
    /// When the service first saw the message, by the service's clock. If an operator retried it, the time of the retry.
    pub seen: Timestamp,
}

impl ParkedMessage {
    /// Returns the key under which the message is parked. A message without a key has one of its own, so that no other message waits behind
    /// it.
    pub fn key(&self) -> Bytes {
        parking_key(&self.received)
    }
}

/// The due time of a parked message that waits for an operator and not for a time: the message by which a dead letter holds its key.
pub const HELD: Timestamp = Timestamp::MAX;

/// Returns the key under which `received` is parked: the record's key, or the position of a record without a key.
pub fn parking_key(received: &Received) -> Bytes {
    parked_under(received.record.key.as_ref(), received.partition, received.offset)
}

/// As [`parking_key`], from the parts of a message.
pub(super) fn parked_under(key: Option<&Bytes>, partition: i32, offset: i64) -> Bytes {
    match key {
        Some(key) => key.clone(),
        None => Bytes::from(format!("\0{partition}-{offset}")),
    }
}

/// A key with parked messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedKey {
    /// The topic.
    pub topic: String,
    /// The partition of the key's first parked message.
    pub partition: i32,
    /// The key, as [`parking_key`] returns it.
    pub key: Bytes,
    /// The number of parked messages.
    pub count: usize,
    /// When the first message is due.
    pub due: Timestamp,
}

/// The id of a dead letter.
pub type DeadLetterId = MessageId;

/// The state of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterState {
    /// It waits for an operator.
    Open,
    /// It was delivered to its handler again.
    Retried,
    /// Its message was produced again, repaired or unchanged, and was handled.
    Replayed,
    /// An operator settled it without another attempt.
    Discarded,
}

/// A message that the service has given up, as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The id of the dead letter.
    pub id: DeadLetterId,
    /// The message. Value, key and headers are unchanged.
    pub received: Received,
    /// The event type, if it is known.
    pub event_type: Option<String>,
    /// The error with which the message was given up.
    pub error: String,
    /// The number of attempts; 0 for a message that was not delivered to a handler.
    pub attempts: u32,
    /// When the message was given up.
    pub at: Timestamp,
    /// The state of the dead letter.
    pub state: DeadLetterState,
    /// What the log refused to store of the dead letter, and why: the copy for the dead-letter topic, or the notice to the tracker of its
    /// saga. `None`: nothing was refused.
    pub unpublished: Option<String>,
}
