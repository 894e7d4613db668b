//! Lasting problems that a transport reports, and what it finds in the settings of topics.

use std::time::Duration;

/// A problem that keeps a group or a producer from its work until its cause is removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// The name: words in lower case, joined by `_`.
    pub name: &'static str,
    /// What the condition concerns: a topic, a partition (`orders-3`) or a group.
    pub subject: String,
    /// Whether a service cannot do its work because of it.
    pub critical: bool,
    /// What is wrong, where, and what to do, in one sentence without secrets.
    pub detail: String,
}

/// What a service requires of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicExpectation {
    /// The name of the topic.
    pub name: String,
    /// The number of partitions with which it is created. A topic that exists can have another number.
    pub partitions: u32,
    /// The largest value of a record that is published to the topic, in bytes.
    pub record_bytes: usize,
    /// How long the topic must keep its records, in case all its readers are down.
    pub outage: Duration,
    /// Whether the records are copies of what the service's database keeps, as dead letters are.
    pub copies: bool,
}

/// The severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Information that is logged once.
    Note,
    /// A guarantee holds only as long as nothing else fails.
    Warning,
    /// A guarantee cannot hold, so a service does not start.
    Error,
}

/// A problem in the settings of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicFinding {
    /// The topic; empty if the finding concerns all topics.
    pub topic: String,
    /// The name of the setting in the log.
    pub setting: String,
    /// How severe it is.
    pub weight: Weight,
    /// The value of the setting, its consequence, and what to do, in one sentence.
    pub detail: String,
}
