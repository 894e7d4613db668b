//! Items for `#[event]` on an enum.

use std::any::Any;

use crate::{
    failure::Fault,
    message::{DecodeFn, Encoded, Event, EventType, Outgoing},
};

/// The content of an enum's variant: an event. It is a separate trait so that the compiler's message for other types can mention the
/// variant.
#[diagnostic::on_unimplemented(
    message = "a variant of an enum of events holds an event, and `{Self}` is not an event",
    label = "not an event",
    note = "write the variant as `Created(OrderCreated)`, where `OrderCreated` is a struct with `#[event(topic = \"..\", key = ..)]` of its own"
)]
pub trait InVariant: Event {}

#[diagnostic::do_not_recommend]
impl<E: Event> InVariant for E {}

/// One event of an enum of events, as values. Only [`member`] requires that `E` is an event, so the compiler reports an error once.
#[derive(Debug)]
pub struct Member<E> {
    event: EventType,
    read: fn(Encoded<'_>) -> Result<E, Fault>,
    write: fn(&E) -> Result<Outgoing, Fault>,
}

/// Describes the event in a variant.
pub const fn member<E: InVariant>() -> Member<E> {
    Member { event: EventType::of::<E>(), read: EventType::read::<E>, write: Outgoing::of }
}

impl<E> Member<E> {
    /// Returns the event's type, with `decode` as its decoder.
    pub fn event_type(&self, decode: DecodeFn) -> EventType {
        EventType { decode, ..self.event }
    }

    /// Decodes the event and wraps it in the enum with `variant`.
    ///
    /// # Errors
    /// Returns an error if the value is not a valid event, or if the event's key is not the one of the record.
    pub fn decode<S: Send + 'static>(&self, encoded: Encoded<'_>, variant: fn(E) -> S) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(variant((self.read)(encoded)?)))
    }

    /// Encodes the event and appends it to `into`.
    ///
    /// # Errors
    /// Returns the error of the event's codec.
    pub fn encode(&self, event: &E, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        into.push((self.write)(event)?);
        Ok(())
    }
}
