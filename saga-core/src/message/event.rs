//! Events as types.

use std::{any::Any, fmt};

use serde::{Serialize, de::DeserializeOwned};

use crate::failure::Fault;

/// A message as a type. Implemented by `#[event]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an event",
    label = "not an event",
    note = "put `#[event(topic = \"..\", key = ..)]` on `{Self}`, and derive `Serialize` and `Deserialize` for it"
)]
pub trait Event: Payload + Send + Sync + 'static {
    /// The type of the field whose value is the record's key.
    type Key: EventKey;

    /// The name on the wire (`ce_type`).
    const NAME: &'static str;
    /// The topic that carries the event.
    const TOPIC: &'static str;
    /// The version of the event's shape (`ce_schemaversion`).
    const VERSION: u32;

    /// The key: events of one key are handled in the order in which they were published.
    fn key(&self) -> &Self::Key;
}

/// What can be written to a record and read from one: whatever has serde's `Serialize` and `Deserialize`, and borrows nothing.
#[diagnostic::on_unimplemented(
    message = "the event `{Self}` cannot be written and read",
    label = "`Serialize`, `Deserialize` or both are missing",
    note = "derive both: `#[derive(serde::Serialize, serde::Deserialize)]`, on fields that own what they hold"
)]
pub trait Payload: Sized {
    /// The value as JSON.
    ///
    /// # Errors
    /// When its `Serialize` fails.
    fn to_json(&self) -> serde_json::Result<Vec<u8>>;

    /// The value that `json` is.
    ///
    /// # Errors
    /// When it is none.
    fn from_json(json: &[u8]) -> serde_json::Result<Self>;
}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned> Payload for T {
    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    fn from_json(json: &[u8]) -> serde_json::Result<Self> {
        serde_json::from_slice(json)
    }
}

/// What a key field must be: plain text on the wire.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the key of an event",
    label = "not plain text on the wire",
    note = "implement `std::fmt::Display` for `{Self}`: the record's key is that text"
)]
pub trait EventKey: Send + Sync + 'static {
    /// The key as it is written to the record.
    fn to_text(&self) -> String;
}

impl<T: fmt::Display + Send + Sync + 'static> EventKey for T {
    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// Reads the bytes of one event type into the value a handler takes. With a key, no event that says another one itself.
pub type DecodeFn = fn(&[u8], Option<&str>) -> Result<Box<dyn Any + Send>, Fault>;

/// What the runtime knows of an event type.
#[derive(Clone, Copy)]
pub struct EventType {
    /// The name on the wire.
    pub name: &'static str,
    /// The topic that carries it.
    pub topic: &'static str,
    /// The newest version that this program knows.
    pub version: u32,
    /// Reads a value of that version.
    pub decode: DecodeFn,
}

impl EventType {
    /// What there is to know of `E`, which is read as itself.
    pub(crate) const fn of<E: Event>() -> Self {
        Self {
            name: E::NAME,
            topic: E::TOPIC,
            version: E::VERSION,
            decode: |bytes, key| Ok(Box::new(Self::read::<E>(bytes, key)?)),
        }
    }

    /// Reads an `E`; with a key, none that says another one itself.
    pub(crate) fn read<E: Event>(bytes: &[u8], key: Option<&str>) -> Result<E, Fault> {
        let event = E::from_json(bytes)
            .map_err(|error| Fault::new(format!("the value is no {} of version {} or below: {error}", E::NAME, E::VERSION)))?;
        match key.map(|key| (key, event.key().to_text())) {
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

/// One event type or several: what `On<..>` and `Batch<..>` can take. Every event is a set of one; `#[event]` on an enum
/// whose variants each hold one event makes a set of several.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is neither an event nor an enum of events",
    label = "not an event",
    note = "put `#[event(topic = \"..\", key = ..)]` on a struct, or `#[event]` on an enum with one event in each variant"
)]
pub trait EventSet: Sized + Send + 'static {
    /// The types in the set; `decode` gives a boxed `Self`.
    fn types() -> Vec<EventType>;
}

impl<E: Event> EventSet for E {
    fn types() -> Vec<EventType> {
        vec![EventType::of::<E>()]
    }
}
