//! What happens to each message of a transaction, before its handler runs and after.
//!
//! One transaction contains many messages, and each of them succeeds or fails by itself. The writes of a message that fails are rolled
//! back: to a savepoint if there is one, otherwise by running the whole transaction again without the message.

use std::{ops::Range, time::Duration};

use crate::{
    engine::backoff::{NextAttempt, next_attempt},
    retry::RetryPolicy,
    time::Timestamp,
};

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From the log.
    Fresh,
    /// From the database, where it was parked.
    Parked {
        /// The number of failed attempts.
        attempts: u32,
    },
}

impl Origin {
    /// Returns the number of failed attempts so far.
    pub fn attempts(self) -> u32 {
        match self {
            Self::Fresh => 0,
            Self::Parked { attempts } => attempts,
        }
    }
}

/// What happens to a message before its handler would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BeforeHandler {
    /// It was handled before; nothing happens.
    Duplicate,
    /// Its key is parked, so it is parked behind the earlier messages.
    ParkBehind,
    /// It is parked and stays so, because an earlier message of its key has just failed.
    Stay,
    /// Its handler runs.
    Run,
}

/// Decides what happens to a message.
///
/// `new`: the inbox did not contain it. `parked`: its key is parked. `failed`: an earlier message of its key failed in this transaction.
pub fn before_handler(origin: Origin, new: bool, parked: bool, failed: bool) -> BeforeHandler {
    match origin {
        Origin::Fresh if !new => BeforeHandler::Duplicate,
        Origin::Fresh if parked || failed => BeforeHandler::ParkBehind,
        Origin::Parked { .. } if failed => BeforeHandler::Stay,
        _ => BeforeHandler::Run,
    }
}

/// The outcome of a handler's call, as far as the engine depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutcomeKind {
    /// The handler did its work.
    Done,
    /// The handler refused.
    Rejected,
    /// A technical error.
    Retry,
    /// Not now.
    Later {
        /// The time until the next attempt, in milliseconds.
        after_ms: u64,
    },
    /// The handler can never succeed.
    Dead,
}

/// What follows from a handler's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AfterHandler {
    /// Its events are published.
    Publish,
    /// The message is parked until `due`.
    Park {
        /// The number of failed attempts, including this one.
        attempts: u32,
        /// When the next attempt is due.
        due: Timestamp,
    },
    /// The message becomes a dead letter.
    DeadLetter {
        /// The number of failed attempts, including this one.
        attempts: u32,
    },
}

/// Converts [`OutcomeKind::Later`] to [`OutcomeKind::Retry`] if `waited`, the time since the message was first seen, has reached `limit`.
pub fn limit_postponement(ended: OutcomeKind, waited: Duration, limit: Duration) -> OutcomeKind {
    match ended {
        OutcomeKind::Later { .. } if waited >= limit => OutcomeKind::Retry,
        ended => ended,
    }
}

/// Decides what follows. `attempts`: the number of earlier failed attempts. `fraction`: a uniform random number from `[0, 1)`.
pub fn after_handler(ended: OutcomeKind, attempts: u32, policy: &RetryPolicy, now: Timestamp, fraction: f64) -> AfterHandler {
    match ended {
        OutcomeKind::Done | OutcomeKind::Rejected => AfterHandler::Publish,
        OutcomeKind::Later { after_ms } => AfterHandler::Park { attempts, due: now.after(Duration::from_millis(after_ms)) },
        OutcomeKind::Dead => AfterHandler::DeadLetter { attempts: attempts.saturating_add(1) },
        OutcomeKind::Retry => {
            let attempts = attempts.saturating_add(1);
            match next_attempt(policy, attempts, now, fraction) {
                NextAttempt::At(due) => AfterHandler::Park { attempts, due },
                NextAttempt::Exhausted => AfterHandler::DeadLetter { attempts },
            }
        }
    }
}

/// How the writes of a message that failed or was refused are rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rollback {
    /// There are no writes.
    Nothing,
    /// To the savepoint of the message.
    Savepoint,
    /// With the whole transaction, which runs again without the message.
    Transaction,
}

/// Decides how. `touched`: the handler executed a statement. `savepoint`: a savepoint was set before the first one.
pub fn rollback(ended: OutcomeKind, touched: bool, savepoint: bool) -> Rollback {
    match (ended, touched, savepoint) {
        (OutcomeKind::Done, ..) | (_, false, _) => Rollback::Nothing,
        (_, true, true) => Rollback::Savepoint,
        (_, true, false) => Rollback::Transaction,
    }
}

/// Groups the messages of a transaction into calls.
///
/// Each message is given as its handler, and whether that handler takes a `Batch`. Consecutive messages of the same such handler form one
/// call.
pub fn group_calls(messages: &[(usize, bool)]) -> Vec<Range<usize>> {
    let mut calls: Vec<Range<usize>> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        match calls.last_mut() {
            Some(last) if message.1 && messages[last.start] == *message => last.end = at + 1,
            _ => calls.push(at..at + 1),
        }
    }
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_the_handler() {
        let parked_message = Origin::Parked { attempts: 2 };
        // origin, new, key parked, key failed in this transaction -> decision
        let table = [
            (Origin::Fresh, true, false, false, BeforeHandler::Run),
            (Origin::Fresh, false, false, false, BeforeHandler::Duplicate),
            (Origin::Fresh, false, true, true, BeforeHandler::Duplicate),
            (Origin::Fresh, true, true, false, BeforeHandler::ParkBehind),
            (Origin::Fresh, true, false, true, BeforeHandler::ParkBehind),
            (parked_message, false, true, false, BeforeHandler::Run),
            (parked_message, false, true, true, BeforeHandler::Stay),
        ];
        for (origin, new, parked, failed, expected) in table {
            assert_eq!(before_handler(origin, new, parked, failed), expected, "{origin:?} {new} {parked} {failed}");
        }
    }

    #[test]
    fn after_the_handler() {
        let policy = RetryPolicy::default().attempts(2).backoff(Duration::from_secs(1), Duration::from_secs(1));
        let now = Timestamp::from_millis(0);
        let due = Timestamp::from_millis(500);
        let table = [
            (OutcomeKind::Done, 0, AfterHandler::Publish),
            (OutcomeKind::Rejected, 1, AfterHandler::Publish),
            (OutcomeKind::Retry, 0, AfterHandler::Park { attempts: 1, due }),
            (OutcomeKind::Retry, 1, AfterHandler::DeadLetter { attempts: 2 }),
            (OutcomeKind::Later { after_ms: 500 }, 1, AfterHandler::Park { attempts: 1, due }),
            (OutcomeKind::Dead, 0, AfterHandler::DeadLetter { attempts: 1 }),
        ];
        for (ended, attempts, expected) in table {
            assert_eq!(after_handler(ended, attempts, &policy, now, 0.0), expected, "{ended:?} after {attempts}");
        }
    }

    #[test]
    fn what_is_put_off_for_too_long_has_failed() {
        let (limit, later) = (Duration::from_secs(60), OutcomeKind::Later { after_ms: 1 });
        assert_eq!(limit_postponement(later, Duration::from_millis(59_999), limit), later);
        assert_eq!(limit_postponement(later, limit, limit), OutcomeKind::Retry);
        for other in [OutcomeKind::Done, OutcomeKind::Rejected, OutcomeKind::Retry, OutcomeKind::Dead] {
            assert_eq!(limit_postponement(other, 2 * limit, limit), other);
        }
    }

    #[test]
    fn writes_are_taken_back_where_they_are() {
        assert_eq!(rollback(OutcomeKind::Done, true, false), Rollback::Nothing);
        assert_eq!(rollback(OutcomeKind::Retry, false, false), Rollback::Nothing);
        assert_eq!(rollback(OutcomeKind::Rejected, true, true), Rollback::Savepoint);
        assert_eq!(rollback(OutcomeKind::Retry, true, false), Rollback::Transaction);
    }

    #[test]
    fn neighbours_of_a_batch_handler_are_one_call() {
        let messages = [(0, false), (0, false), (1, true), (1, true), (0, false), (1, true), (2, true)];
        assert_eq!(group_calls(&messages), [0..1, 1..2, 2..4, 4..5, 5..6, 6..7]);
        assert!(group_calls(&[]).is_empty());
    }
}
