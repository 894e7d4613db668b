//! What the README has, word for word: see `tests/documents.rs`.

pub mod inventory;
