//! Fallbacks for a message when its transaction fails in the framework's own part.
//!
//! If the transaction of a message cannot be committed while the database is healthy, the message runs again with less and less: first
//! alone, then without its handler, then without the rows of sagas, and finally with nothing but its dead letter.

/// How much of its usual transaction a message runs with.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fallback {
    /// With everything.
    #[default]
    Full,
    /// Without its handler: the failure is treated as one of the handler, and everything that follows from that is written.
    WithoutHandler,
    /// Also without the rows of sagas, which are neither read nor written, and without the handler's `exhausted` fn.
    WithoutSagas,
    /// The message becomes a dead letter, whatever its retry policy is, and nothing else is written.
    DeadLetterOnly,
}

/// What follows when a message that ran alone could not be committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextFallback {
    /// It runs again with this fallback.
    With(Fallback),
    /// It waits in memory for a while, together with its key.
    SetAside,
}

impl Fallback {
    /// Decides what follows.
    ///
    /// `refused`: the database rejects what is written for the message, or the message has been tried for too long. Otherwise the healthy
    /// database only did not commit it, which alone must not make it a dead letter.
    pub fn next(self, refused: bool) -> NextFallback {
        match self {
            Self::Full => NextFallback::With(Self::WithoutHandler),
            Self::WithoutHandler => NextFallback::With(Self::WithoutSagas),
            Self::WithoutSagas if refused => NextFallback::With(Self::DeadLetterOnly),
            Self::WithoutSagas | Self::DeadLetterOnly => NextFallback::SetAside,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_run_with_less_each_time_and_then_left_alone() {
        let steps = |refused: bool| {
            let (mut fallback, mut steps) = (Fallback::Full, Vec::new());
            while let NextFallback::With(next) = fallback.next(refused) {
                steps.push(next);
                fallback = next;
            }
            steps
        };
        assert_eq!(steps(true), [Fallback::WithoutHandler, Fallback::WithoutSagas, Fallback::DeadLetterOnly]);
        assert_eq!(steps(false), [Fallback::WithoutHandler, Fallback::WithoutSagas]);
    }
}
