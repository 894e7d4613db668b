//! Whether a duplicate is a dead letter that was produced again.
//!
//! A message that becomes a dead letter is claimed in the inbox. So a copy with the same message id, corrected or not, looks like a
//! duplicate. But the message was never handled, and the copy must be.

/// The position of a message in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'p> {
    /// The topic.
    pub topic: &'p str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A dead letter with the id of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeadLetterRef<'p> {
    /// The position of its message.
    pub at: Position<'p>,
    /// Whether its message was not handled and will not be: the dead letter is open, or was discarded.
    pub unhandled: bool,
}

/// Returns whether a message at `position`, with an id that is in the inbox, is handled in place of `letters`, the dead letters with its
/// id.
///
/// A message at the position of one of them is the original itself, delivered again.
pub fn replaces(position: Position<'_>, letters: &[DeadLetterRef<'_>]) -> bool {
    letters.iter().all(|letter| letter.at != position) && letters.iter().any(|letter| letter.unhandled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_answers_what_was_never_handled() {
        let at = |offset| Position { topic: "orders", partition: 0, offset };
        let open = |offset| DeadLetterRef { at: at(offset), unhandled: true };
        let settled = |offset| DeadLetterRef { at: at(offset), unhandled: false };
        // offset of the message, dead letters with its id -> whether it is handled
        for (offset, letters, expected) in [
            (7, vec![], false),
            (7, vec![open(1)], true),
            (1, vec![open(1)], false),
            (7, vec![settled(1)], false),
            (7, vec![settled(1), open(1)], true),
            (7, vec![settled(1), open(5)], true),
            (1, vec![settled(1), open(5)], false),
            (5, vec![settled(1), open(5)], false),
        ] {
            assert_eq!(replaces(at(offset), &letters), expected, "{offset} {letters:?}");
        }
        let elsewhere = Position { topic: "orders.v2", ..at(1) };
        assert!(replaces(elsewhere, &[open(1)]), "another topic");
    }
}
