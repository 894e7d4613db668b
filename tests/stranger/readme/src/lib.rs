//! The code of the README, verbatim: see `tests/documents.rs`.

pub mod inventory;
