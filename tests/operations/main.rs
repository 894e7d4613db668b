//! Sagas in operation: what stops is seen and can be helped, deadlines outlive the process, and what is over is forgotten.

#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod adverse;
mod attention;
mod deadlines;
mod retention;
mod shop;
mod versions;
