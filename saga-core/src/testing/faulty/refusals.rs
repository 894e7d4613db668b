//! Topics that reject all records, or some of them.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{message::Record, transport::TransportError};

/// The response of a topic to a publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Rejects records with more bytes than this for good, as with a low `max.message.bytes`.
    LargerThan(usize),
    /// Rejects everything with this lasting reason, as without the right to write.
    Unavailable(String),
    /// Does not exist, and cannot be created.
    Unknown,
}

/// The refusals of all topics.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<String, Refusal>>);

impl Refusals {
    pub(super) fn set(&self, topic: &str, refusal: Option<Refusal>) {
        let mut refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match refusal {
            Some(refusal) => refusals.insert(topic.to_owned(), refusal),
            None => refusals.remove(topic),
        };
    }

    /// Returns the error for `record`; `None` if it is accepted.
    pub(super) fn of(&self, record: &Record) -> Option<TransportError> {
        let refusals = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match refusals.get(&record.topic)? {
            Refusal::LargerThan(limit) if record.size() <= *limit => None,
            Refusal::LargerThan(limit) => {
                Some(TransportError::Refused(format!("it has {} bytes, and the topic takes {limit}", record.size())))
            }
            Refusal::Unavailable(reason) => Some(TransportError::Unavailable(reason.clone())),
            Refusal::Unknown => Some(TransportError::UnknownTopic(record.topic.clone())),
        }
    }
}
