//! Events as types, and sets of them.

use std::{any::Any, fmt};

use super::{Decode, Encode, NotYet};
use crate::failure::Fault;

/// A fact that a service publishes: a struct with a topic, a key, a name and a version. Implemented by `#[event]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "put `#[event(topic = \"..\", key = ..)]` on the struct `{Self}`, and derive `Serialize` and `Deserialize` for it",
    note = "an enum with `#[event]` is a set of events: match it, and use the event in its variant"
)]
pub trait Event: Sized + Send + Sync + 'static {
    /// The type of the key field; `String` for a key of several fields.
    type Key: EventKey;
    /// The codec of the event's value.
    type Codec: Encode<Self> + Decode<Self>;

    /// The event's name in records (`ce_type`).
    const NAME: &'static str;
    /// The topic of the event.
    const TOPIC: &'static str;
    /// The version of the event's schema (`ce_schemaversion`).
    const VERSION: u32;
    /// Former names of the event. A record with one of them is read as this event.
    const ALSO: &'static [&'static str] = &[];

    /// Returns the key as text. Events with the same topic and key are handled in the order in which they were published.
    fn key(&self) -> String;

    /// Decodes a value that was encoded as `version` of the event.
    ///
    /// The runtime calls it for each record; a test can call it with a sample of an earlier version. Without upcasts, each version is
    /// decoded as the current one.
    ///
    /// # Errors
    /// Returns an error if the value is not valid for that version, or if its upcast fails. The error names the event, the version, and the
    /// field or the function.
    fn read(value: &[u8], version: u32) -> Result<Self, Fault> {
        current(value, version)
    }
}

/// Decodes a value that was encoded as `version`, as the current version of `E`.
///
/// # Errors
/// Returns an error if the value is not valid for it.
pub fn current<E: Event>(value: &[u8], version: u32) -> Result<E, Fault> {
    E::Codec::decode(value).map_err(|fault| unreadable::<E>(version, fault))
}

pub(super) fn unreadable<E: Event>(version: u32, fault: Fault) -> Fault {
    if fault.error().is::<NotYet>() {
        return fault;
    }
    Fault::new(format!("the value is no {} of version {version}: {fault}", E::NAME))
}

/// A type that can be the key of an event: it has a text representation.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of an event",
    label = "not plain text on the wire",
    note = "the record's key is the text that `std::fmt::Display` writes: take a field of another type, or implement it for a type of your own",
    note = "a field that may be missing (`Option`) is no key: give the event a field that always has a value"
)]
pub trait EventKey: Send + Sync + 'static {
    /// Returns the key as it is written to the record.
    fn to_text(&self) -> String;
}

impl<T: fmt::Display + Send + Sync + 'static> EventKey for T {
    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Returns the text of an event's key.
pub fn key_of<E: Event>(key: &E::Key) -> String {
    key.to_text()
}

/// Returns the key that consists of `parts`, joined by colons.
///
/// A colon or a percent sign within a part is written as `%3A` or `%25`, so that different parts never give the same key.
pub fn joined_key(parts: &[String]) -> String {
    let escaped: Vec<_> = parts.iter().map(|part| part.replace('%', "%25").replace(':', "%3A")).collect();
    escaped.join(":")
}

/// An encoded event, from a record or a database.
#[derive(Debug, Clone, Copy)]
pub struct Encoded<'r> {
    /// The encoded value.
    pub value: &'r [u8],
    /// The version that it was encoded as.
    pub version: u32,
    /// The key of the record. If it is set, an event with a different key is rejected.
    pub key: Option<&'r str>,
}

/// Decodes an event of one type into the boxed value that a handler takes.
pub type DecodeFn = fn(Encoded<'_>) -> Result<Box<dyn Any + Send>, Fault>;

/// The description of an event type for the runtime.
#[derive(Clone, Copy)]
pub struct EventType {
    /// The event's name in records.
    pub name: &'static str,
    /// The topic of the event.
    pub topic: &'static str,
    /// The newest version that this program knows.
    pub version: u32,
    /// Former names of the event.
    pub also: &'static [&'static str],
    /// Decodes a value of that version or an earlier one.
    pub decode: DecodeFn,
}

impl EventType {
    /// The name that stands for all records that no other type matches.
    pub(crate) const ANY: &str = "*";

    /// Describes `E`, decoded as itself and not into an enum of events.
    pub(crate) const fn of<E: Event>() -> Self {
        Self {
            name: E::NAME,
            topic: E::TOPIC,
            version: E::VERSION,
            also: E::ALSO,
            decode: |encoded| Ok(Box::new(Self::read::<E>(encoded)?)),
        }
    }

    /// Describes the records of a topic that no other type matches. The handler's options set the topic.
    pub(crate) const fn any() -> Self {
        let decode: DecodeFn = |_| Err(Fault::new("a record that is taken as it is, is not decoded"));
        Self { name: Self::ANY, topic: "", version: u32::MAX, also: &[], decode }
    }

    /// Returns whether this stands for the records of a topic that no other type matches.
    pub fn is_any(&self) -> bool {
        self.name == Self::ANY
    }

    /// Returns the event's name and its former names.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + use<> {
        std::iter::once(self.name).chain(self.also.iter().copied())
    }

    /// Decodes an `E`.
    pub(crate) fn read<E: Event>(encoded: Encoded<'_>) -> Result<E, Fault> {
        let event = E::read(encoded.value, encoded.version)?;
        match encoded.key.map(|key| (key, event.key())) {
            Some((key, own)) if key != own => {
                Err(Fault::new(format!("the record's key is `{key}`, and the key of the {} in it `{own}`", E::NAME)))
            }
            _ => Ok(event),
        }
    }
}

impl fmt::Debug for EventType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} v{} on {}", self.name, self.version, self.topic)
    }
}

/// One event type, or several: the types that `On<..>` and `Batch<..>` can take. Each event is a set of one; `#[event]` on an enum with one
/// event in each variant makes a set of several.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an event nor an enum of events",
    label = "not an event",
    note = "put `#[event(topic = \"..\", key = ..)]` on a struct, and derive `Serialize` and `Deserialize` for it; or `#[event]` on an enum with one event in each variant",
    note = "a handler takes all events that wait for it as `Batch<E>`, not as `On<Vec<E>>`"
)]
pub trait EventSet: Sized + Send + 'static {
    /// Whether this is [`Raw`](super::Raw): undecoded records of a topic that the handler names.
    #[doc(hidden)]
    const IS_RAW: bool = false;

    /// Returns the types in the set. Their `decode` returns a boxed `Self`.
    fn types() -> Vec<EventType>;
}

#[diagnostic::do_not_recommend]
impl<E: Event> EventSet for E {
    fn types() -> Vec<EventType> {
        vec![EventType::of::<E>()]
    }
}
