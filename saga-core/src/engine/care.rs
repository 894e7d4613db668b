//! How much of the framework's own part a message is run with, once that part itself has failed.
//!
//! A message whose transaction cannot be committed, by no fault of the database as a whole, is run again with less and less: first
//! alone, then without its handler, then without what is kept of flows, and at last with nothing but its dead letter.

/// With how much of the framework's own part a message is run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Care {
    /// With all of it.
    #[default]
    Whole,
    /// Without its handler: what failed is taken as the handler's failure, and all that follows from one is written.
    Blamed,
    /// As before, and nothing is read or written of flows, nor is the handler's `exhausted` fn called.
    Bare,
    /// It becomes a dead letter, whatever its policy says, and nothing else is written.
    Last,
}

/// What follows when a message that was run alone could not be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It is run with this much.
    With(Care),
    /// It is left alone for a while, in memory, with its key.
    LeftAlone,
}

impl Care {
    /// What follows. `refused`: something is wrong with what is written of the message, or it was tried for long enough. Else the database
    /// only did not commit it, although it is well: that alone makes no dead letter of a message.
    pub fn next(self, refused: bool) -> Next {
        match self {
            Self::Whole => Next::With(Self::Blamed),
            Self::Blamed => Next::With(Self::Bare),
            Self::Bare if refused => Next::With(Self::Last),
            Self::Bare | Self::Last => Next::LeftAlone,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_run_with_less_each_time_and_then_left_alone() {
        let steps = |refused: bool| {
            let (mut care, mut steps) = (Care::Whole, Vec::new());
            while let Next::With(next) = care.next(refused) {
                steps.push(next);
                care = next;
            }
            steps
        };
        assert_eq!(steps(true), [Care::Blamed, Care::Bare, Care::Last]);
        assert_eq!(steps(false), [Care::Blamed, Care::Bare]);
    }
}
