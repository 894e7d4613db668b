//! Events as a service keeps them in its own tables.

use std::any::type_name;

use bytes::Bytes;

use super::IntoPublished;
use crate::{
    failure::Fault,
    message::{Encoded, EventSet},
};

/// An event as it is published: its name, its version, and its value in the event's encoding.
///
/// For a service that keeps its events in its own tables, such as an event-sourced one. Store the three fields, and decode an enum of events
/// from them:
///
/// ```
/// # use saga_core::{failure::Fault, handler::PublishedEvent, message::EventSet};
/// # fn fold<Change: EventSet>(name: String, version: u32, value: Vec<u8>) -> Result<Change, Fault> {
/// let change: Change = PublishedEvent { name, version, value: value.into() }.decode()?;
/// # Ok(change)
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedEvent {
    /// The event's name (`ce_type`).
    pub name: String,
    /// The version of the event's schema (`ce_schemaversion`).
    pub version: u32,
    /// The value. The default encoding is JSON.
    pub value: Bytes,
}

impl PublishedEvent {
    /// Encodes `event`: an event, or an enum of events.
    ///
    /// # Errors
    /// When the event's codec fails, or when `event` is not exactly one event, such as an empty `Option`.
    pub fn of(event: &impl IntoPublished) -> Result<Self, Fault> {
        let mut events = Vec::with_capacity(1);
        event.encode(&mut events)?;
        let count = events.len();
        match (events.pop(), count) {
            (Some(event), 1) => Ok(Self { name: event.name.to_owned(), version: event.version, value: event.value }),
            _ => Err(Fault::new(format!("one event is kept at a time, and these are {count}; keep each of them by itself"))),
        }
    }

    /// Decodes the event as one of the set `E`, which is an event or an enum of events. Former names (`also`) and earlier versions are
    /// understood as in a record.
    ///
    /// # Errors
    /// When the set has no event of this name, when the version is newer than the program's, or when the value cannot be decoded.
    pub fn decode<E: EventSet>(&self) -> Result<E, Fault> {
        let types = E::types();
        let Some(known) = types.iter().find(|known| known.names().any(|name| name == self.name)) else {
            let known: Vec<_> = types.iter().map(|known| known.name).collect();
            return Err(Fault::new(format!(
                "`{}` is not one of the events of `{}`: {}",
                self.name,
                type_name::<E>(),
                known.join(", ")
            )));
        };
        if self.version > known.version {
            let (name, version, newest) = (&self.name, self.version, known.version);
            return Err(Fault::new(format!(
                "the {name} has version {version}, and this program knows versions up to {newest}; a newer program has written it"
            )));
        }
        let event = (known.decode)(Encoded { value: &self.value, version: self.version, key: None })?.downcast::<E>();
        event.map(|event| *event).map_err(|_| Fault::new(format!("`{}` was not decoded as a `{}`", self.name, type_name::<E>())))
    }
}
