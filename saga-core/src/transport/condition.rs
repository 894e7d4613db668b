//! What a transport knows to be wrong for longer than a moment, and what it finds in the settings of topics.

use std::time::Duration;

/// Something that keeps a group or a producer from its work, and lasts until its cause is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// Its name: lower case words joined by `_`.
    pub name: &'static str,
    /// What it is about: a topic, a partition (`orders-3`), a group.
    pub subject: String,
    /// Whether a service cannot do its work because of it.
    pub critical: bool,
    /// What is wrong, where, and the fix, in a sentence without secrets.
    pub detail: String,
}

/// What a service needs of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicExpectation {
    /// Its name.
    pub name: String,
    /// How many partitions it should have at least.
    pub partitions: u32,
    /// The largest value of a record that is published to it, in bytes.
    pub record_bytes: usize,
    /// For how long its records have to be there, should every reader be away.
    pub outage: Duration,
    /// Its records are copies of what the service's database keeps: dead letters.
    pub copies: bool,
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Worth knowing: it is logged once.
    Note,
    /// A guarantee holds only as long as nothing else goes wrong.
    Warning,
    /// A guarantee cannot hold: a service does not start on it.
    Error,
}

/// What is found in the settings of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFinding {
    /// The topic; empty for all of them.
    pub topic: String,
    /// The setting, by the log's own name.
    pub setting: String,
    /// How much it matters.
    pub weight: Weight,
    /// What its value is, what follows from it, and the fix, in a sentence.
    pub detail: String,
}
