//! What `#[event]` on an enum calls.

use std::{any::Any, marker::PhantomData};

use crate::{
    failure::Fault,
    message::{DecodeFn, Event, EventType, Outgoing},
};

/// One event of an enum of events.
pub struct Member<E: Event>(PhantomData<fn() -> E>);

impl<E: Event> Member<E> {
    /// The event's type, read by `decode`.
    pub fn event_type(decode: DecodeFn) -> EventType {
        EventType { name: E::NAME, topic: E::TOPIC, version: E::VERSION, decode }
    }

    /// Reads the event and puts it into the enum by `variant`.
    ///
    /// # Errors
    /// When the bytes are not the event's JSON.
    pub fn decode<S: Send + 'static>(bytes: &[u8], variant: fn(E) -> S) -> Result<Box<dyn Any + Send>, Fault> {
        Ok(Box::new(variant(serde_json::from_slice(bytes)?)))
    }

    /// Encodes the event to the end of `into`.
    ///
    /// # Errors
    /// When the event's `Serialize` fails.
    pub fn encode(event: &E, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        into.push(Outgoing::of(event)?);
        Ok(())
    }
}
