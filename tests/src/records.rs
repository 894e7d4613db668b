//! Records, as a reader without the framework sees them.

use sagas::message::Record;
use serde_json::Value;

/// A header that must be there.
///
/// # Panics
/// When it is not, or is no text.
#[track_caller]
pub fn header<'r>(record: &'r Record, name: &str) -> &'r str {
    record.header(name).unwrap_or_else(|| panic!("no header {name}: {:?}", record.headers))
}

/// The event's name; empty when the record does not say it.
pub fn event_type(record: &Record) -> &str {
    record.header("ce_type").unwrap_or_default()
}

/// The key as text; empty without one.
///
/// # Panics
/// When it is no text.
pub fn key(record: &Record) -> &str {
    record.key.as_deref().map_or("", |key| std::str::from_utf8(key).unwrap())
}

/// The value as JSON.
///
/// # Panics
/// When it is none.
pub fn payload(record: &Record) -> Value {
    serde_json::from_slice(record.value.as_deref().unwrap()).unwrap()
}
