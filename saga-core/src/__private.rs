//! What the macros name. Not public API.

mod handler;
mod set;

pub use serde;
pub use std::{string::String, time::Duration, vec::Vec};

pub use crate::{
    failure::Fault,
    handler::{AfterDeadLetter, Handler, HandlerDef, HandlerOptions, IntoOutcome, IntoPublished},
    message::{Event, EventKey, EventSet, EventType, Outgoing},
    retry::RetryPolicy,
};
pub use handler::*;
pub use set::{Member, member};
