//! Access to records without the framework's decoding.

use sagas::message::Record;
use serde_json::Value;

/// Returns a header.
///
/// # Panics
/// Panics when it is missing or not text.
#[track_caller]
pub fn header<'r>(record: &'r Record, name: &str) -> &'r str {
    record.header(name).unwrap_or_else(|| panic!("no header {name}: {:?}", record.headers))
}

/// Returns the event's name; empty when the record has none.
pub fn event_type(record: &Record) -> &str {
    record.header("ce_type").unwrap_or_default()
}

/// Returns the key as text; empty without a key.
///
/// # Panics
/// Panics when it is not text.
pub fn key(record: &Record) -> &str {
    record.key.as_deref().map_or("", |key| std::str::from_utf8(key).unwrap())
}

/// Returns the value as JSON.
///
/// # Panics
/// Panics when it is not JSON.
pub fn payload(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}
