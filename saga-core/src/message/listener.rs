//! The handler that a message is for.
//!
//! Several handlers of one service can take the same event. Each of them has its own delivery, with its own attempts and its own inbox
//! entry, and its message is parked and dead-lettered separately. A stored message (parked, or a dead letter) names its handler in headers
//! that no record in the log has.

use std::{borrow::Cow, sync::Arc};

use super::{Header, Received, Record, headers};
use crate::id::MessageId;

/// The separator between module and name, as in the names of the framework's handlers.
const MODULE: &str = "::";

/// The handler that a message is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listener {
    /// The name. A handler of the framework has its module as a prefix; a user's handler never does.
    pub(crate) name: Cow<'static, str>,
    /// The suffix that the inbox adds to the ids of this handler's messages. `None` for a handler that uses the plain ids: one
    /// that was the first to take its event.
    pub(crate) known_as: Option<Arc<str>>,
}

impl Listener {
    /// Returns the handler that the stored message `record` names; `None` where the handler was not known when the message was stored.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let name = record.header(headers::HANDLER)?.to_owned();
        Some(Self { name: name.into(), known_as: record.header(headers::KNOWN_AS).map(Arc::from) })
    }

    /// Returns whether a message that was stored for `other` belongs to this handler. The inbox suffix decides, because a handler may have
    /// been renamed since. Handlers of the framework have no suffix, as the first handler of a user has none, so they are compared by name.
    pub(crate) fn has_what_was_kept_for(&self, other: &Self) -> bool {
        let is_own = |listener: &Self| !listener.name.contains(MODULE);
        self.known_as == other.known_as && (self.name == other.name || (is_own(self) && is_own(other)))
    }

    /// Returns the id under which the inbox of this handler stores the message `id`.
    pub(crate) fn known_by(&self, id: &MessageId) -> MessageId {
        // Ids in records contain no control characters, so the result is never the id of another message.
        self.known_as.as_ref().map_or_else(|| id.clone(), |known_as| MessageId::new(format!("{id}\u{1f}{known_as}")))
    }

    /// Returns `received` as it is stored for this handler.
    pub(crate) fn keep(&self, received: &Received) -> Received {
        let mut kept = without(received.clone());
        self.write(Arc::make_mut(&mut kept.record));
        kept
    }

    /// Adds the headers that name this handler to `record`.
    pub(crate) fn write(&self, record: &mut Record) {
        record.headers.push(Header::text(headers::HANDLER, &*self.name));
        record.headers.extend(self.known_as.as_ref().map(|known_as| Header::text(headers::KNOWN_AS, &**known_as)));
    }
}

/// Returns `received` without the headers that name a handler. A record in the log can have them if it was copied from a dead letter.
pub(crate) fn without(mut received: Received) -> Received {
    let says = |header: &Header| header.name == headers::HANDLER || header.name == headers::KNOWN_AS;
    if received.record.headers.iter().any(says) {
        Arc::make_mut(&mut received.record).headers.retain(|header| !says(header));
    }
    received
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::LogTime;

    #[test]
    fn what_is_kept_says_for_whom_and_is_as_it_was_without_that() {
        let other = Header::text("ce_id", "7");
        let record =
            Record { topic: "orders".into(), key: None, value: None, headers: vec![other], timestamp: LogTime::from_millis(0) };
        let received = Received { record: Arc::new(record), partition: 0, offset: 1 };
        assert_eq!(Listener::of(&received.record), None);
        for (known_as, known_by, headers) in [(None, "7", 2), (Some("refund-2"), "7\u{1f}refund-2", 3)] {
            let listener = Listener { name: "refund".into(), known_as: known_as.map(Arc::from) };
            let kept = listener.keep(&listener.keep(&received));
            assert_eq!(kept.record.headers.len(), headers);
            assert_eq!(Listener::of(&kept.record), Some(listener.clone()));
            assert_eq!(without(kept), received);
            assert_eq!(listener.known_by(&MessageId::new("7")).as_str(), known_by);
        }
    }

    #[test]
    fn what_was_kept_for_one_is_no_others() {
        let listener =
            |(name, known_as): (&'static str, Option<&str>)| Listener { name: name.into(), known_as: known_as.map(Arc::from) };
        let table = [
            (("refund", None), ("refund", None), true),
            (("repay", None), ("refund", None), true),
            (("repay", Some("refund")), ("refund", Some("refund")), true),
            (("refund", Some("refund")), ("refund", None), false),
            (("sagas::track", None), ("sagas::track", None), true),
            (("sagas::track", None), ("refund", None), false),
            (("refund", None), ("sagas::track", None), false),
            (("track", None), ("sagas::track", None), false),
            (("saga::retry_dead_letters", None), ("sagas::track", None), false),
        ];
        for (here, kept, expected) in table {
            assert_eq!(listener(here).has_what_was_kept_for(&listener(kept)), expected, "{here:?} {kept:?}");
        }
    }
}
