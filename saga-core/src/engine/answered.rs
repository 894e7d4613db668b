//! Whether a message that the inbox knows is a dead letter that was produced again.
//!
//! Giving a message up claims it, so a copy of it, mended or not, under its own identity looks like a duplicate. It is none: the message
//! was never handled.

/// Where a message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position<'p> {
    /// The topic.
    pub topic: &'p str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

/// A dead letter of a message's identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Letter<'p> {
    /// Where its message was.
    pub at: Position<'p>,
    /// Its message was not handled, and is not about to be: the letter is open, or was discarded.
    pub unhandled: bool,
}

/// Whether a message at `position`, which the inbox knows, is to be handled in place of `letters`, those of its identity. One that comes
/// from where a letter's message came from is that message, delivered again.
pub fn answers(position: Position<'_>, letters: &[Letter<'_>]) -> bool {
    letters.iter().all(|letter| letter.at != position) && letters.iter().any(|letter| letter.unhandled)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_answers_what_was_never_handled() {
        let at = |offset| Position { topic: "orders", partition: 0, offset };
        let open = |offset| Letter { at: at(offset), unhandled: true };
        let settled = |offset| Letter { at: at(offset), unhandled: false };
        // the message's offset, the letters of its identity -> whether it is handled
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
            assert_eq!(answers(at(offset), &letters), expected, "{offset} {letters:?}");
        }
        let elsewhere = Position { topic: "orders.v2", ..at(1) };
        assert!(answers(elsewhere, &[open(1)]), "another topic");
    }
}
