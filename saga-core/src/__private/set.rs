//! What `#[event]` on an enum calls.

use std::any::Any;

use crate::{
    failure::Fault,
    message::{DecodeFn, Event, EventType, KeyFn, Outgoing},
};

/// One event of an enum of events, as values: that `E` is an event is asked in one place, [`member`], and reported once.
pub struct Member<E> {
    name: &'static str,
    topic: &'static str,
    version: u32,
    key: KeyFn,
    read: fn(&[u8]) -> Result<E, Fault>,
    write: fn(&E) -> Result<Outgoing, Fault>,
}

/// The event that a variant holds.
pub const fn member<E: Event>() -> Member<E> {
    Member {
        name: E::NAME,
        topic: E::TOPIC,
        version: E::VERSION,
        key: EventType::key_of::<E>,
        read: |bytes| Ok(serde_json::from_slice(bytes)?),
        write: Outgoing::of,
    }
}

impl<E> Member<E> {
    /// The event's type, read by `decode`.
    pub fn event_type(&self, decode: DecodeFn) -> EventType {
        EventType { name: self.name, topic: self.topic, version: self.version, decode, key: self.key }
    }

    /// Reads the event and puts it into the enum by `variant`.
    ///
    /// # Errors
    /// When the bytes are not the event's JSON.
    pub fn decode<S: Send + 'static>(&self, bytes: &[u8], variant: fn(E) -> S) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(variant((self.read)(bytes)?)))
    }

    /// Encodes the event to the end of `into`.
    ///
    /// # Errors
    /// When the event's `Serialize` fails.
    pub fn encode(&self, event: &E, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        into.push((self.write)(event)?);
        Ok(())
    }
}
