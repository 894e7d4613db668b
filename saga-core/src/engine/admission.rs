//! Whether a service handles a record.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, OnceLock},
};

use crate::message::{BadHeader, EventType, headers};

/// Why a record becomes a dead letter before any handler sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Inadmissible {
    /// The value is larger than the service accepts.
    TooLarge {
        /// The size of the value, in bytes.
        size: usize,
        /// The limit, in bytes.
        limit: usize,
    },
    /// The record has no type, and the service handles several types of its topic.
    NoType,
    /// The record has a newer version of its event than the program knows.
    NewerVersion {
        /// The version in the record.
        version: u32,
        /// The newest version that the program knows.
        known: u32,
    },
    /// The record has no value.
    NoValue,
    /// A header that identifies the message, or states its type or version, is invalid.
    BadHeader(BadHeader),
    /// The message was stored for a handler that does not exist in this program or does not take its event.
    NoHandler(String),
    /// The service handled this event earlier, and no handler takes it now.
    Unhandled {
        /// The name of the event, if the record has one.
        event: Option<String>,
        /// The topic of the record.
        topic: String,
    },
    /// Decoding the record panicked with this text.
    Panicked(String),
}

impl Inadmissible {
    /// Returns the reason as one word, for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::TooLarge { .. } => "too_large",
            Self::NoType => "no_type",
            Self::NewerVersion { .. } => "newer_version",
            Self::NoValue => "no_value",
            Self::BadHeader(_) => "bad_header",
            Self::NoHandler(_) => "no_handler",
            Self::Unhandled { .. } => "unhandled",
            Self::Panicked(_) => "panic",
        }
    }
}

impl std::fmt::Display for Inadmissible {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TooLarge { size, limit } => {
                write!(f, "the value has {size} bytes; this service takes at most {limit} (setting `max_record_bytes`)")
            }
            Self::NoType => f.write_str("the record has no ce_type header, and this service handles several types of its topic"),
            Self::NewerVersion { version, known } => {
                write!(
                    f,
                    "the record has version {version}; this program supports versions up to {known}: update the program, then retry"
                )
            }
            Self::NoValue => f.write_str("the record has no value"),
            Self::NoHandler(name) => write!(
                f,
                "it was kept for the handler `{name}`, and this program has no such handler for its event: start a program that has the \
                 handler, then retry, or discard it"
            ),
            Self::Unhandled { event: Some(event), topic } => write!(
                f,
                "this service handled {event} of topic `{topic}` before, and none of its handlers takes it now: if the event has a new \
                 name, add `also = [\"{event}\"]` to it, otherwise restore its handler, then retry; or name it in the setting \
                 `forget_events`, then discard"
            ),
            Self::Unhandled { event: None, topic } => write!(
                f,
                "this service handled an event of topic `{topic}` before, and none of its handlers takes one now: restore the handler, \
                 then retry; or name the event in the setting `forget_events`, then discard"
            ),
            Self::Panicked(text) => write!(f, "panic while reading the record: {text}; report or fix it, then retry"),
            Self::BadHeader(bad) => write!(f, "{bad}: its producer must send it with another one"),
        }
    }
}

/// What happens to a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Admission {
    /// A handler takes it.
    Handle {
        /// The index of the handler.
        handler: usize,
        /// The index of the event type among those that the handler accepts.
        event: usize,
    },
    /// No handler takes it.
    Skip,
    /// It becomes a dead letter.
    DeadLetter(Inadmissible),
}

/// The properties of a record that the decision depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordFacts<'r> {
    /// The topic.
    pub topic: &'r str,
    /// The type, if the record has one.
    pub event_type: Option<&'r str>,
    /// The version of the event.
    pub version: u32,
    /// The size of the value, in bytes; `None` for a record without a value.
    pub value: Option<usize>,
    /// The invalid header, if there is one.
    pub bad_header: Option<&'r BadHeader>,
}

/// Which handlers take which event types of which topics, and the order in which the handlers of one type are called.
#[derive(Debug, Default, Clone)]
pub struct HandlerDirectory {
    topics: HashMap<&'static str, Types>,
    max_bytes: usize,
}

/// The event types of one topic.
#[derive(Debug, Default, Clone)]
struct Types {
    /// The entries for each name, current and former.
    names: HashMap<&'static str, Vec<Entry>>,
    /// The current names.
    events: BTreeSet<&'static str>,
    /// The entries that take, undecoded, the records of all other types.
    any: Vec<Entry>,
    /// Whether a record of a newer version waits for a program that knows it.
    newer_waits: bool,
}

impl Types {
    /// Returns whether one of the types has this name.
    fn names_it(&self, event_type: Option<&str>) -> bool {
        event_type.is_some_and(|name| self.names.contains_key(name))
    }

    fn find(&self, event_type: Option<&str>) -> &[Entry] {
        let only = || self.events.first().filter(|_| self.events.len() == 1).and_then(|name| self.names.get(name));
        let found = match event_type {
            Some(name) => self.names.get(name),
            None if self.any.is_empty() => only(),
            None => None,
        };
        found.unwrap_or(&self.any)
    }
}

/// The events that a service handled earlier and that no handler takes now: names by topic.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Remembered(HashMap<String, BTreeSet<String>>);

impl Remembered {
    /// Returns whether a record of this topic and type is one of these events. A record without a type can be any of them.
    fn has(&self, topic: &str, event_type: Option<&str>) -> bool {
        let is_it = |name| [name, EventType::ANY].into_iter().any(|name| self.has_name(topic, name));
        self.0.contains_key(topic) && event_type.is_none_or(is_it)
    }

    fn has_name(&self, topic: &str, name: &str) -> bool {
        self.0.get(topic).is_some_and(|names| names.contains(name))
    }

    /// Returns the topics of the events.
    pub fn topics(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Returns topic and name of each event, in no particular order.
    pub fn events(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().flat_map(|(topic, names)| names.iter().map(move |name| (topic.as_str(), name.as_str())))
    }
}

#[derive(Debug, Clone)]
struct Entry {
    handler: usize,
    event: usize,
    version: u32,
    /// The suffix that the inbox adds to the ids of the handler's messages.
    known_as: OnceLock<Arc<str>>,
}

/// The handlers of one event name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Takers {
    /// The topic of the event.
    pub topic: &'static str,
    /// The name of the event, or `EventType::ANY`.
    pub name: &'static str,
    /// The indices of the handlers, in the order in which they are called.
    pub handlers: Vec<usize>,
}

impl HandlerDirectory {
    /// Creates the directory of handlers that accept these types. `max_bytes` is the largest accepted value, in bytes.
    pub fn new<'h>(handlers: impl IntoIterator<Item = &'h [EventType]>, max_bytes: usize) -> Self {
        let mut topics: HashMap<_, Types> = HashMap::new();
        for (handler, accepts) in handlers.into_iter().enumerate() {
            for (event, event_type) in accepts.iter().enumerate() {
                let entry = Entry { handler, event, version: event_type.version, known_as: OnceLock::new() };
                let types = topics.entry(event_type.topic).or_default();
                if event_type.is_any() {
                    types.any.push(entry);
                    continue;
                }
                for name in event_type.names() {
                    types.names.entry(name).or_default().push(entry.clone());
                }
                types.events.insert(event_type.name);
            }
        }
        Self { topics, max_bytes }
    }

    /// Sets the topics for which records of newer versions go to their handlers and wait there: those for which `waits` returns true.
    #[must_use]
    pub fn newer_wait(mut self, waits: impl Fn(&str) -> bool) -> Self {
        for (topic, types) in &mut self.topics {
            types.newer_waits = waits(topic);
        }
        self
    }

    /// Returns those of the events in `before` (topic and name), which were handled earlier, that no handler takes now.
    pub fn unhandled(&self, before: impl IntoIterator<Item = (String, String)>) -> Remembered {
        let mut remembered = Remembered::default();
        for (topic, name) in before {
            let taken = |types: &Types| !types.any.is_empty() || types.names.contains_key(name.as_str());
            if !self.topics.get(topic.as_str()).is_some_and(taken) {
                remembered.0.entry(topic).or_default().insert(name);
            }
        }
        remembered
    }

    /// Sorts the handlers of each type by `rank`. Handlers of the same rank keep their order.
    #[must_use]
    pub fn ordered<K: Ord>(mut self, rank: impl Fn(usize) -> K) -> Self {
        for types in self.topics.values_mut() {
            for entries in types.names.values_mut().chain([&mut types.any]) {
                entries.sort_by_key(|entry| rank(entry.handler));
            }
        }
        self
    }

    /// Returns the handlers of each topic and name.
    pub fn takers(&self) -> Vec<Takers> {
        let mut takers = Vec::new();
        for (topic, types) in &self.topics {
            let any = (!types.any.is_empty()).then_some((&EventType::ANY, &types.any));
            takers.extend(types.names.iter().chain(any).map(|(name, entries)| Takers {
                topic,
                name,
                handlers: entries.iter().map(|entry| entry.handler).collect(),
            }));
        }
        takers.sort_unstable_by_key(|takers| (takers.topic, takers.name));
        takers
    }

    /// Sets the suffixes that the inbox adds to the ids of messages, by topic, name and handler.
    ///
    /// Must be called once, before the first record.
    pub fn set_known_as(&self, known_as: impl Fn(&str, &str, usize) -> Option<Arc<str>>) {
        for (topic, types) in &self.topics {
            for (name, entries) in types.names.iter().chain([(&EventType::ANY, &types.any)]) {
                for entry in entries {
                    if let Some(known_as) = known_as(topic, name, entry.handler) {
                        entry.known_as.get_or_init(|| known_as);
                    }
                }
            }
        }
    }

    /// Returns the topics, sorted.
    pub fn topics(&self) -> Vec<String> {
        let mut topics: Vec<_> = self.topics.keys().map(|topic| (*topic).to_owned()).collect();
        topics.sort_unstable();
        topics
    }

    /// Returns the handlers of an event type of a topic, in the order in which they are called.
    ///
    /// A record without a type has the handlers of the topic's only type, if there is just one.
    pub fn handlers<'d>(&'d self, topic: &str, event_type: Option<&str>) -> impl Iterator<Item = usize> + use<'d> {
        self.listeners(topic, event_type).map(|(handler, _)| handler)
    }

    /// Like [`handlers`](Self::handlers), each with the suffix that the inbox adds to the ids of its messages.
    pub fn listeners<'d>(
        &'d self,
        topic: &str,
        event_type: Option<&str>,
    ) -> impl Iterator<Item = (usize, Option<&'d Arc<str>>)> + use<'d> {
        let entries = self.topics.get(topic).map_or(&[][..], |types| types.find(event_type));
        entries.iter().map(|entry| (entry.handler, entry.known_as.get()))
    }

    /// Decides what happens to a record, for the handler at position `at` among those of its type.
    ///
    /// `remembered` contains the events that the service handled earlier and does not handle now.
    pub fn admit(&self, facts: RecordFacts<'_>, at: usize, remembered: &Remembered) -> Admission {
        let as_it_is = self.topics.get(facts.topic).filter(|types| !types.any.is_empty() && !types.names_it(facts.event_type));
        if let Some(types) = as_it_is {
            return match (types.any.get(at), facts.value.filter(|size| *size > self.max_bytes)) {
                (None, _) => Admission::Skip,
                (_, Some(size)) => Admission::DeadLetter(Inadmissible::TooLarge { size, limit: self.max_bytes }),
                (Some(&Entry { handler, event, .. }), None) => Admission::Handle { handler, event },
            };
        }
        if facts.value.is_none() && facts.event_type.is_none() {
            // A tombstone, which deletes a key of a compacted topic. It is not an event.
            return Admission::Skip;
        }
        let skip = || match remembered.has(facts.topic, facts.event_type) {
            false => Admission::Skip,
            true => Admission::DeadLetter(Inadmissible::Unhandled {
                event: facts.event_type.map(str::to_owned),
                topic: facts.topic.to_owned(),
            }),
        };
        let Some(types) = self.topics.get(facts.topic) else { return skip() };
        let bad_header = facts.bad_header.map(|bad| Admission::DeadLetter(Inadmissible::BadHeader(bad.clone())));
        match facts.event_type {
            // The record has a type, but it is unknown which one, so the topic's only type must not be assumed.
            None if facts.bad_header.is_some_and(|bad| bad.header == headers::TYPE) => {
                return bad_header.unwrap_or(Admission::Skip);
            }
            None if types.events.len() != 1 => return Admission::DeadLetter(Inadmissible::NoType),
            _ => {}
        }
        let entries = types.find(facts.event_type);
        if entries.is_empty() {
            return skip();
        }
        let Some(entry) = entries.get(at) else { return Admission::Skip };
        match (facts.value, bad_header) {
            (None, _) => Admission::DeadLetter(Inadmissible::NoValue),
            (Some(size), _) if size > self.max_bytes => {
                Admission::DeadLetter(Inadmissible::TooLarge { size, limit: self.max_bytes })
            }
            (Some(_), Some(bad_header)) => bad_header,
            (Some(_), None) if facts.version > entry.version && !types.newer_waits => {
                Admission::DeadLetter(Inadmissible::NewerVersion { version: facts.version, known: entry.version })
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
        EventType { name, topic, version, also: &[], decode: |_| Err(Fault::new("not decoded here")) }
    }

    #[test]
    fn a_record_is_handled_skipped_or_given_up() {
        let orders = [event("Created", "orders", 2), event("Shipped", "orders", 1)];
        let payments = [event("Paid", "payments", 1)];
        let directory = HandlerDirectory::new([&orders[..], &payments[..]], 100);
        let facts = |topic, event_type, version, value| RecordFacts { topic, event_type, version, value, bad_header: None };
        let id = BadHeader { header: headers::ID, wrong: Wrong::NotUtf8 };
        let r#type = BadHeader { header: headers::TYPE, wrong: Wrong::NotUtf8 };
        let bad = |bad_header, topic, event_type, value| RecordFacts {
            bad_header: Some(bad_header),
            ..facts(topic, event_type, 1, value)
        };
        let unusable = |bad: &BadHeader| Admission::DeadLetter(Inadmissible::BadHeader(bad.clone()));
        let handle = |handler, event| Admission::Handle { handler, event };
        let newer = Inadmissible::NewerVersion { version: 3, known: 2 };
        let table = [
            (facts("orders", Some("Created"), 2, Some(10)), handle(0, 0)),
            (facts("orders", Some("Created"), 1, Some(10)), handle(0, 0)),
            (facts("orders", Some("Shipped"), 1, Some(100)), handle(0, 1)),
            (facts("orders", Some("Created"), 3, Some(10)), Admission::DeadLetter(newer)),
            (facts("orders", Some("Audited"), 9, Some(10)), Admission::Skip),
            (facts("orders", Some("Audited"), 9, Some(1_000)), Admission::Skip),
            (facts("orders", None, 1, Some(10)), Admission::DeadLetter(Inadmissible::NoType)),
            (facts("payments", None, 1, Some(10)), handle(1, 0)),
            (facts("payments", Some("Paid"), 1, None), Admission::DeadLetter(Inadmissible::NoValue)),
            (
                facts("payments", Some("Paid"), 1, Some(101)),
                Admission::DeadLetter(Inadmissible::TooLarge { size: 101, limit: 100 }),
            ),
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
            assert_eq!(directory.admit(facts, 0, &Remembered::default()), expected, "{facts:?}");
        }
        assert_eq!(directory.topics(), ["orders", "payments"]);
        let table = [
            ("orders", Some("Shipped"), &[0][..]),
            ("orders", Some("Audited"), &[]),
            ("orders", None, &[]),
            ("payments", None, &[1]),
            ("elsewhere", Some("Paid"), &[]),
        ];
        for (topic, event_type, expected) in table {
            assert_eq!(directory.handlers(topic, event_type).collect::<Vec<_>>(), expected, "{topic}, {event_type:?}");
        }
    }

    #[test]
    fn several_handlers_of_a_type_are_called_in_the_order_of_their_ranks() {
        let (cancelled, other) = ([event("Cancelled", "orders", 1)], [event("Cancelled", "orders", 2)]);
        let ranks = [2, 1, 0, 1];
        let handlers = [&cancelled[..], &cancelled[..], &other[..], &cancelled[..]];
        let directory = HandlerDirectory::new(handlers, 100).ordered(|handler| ranks[handler]);
        assert_eq!(directory.handlers("orders", Some("Cancelled")).collect::<Vec<_>>(), [2, 1, 3, 0]);
        let admit = |at, version| {
            let facts = RecordFacts { topic: "orders", event_type: Some("Cancelled"), version, value: Some(1), bad_header: None };
            directory.admit(facts, at, &Remembered::default())
        };
        assert_eq!(admit(0, 2), Admission::Handle { handler: 2, event: 0 });
        assert_eq!(admit(3, 1), Admission::Handle { handler: 0, event: 0 });
        assert_eq!(
            admit(1, 2),
            Admission::DeadLetter(Inadmissible::NewerVersion { version: 2, known: 1 }),
            "each by what it knows"
        );
        assert_eq!(admit(4, 1), Admission::Skip);
    }

    #[test]
    fn each_handler_of_a_name_is_known_as_something() {
        let created = EventType { also: &["Opened"], ..event("Created", "orders", 1) };
        let any = EventType { topic: "orders", ..EventType::any() };
        let directory = HandlerDirectory::new([&[created][..], &[created][..], &[any][..]], 100);
        let takers = |name, handlers: &[usize]| Takers { topic: "orders", name, handlers: handlers.to_vec() };
        assert_eq!(directory.takers(), [takers("*", &[2]), takers("Created", &[0, 1]), takers("Opened", &[0, 1])]);
        directory.set_known_as(|_, name, handler| (handler == 1).then(|| format!("{name}-one").into()));
        let known = |event_type| -> Vec<_> {
            let listeners = directory.listeners("orders", event_type);
            listeners.map(|(handler, known_as)| (handler, known_as.map(|it| it.to_string()))).collect()
        };
        assert_eq!(known(Some("Created")), [(0, None), (1, Some("Created-one".to_owned()))]);
        assert_eq!(known(Some("Opened")), [(0, None), (1, Some("Opened-one".to_owned()))]);
        assert_eq!(known(Some("Else")), [(2, None)]);
    }

    #[test]
    fn an_event_has_all_its_names_and_is_one_type() {
        let created = EventType { also: &["Opened", "Begun"], ..event("Created", "orders", 2) };
        let directory = HandlerDirectory::new([&[created][..]], 100);
        let facts = |event_type, version| RecordFacts { topic: "orders", event_type, version, value: Some(1), bad_header: None };
        let handle = Admission::Handle { handler: 0, event: 0 };
        for name in [Some("Created"), Some("Opened"), Some("Begun"), None] {
            assert_eq!(directory.admit(facts(name, 1), 0, &Remembered::default()), handle, "{name:?}");
        }
        let newer = Admission::DeadLetter(Inadmissible::NewerVersion { version: 3, known: 2 });
        assert_eq!(directory.admit(facts(Some("Opened"), 3), 0, &Remembered::default()), newer);
        assert_eq!(
            directory.newer_wait(|topic| topic == "orders").admit(facts(Some("Opened"), 3), 0, &Remembered::default()),
            handle
        );
    }

    #[test]
    fn what_no_type_takes_is_taken_as_it_is() {
        let any = EventType { topic: "orders", ..EventType::any() };
        let directory = HandlerDirectory::new([&[event("Created", "orders", 1)][..], &[any][..]], 100);
        let facts = |event_type, version, value| RecordFacts { topic: "orders", event_type, version, value, bad_header: None };
        let r#type = BadHeader { header: headers::TYPE, wrong: Wrong::NotUtf8 };
        let handle = |handler| Admission::Handle { handler, event: 0 };
        let table = [
            (facts(Some("Created"), 1, Some(1)), handle(0)),
            (facts(Some("Created"), 2, Some(1)), Admission::DeadLetter(Inadmissible::NewerVersion { version: 2, known: 1 })),
            (facts(Some("Audited"), 9, Some(1)), handle(1)),
            (facts(None, 1, Some(1)), handle(1)),
            (facts(None, 1, None), handle(1)),
            (facts(None, 1, Some(101)), Admission::DeadLetter(Inadmissible::TooLarge { size: 101, limit: 100 })),
            (RecordFacts { bad_header: Some(&r#type), ..facts(None, 1, Some(1)) }, handle(1)),
        ];
        for (facts, expected) in table {
            assert_eq!(directory.admit(facts, 0, &Remembered::default()), expected, "{facts:?}");
        }
        let all = [("orders".to_owned(), "Shipped".to_owned()), ("orders".to_owned(), "*".to_owned())];
        assert_eq!(directory.unhandled(all.clone()), Remembered::default());
        let remembered = HandlerDirectory::new([&[event("Created", "orders", 1)][..]], 100).unhandled(all);
        assert!(remembered.has("orders", Some("Anything")) && !remembered.has("elsewhere", Some("Anything")));
    }

    #[test]
    fn what_was_handled_before_is_never_skipped() {
        let created = EventType { also: &["Opened"], ..event("Created", "orders", 1) };
        let directory = HandlerDirectory::new([&[created][..]], 100);
        let pair = |(topic, name): (&str, &str)| (topic.to_owned(), name.to_owned());
        let before = [("orders", "Created"), ("orders", "Opened"), ("orders", "Shipped"), ("gone", "Paid")].map(pair);
        let remembered = directory.unhandled(before);
        let mut left: Vec<_> = remembered.events().collect();
        left.sort_unstable();
        assert_eq!(left, [("gone", "Paid"), ("orders", "Shipped")]);
        let facts = |topic, event_type, value| RecordFacts { topic, event_type, version: 1, value, bad_header: None };
        let unhandled = |topic: &str, event: Option<&str>| {
            Admission::DeadLetter(Inadmissible::Unhandled { event: event.map(str::to_owned), topic: topic.to_owned() })
        };
        let table = [
            (facts("orders", Some("Created"), Some(1)), Admission::Handle { handler: 0, event: 0 }),
            (facts("orders", Some("Shipped"), Some(1)), unhandled("orders", Some("Shipped"))),
            (facts("orders", Some("Audited"), Some(1)), Admission::Skip),
            (facts("gone", Some("Paid"), Some(1)), unhandled("gone", Some("Paid"))),
            (facts("gone", Some("Audited"), Some(1)), Admission::Skip),
            (facts("gone", None, Some(1)), unhandled("gone", None)),
            (facts("gone", None, None), Admission::Skip),
        ];
        for (facts, expected) in table {
            assert_eq!(directory.admit(facts, 0, &remembered), expected, "{facts:?}");
        }
    }
}
