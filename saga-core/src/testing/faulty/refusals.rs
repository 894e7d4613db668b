//! Topics that take nothing, or not everything.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
};

use crate::{message::Record, transport::TransportError};

/// What a topic answers to what is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It never takes records with more bytes than this, as with a low `max.message.bytes`.
    LargerThan(usize),
    /// It takes nothing for this reason, which lasts, as without the right to write.
    Unavailable(String),
    /// It is not there, and does not come by being created.
    Unknown,
}

/// What topics refuse.
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

    /// What is answered to `record`; `None`: it is taken.
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
