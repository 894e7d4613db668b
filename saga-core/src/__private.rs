//! What the macros name. Not public API.

mod handler;
pub mod saga;
mod set;

pub use serde::{Serialize, de::DeserializeOwned};
pub use std::{string::String, time::Duration, vec::Vec};

pub use crate::{
    failure::Fault,
    handler::{AfterDeadLetter, Handler, HandlerDef, HandlerOptions, IntoOutcome, IntoPublished},
    message::{Event, EventKey, EventSet, EventType, Outgoing},
    retry::RetryPolicy,
};
pub use handler::*;
pub use set::{Member, member};
