//! What the macros share: the sink for mistakes, the options of an attribute, durations, and small questions about syntax.

mod duration;
mod errors;
mod options;
mod syntax;
mod words;

pub(crate) use duration::{duration, duration_range};
pub(crate) use errors::Errors;
pub(crate) use options::{Given, Legal, Options};
pub(crate) use syntax::{Target, borrowed, cfgs, last_segment};
pub(crate) use words::{list, nearest};
