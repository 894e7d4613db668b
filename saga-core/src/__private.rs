//! What the macros name. Not public API.

pub use std::{any::Any, boxed::Box, vec::Vec};

pub use crate::{
    extract::{Extract, Kind},
    failure::Fault,
    handler::{AfterDeadLetter, Handler, HandlerDef, HandlerFn, HandlerOptions, IntoOutcome, IntoPublished},
    message::{Event, EventKey, EventSet, EventType, Outgoing},
    retry::RetryPolicy,
};
pub use std::time::Duration;
