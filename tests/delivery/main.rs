//! The delivery path, driven by the test pump: what becomes of a message, whatever its handler does.

#![allow(clippy::unwrap_used, missing_docs)]

mod happy;
