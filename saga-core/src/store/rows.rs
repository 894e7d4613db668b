//! What the framework keeps in a service's database.

use bytes::Bytes;

use crate::{
    id::MessageId,
    message::{Received, Record, TopicPartition},
    time::Timestamp,
};

/// A change of a database's shape, run once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Migration {
    /// Its number in its set, from 1, without gaps.
    pub version: u32,
    /// What it is for, in a few words.
    pub name: &'static str,
    /// The statements, separated by semicolons.
    pub sql: &'static str,
}

/// What a message is known by in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InboxKey {
    /// Who published it.
    pub source: String,
    /// Its identity there.
    pub id: MessageId,
}

/// A partition that this process reads for a service, as the database knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ownership {
    /// The partition.
    pub partition: TopicPartition,
    /// How often it was taken over: whoever took it over last owns it.
    pub epoch: i64,
    /// The next offset to read: the effects of all before it are in the database. `None`: it was never read here.
    pub applied: Option<i64>,
    /// The identity of the log that `applied` is an offset of; `None`: it is not known.
    pub log: Option<String>,
}

/// The clock of a service, as it is kept for the next of its processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptClock {
    /// The last time that was noted while the service ran.
    pub seen: Timestamp,
    /// How many milliseconds it was ahead of the database's clock.
    pub offset: i64,
    /// The stops whose length is not believed, as the runtime writes them.
    pub stops: String,
}

/// A row's identity in the outbox; ascending.
pub type OutboxId = i64;

/// A record that waits to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its place.
    pub id: OutboxId,
    /// The record.
    pub record: Record,
    /// Why its headers cannot be read. The record then has one header,
    /// [`UNREADABLE`](crate::message::headers::UNREADABLE), with the bytes that the database has of them.
    pub unreadable: Option<String>,
}

/// A row's identity among the parked messages; ascending in the order of parking.
pub type ParkedId = i64;

/// A message that waits for its next attempt, or behind one that does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedMessage {
    /// Its place.
    pub id: ParkedId,
    /// The message.
    pub received: Received,
    /// Attempts that failed so far.
    pub attempts: u32,
    /// When it may be tried; only the first of its key is looked at.
    pub due: Timestamp,
    /// Why the last attempt failed; empty for one that waits behind another.
    pub error: String,
    /// When it was first seen by this service, by its own clock; when it was given back, if an operator did.
    pub seen: Timestamp,
}

impl ParkedMessage {
    /// What it is parked under. A message without a key has one of its own, so that nothing waits behind it.
    pub fn key(&self) -> Bytes {
        parking_key(&self.received)
    }
}

/// The due time of a parked message that waits for an operator, not for a time: a dead letter holds its key by it.
pub const HELD: Timestamp = Timestamp::MAX;

/// What `received` is parked under: its key, or, without one, its position.
pub fn parking_key(received: &Received) -> Bytes {
    parked_under(received.record.key.as_ref(), received.partition, received.offset)
}

/// The same, by its parts.
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
    /// The partition of its first message.
    pub partition: i32,
    /// The key, as [`parking_key`] gives it.
    pub key: Bytes,
    /// How many messages wait.
    pub count: usize,
    /// When the first is due.
    pub due: Timestamp,
}

/// A dead letter's identity.
pub type DeadLetterId = MessageId;

/// What became of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeadLetterState {
    /// Somebody has to look at it.
    Open,
    /// It was given back to its handler.
    Retried,
    /// Its message was produced again, mended or not, and that one was handled.
    Replayed,
    /// It was given up.
    Discarded,
}

/// A message that was given up, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// Its identity here.
    pub id: DeadLetterId,
    /// The message: bytes, key and headers untouched.
    pub received: Received,
    /// Its event type, if known.
    pub event_type: Option<String>,
    /// Why.
    pub error: String,
    /// After how many attempts; 0 for one that no handler saw.
    pub attempts: u32,
    /// When.
    pub at: Timestamp,
    /// What became of it.
    pub state: DeadLetterState,
    /// What the log did not take of it, and why: the copy for the dead letter topic, or the message to the tracker of its flow.
    /// `None`: nothing.
    pub unpublished: Option<String>,
}
