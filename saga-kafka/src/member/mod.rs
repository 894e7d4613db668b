//! The members of a consumer group in this process, one for each topic.
//!
//! A thread owns the client of a member ([`thread`]). The runtime has the [`Members`], and a [`Feed`] connects each member's
//! thread with them. Only the thread assigns, pauses, resumes and commits, so the cause of a partition that makes no progress is
//! in one place.

mod commands;
mod commits;
mod context;
mod feed;
mod held;
mod lag;
mod members;
mod native;
mod questions;
mod record;
mod thread;
mod waker;

pub(crate) use self::{
    feed::Feed,
    lag::{ends, lag, offsets},
    members::Members,
    native::{Identity, identities},
};
