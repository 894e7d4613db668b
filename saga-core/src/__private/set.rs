//! What `#[event]` on an enum calls.

use std::any::Any;

use crate::{
    failure::Fault,
    message::{DecodeFn, Event, EventType, Outgoing},
};

/// One event of an enum of events, as values: that `E` is an event is asked in one place, [`member`], and reported once.
pub struct Member<E> {
    event: EventType,
    read: fn(&[u8], Option<&str>) -> Result<E, Fault>,
    write: fn(&E) -> Result<Outgoing, Fault>,
}

/// The event that a variant holds.
pub const fn member<E: Event>() -> Member<E> {
    Member { event: EventType::of::<E>(), read: EventType::read::<E>, write: Outgoing::of }
}

impl<E> Member<E> {
    /// The event's type, read by `decode`.
    pub fn event_type(&self, decode: DecodeFn) -> EventType {
        EventType { decode, ..self.event }
    }

    /// Reads the event and puts it into the enum by `variant`.
    ///
    /// # Errors
    /// When the bytes are not the event's JSON, or the event says another key than the one that is given.
    pub fn decode<S: Send + 'static>(
        &self,
        bytes: &[u8],
        key: Option<&str>,
        variant: fn(E) -> S,
    ) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(variant((self.read)(bytes, key)?)))
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
