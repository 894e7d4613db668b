//! Entries of an instance's history that come from no event.

use super::super::core::Core;
use crate::{engine::saga::Instance, store::HistoryEntry, time::Timestamp};

/// Returns the entry for `what` the service or an operator did to `instance`, with a note.
pub(super) fn entry(core: &Core, instance: &Instance, what: &str, note: &str, now: Timestamp) -> HistoryEntry {
    HistoryEntry {
        instance: instance.key.clone(),
        event: what.to_owned(),
        message_id: String::new(),
        causation_id: None,
        source: core.name.to_string(),
        at: now,
        seen_at: now,
        note: Some(note.to_owned()),
    }
}
