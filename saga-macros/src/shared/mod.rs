//! What the macros share: the collection of errors, the options of an attribute, durations, and helpers for syntax.

mod duration;
mod errors;
mod options;
mod syntax;
mod topic;
mod words;

pub(crate) use duration::{duration, duration_range};
pub(crate) use errors::Errors;
pub(crate) use options::{Given, Legal, Options};
pub(crate) use syntax::{Target, borrowed, cfgs, last_segment};
pub(crate) use topic::topic_name;
pub(crate) use words::{list, nearest};
