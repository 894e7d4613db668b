//! What a record is to a service.

use std::collections::HashMap;

use crate::message::{BadHeader, EventType, headers};

/// Why a record is given up before any handler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unfit {
    /// Larger than the service takes.
    TooLarge {
        /// Bytes of the value.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// It says no type, and the service handles several types of the topic.
    NoType,
    /// It was written by a newer program.
    NewerVersion {
        /// The version it says.
        version: u32,
        /// The newest that is known here.
        known: u32,
    },
    /// It has no value.
    NoValue,
    /// A header that says what or whose it is cannot be used.
    BadHeader(BadHeader),
    /// Reading it panics, with this text.
    Panicked(String),
}

impl Unfit {
    /// The reason as one word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NoType => "no_type",
            Self::NewerVersion { .. } => "newer_version",
            Self::NoValue => "no_value",
            Self::BadHeader(_) => "bad_header",
            Self::Panicked(_) => "panic",
        }
    }
}

impl std::fmt::Display for Unfit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { size, limit } => {
                write!(f, "the value has {size} bytes; this service takes at most {limit} (setting `max_record_bytes`)")
            }
            Self::NoType => f.write_str("the record has no ce_type header, and this service handles several types of its topic"),
            Self::NewerVersion { version, known } => {
                write!(f, "the record has version {version}; this program knows versions up to {known}: update it, then retry")
            }
            Self::NoValue => f.write_str("the record has no value"),
            Self::Panicked(text) => write!(f, "panic in reading the record: {text}; report or mend it, then retry"),
            Self::BadHeader(bad) => write!(f, "{bad}: its producer has to send it with another one"),
        }
    }
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// It goes to the handler with this number, as the event type with this number among those it accepts.
    Handle {
        /// The handler.
        handler: usize,
        /// The event type.
        event: usize,
    },
    /// Nobody here wants it.
    Skip,
    /// It does not fit.
    DeadLetter(Unfit),
}

/// What is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'r> {
    /// The topic.
    pub topic: &'r str,
    /// The type, if the record says it.
    pub event_type: Option<&'r str>,
    /// The version.
    pub version: u32,
    /// Bytes of the value; `None` without one.
    pub value: Option<usize>,
    /// What is wrong with its headers, if they cannot be used.
    pub bad_header: Option<&'r BadHeader>,
}

/// Which handler takes which type of which topic.
#[derive(Debug, Default, Clone)]
pub struct Directory {
    topics: HashMap<&'static str, HashMap<&'static str, Entry>>,
    max_bytes: usize,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    handler: usize,
    event: usize,
    version: u32,
}

impl Directory {
    /// The directory of handlers that accept these types, in order, for values of at most `max_bytes` bytes.
    pub fn new<'h>(handlers: impl IntoIterator<Item = &'h [EventType]>, max_bytes: usize) -> Self {
        let mut topics: HashMap<_, HashMap<_, _>> = HashMap::new();
        for (handler, accepts) in handlers.into_iter().enumerate() {
            for (event, event_type) in accepts.iter().enumerate() {
                let entry = Entry { handler, event, version: event_type.version };
                topics.entry(event_type.topic).or_default().insert(event_type.name, entry);
            }
        }
        Self { topics, max_bytes }
    }

    /// The topics, sorted.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.topics.keys().map(|topic| (*topic).to_owned()).collect();
        topics.sort_unstable();
        topics
    }

    /// The handler of an event type of a topic; of a topic with one type also for a record that says none.
    pub fn handler(&self, topic: &str, event_type: Option<&str>) -> Option<usize> {
        let types = self.topics.get(topic)?;
        let entry = match event_type {
            Some(name) => types.get(name),
            None if types.len() == 1 => types.values().next(),
            None => None,
        };
        entry.map(|entry| entry.handler)
    }

    /// What happens to a record.
    pub fn admit(&self, facts: Facts<'_>) -> Admission {
        let Some(types) = self.topics.get(facts.topic) else { return Admission::Skip };
        if facts.value.is_none() && facts.event_type.is_none() {
            // A tombstone: it deletes a key of a compacted topic, and is no event.
            return Admission::Skip;
        }
        let bad_header = facts.bad_header.map(|bad| Admission::DeadLetter(Unfit::BadHeader(bad.clone())));
        let entry = match facts.event_type {
            // It says a type, and which one cannot be known.
            None if facts.bad_header.is_some_and(|bad| bad.header == headers::TYPE) => {
                return bad_header.unwrap_or(Admission::Skip);
            }
            Some(name) => types.get(name),
            None if types.len() == 1 => types.values().next(),
            None => return Admission::DeadLetter(Unfit::NoType),
        };
        let Some(entry) = entry else { return Admission::Skip };
        match (facts.value, bad_header) {
            (None, _) => Admission::DeadLetter(Unfit::NoValue),
            (Some(size), _) if size > self.max_bytes => Admission::DeadLetter(Unfit::TooLarge { size, limit: self.max_bytes }),
            (Some(_), Some(bad_header)) => bad_header,
            (Some(_), None) if facts.version > entry.version => {
                Admission::DeadLetter(Unfit::NewerVersion { version: facts.version, known: entry.version })
            }
            (Some(_), None) => Admission::Handle { handler: entry.handler, event: entry.event },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failure::Fault, message::Wrong};

    fn event(name: &'static str, topic: &'static str, version: u32) -> EventType {
        EventType { name, topic, version, decode: |_, _| Err(Fault::new("not decoded here")) }
    }

    #[test]
    fn a_record_is_handled_skipped_or_given_up() {
        let orders = [event("Created", "orders", 2), event("Shipped", "orders", 1)];
        let payments = [event("Paid", "payments", 1)];
        let directory = Directory::new([&orders[..], &payments[..]], 100);
        let facts = |topic, event_type, version, value| Facts { topic, event_type, version, value, bad_header: None };
        let id = BadHeader { header: headers::ID, wrong: Wrong::NotUtf8 };
        let r#type = BadHeader { header: headers::TYPE, wrong: Wrong::NotUtf8 };
        let bad =
            |bad_header, topic, event_type, value| Facts { bad_header: Some(bad_header), ..facts(topic, event_type, 1, value) };
        let unusable = |bad: &BadHeader| Admission::DeadLetter(Unfit::BadHeader(bad.clone()));
        let handle = |handler, event| Admission::Handle { handler, event };
        let newer = Unfit::NewerVersion { version: 3, known: 2 };
        let table = [
            (facts("orders", Some("Created"), 2, Some(10)), handle(0, 0)),
            (facts("orders", Some("Created"), 1, Some(10)), handle(0, 0)),
            (facts("orders", Some("Shipped"), 1, Some(100)), handle(0, 1)),
            (facts("orders", Some("Created"), 3, Some(10)), Admission::DeadLetter(newer)),
            (facts("orders", Some("Audited"), 9, Some(10)), Admission::Skip),
            (facts("orders", Some("Audited"), 9, Some(1_000)), Admission::Skip),
            (facts("orders", None, 1, Some(10)), Admission::DeadLetter(Unfit::NoType)),
            (facts("payments", None, 1, Some(10)), handle(1, 0)),
            (facts("payments", Some("Paid"), 1, None), Admission::DeadLetter(Unfit::NoValue)),
            (facts("payments", Some("Paid"), 1, Some(101)), Admission::DeadLetter(Unfit::TooLarge { size: 101, limit: 100 })),
            (facts("payments", None, 1, None), Admission::Skip),
            (facts("elsewhere", Some("Paid"), 1, Some(10)), Admission::Skip),
            (bad(&id, "orders", Some("Created"), Some(10)), unusable(&id)),
            (bad(&id, "orders", Some("Audited"), Some(10)), Admission::Skip),
            (bad(&id, "payments", None, Some(10)), unusable(&id)),
            (bad(&r#type, "payments", None, Some(10)), unusable(&r#type)),
            (bad(&r#type, "orders", None, Some(10)), unusable(&r#type)),
            (bad(&r#type, "orders", None, None), Admission::Skip),
            (bad(&r#type, "elsewhere", None, Some(10)), Admission::Skip),
        ];
        for (facts, expected) in table {
            assert_eq!(directory.admit(facts), expected, "{facts:?}");
        }
        assert_eq!(directory.topics(), ["orders", "payments"]);
        let table = [
            ("orders", Some("Shipped"), Some(0)),
            ("orders", Some("Audited"), None),
            ("orders", None, None),
            ("payments", None, Some(1)),
            ("elsewhere", Some("Paid"), None),
        ];
        for (topic, event_type, expected) in table {
            assert_eq!(directory.handler(topic, event_type), expected, "{topic}, {event_type:?}");
        }
    }
}
