//! What happens to each message of a transaction: before its handler runs, and after.
//!
//! One transaction carries many messages, and each of them stands or falls alone. A message that fails takes back what it
//! wrote: to a savepoint where there is one, else by running the whole transaction again without it.

use std::{ops::Range, time::Duration};

use crate::{
    engine::{
        backoff::{NextAttempt, next_attempt},
        parking::HELD,
    },
    retry::RetryPolicy,
    time::Timestamp,
};

/// Where a message comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The log.
    Fresh,
    /// The database, where it was parked after so many failed attempts.
    Parked {
        /// Attempts that failed.
        attempts: u32,
    },
}

impl Origin {
    /// Attempts that failed so far.
    pub fn attempts(self) -> u32 {
        match self {
            Self::Fresh => 0,
            Self::Parked { attempts } => attempts,
        }
    }
}

/// What is done with a message before its handler would run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It was handled before: nothing.
    Duplicate,
    /// Its key is parked: it is parked behind.
    ParkBehind,
    /// It is parked, and one before it has failed just now: it stays.
    Stay,
    /// Its handler runs.
    Run,
}

/// Decides what is done with a message. `new`: the inbox had not seen it. `parked`: other messages of its key are parked.
/// `failed`: one of its key has failed in this very transaction.
pub fn before(origin: Origin, new: bool, parked: bool, failed: bool) -> Before {
    match origin {
        Origin::Fresh if !new => Before::Duplicate,
        Origin::Fresh if parked || failed => Before::ParkBehind,
        Origin::Parked { .. } if failed => Before::Stay,
        _ => Before::Run,
    }
}

/// What a handler's call came to, as far as the engine cares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// It did its work.
    Done,
    /// It refused.
    Rejected,
    /// It failed technically.
    Retry,
    /// Not now.
    Later {
        /// Milliseconds until it may be tried again.
        after_ms: u64,
    },
    /// It can never succeed.
    Dead,
}

/// What follows from a handler's call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// Its events are published.
    Publish,
    /// It is parked until `due`.
    Park {
        /// Attempts that have failed by now.
        attempts: u32,
        /// When it may be tried again.
        due: Timestamp,
    },
    /// It is dead-lettered.
    DeadLetter {
        /// Attempts that have failed by now.
        attempts: u32,
    },
}

/// How a delivery has ended whose message was first seen `waited` ago: what is put off beyond `limit` has failed.
pub fn bounded(ended: Ended, waited: Duration, limit: Duration) -> Ended {
    match ended {
        Ended::Later { .. } if waited >= limit => Ended::Retry,
        ended => ended,
    }
}

/// Decides what follows. `attempts`: how many have failed before. `fraction`: drawn evenly from `[0, 1)`.
pub fn after(ended: Ended, attempts: u32, policy: &RetryPolicy, now: Timestamp, fraction: f64) -> After {
    match ended {
        Ended::Done | Ended::Rejected => After::Publish,
        Ended::Later { after_ms } => After::Park { attempts, due: now.after(Duration::from_millis(after_ms)) },
        Ended::Dead => After::DeadLetter { attempts: attempts.saturating_add(1) },
        Ended::Retry => {
            let attempts = attempts.saturating_add(1);
            match next_attempt(policy, attempts, now, fraction) {
                NextAttempt::At(due) => After::Park { attempts, due },
                NextAttempt::Exhausted => After::DeadLetter { attempts },
            }
        }
    }
}

/// How the writes of a message that does not stand are taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakeBack {
    /// There are none.
    Nothing,
    /// To its savepoint.
    Savepoint,
    /// With the whole transaction, which runs again without the message.
    Transaction,
}

/// Decides how. `touched`: the handler ran a statement. `savepoint`: one was set before its first.
pub fn take_back(ended: Ended, touched: bool, savepoint: bool) -> TakeBack {
    match (ended, touched, savepoint) {
        (Ended::Done, ..) | (_, false, _) => TakeBack::Nothing,
        (_, true, true) => TakeBack::Savepoint,
        (_, true, false) => TakeBack::Transaction,
    }
}

/// When the head of a dead letter's key is due, if the key is held: never, until somebody settles the letter.
pub const fn held_due() -> Timestamp {
    HELD
}

/// Cuts the messages of a transaction into calls. Each message is given as its handler, and whether that takes several at
/// once; neighbours with the same such handler are one call.
pub fn calls(messages: &[(usize, bool)]) -> Vec<Range<usize>> {
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
        // origin, new, key parked, key failed here -> decision
        let table = [
            (Origin::Fresh, true, false, false, Before::Run),
            (Origin::Fresh, false, false, false, Before::Duplicate),
            (Origin::Fresh, false, true, true, Before::Duplicate),
            (Origin::Fresh, true, true, false, Before::ParkBehind),
            (Origin::Fresh, true, false, true, Before::ParkBehind),
            (parked_message, false, true, false, Before::Run),
            (parked_message, false, true, true, Before::Stay),
        ];
        for (origin, new, parked, failed, expected) in table {
            assert_eq!(before(origin, new, parked, failed), expected, "{origin:?} {new} {parked} {failed}");
        }
    }

    #[test]
    fn after_the_handler() {
        let policy = RetryPolicy::default().attempts(2).backoff(Duration::from_secs(1), Duration::from_secs(1));
        let now = Timestamp::from_millis(0);
        let due = Timestamp::from_millis(500);
        let table = [
            (Ended::Done, 0, After::Publish),
            (Ended::Rejected, 1, After::Publish),
            (Ended::Retry, 0, After::Park { attempts: 1, due }),
            (Ended::Retry, 1, After::DeadLetter { attempts: 2 }),
            (Ended::Later { after_ms: 500 }, 1, After::Park { attempts: 1, due }),
            (Ended::Dead, 0, After::DeadLetter { attempts: 1 }),
        ];
        for (ended, attempts, expected) in table {
            assert_eq!(after(ended, attempts, &policy, now, 0.0), expected, "{ended:?} after {attempts}");
        }
    }

    #[test]
    fn what_is_put_off_for_too_long_has_failed() {
        let (limit, later) = (Duration::from_secs(60), Ended::Later { after_ms: 1 });
        assert_eq!(bounded(later, Duration::from_millis(59_999), limit), later);
        assert_eq!(bounded(later, limit, limit), Ended::Retry);
        for other in [Ended::Done, Ended::Rejected, Ended::Retry, Ended::Dead] {
            assert_eq!(bounded(other, 2 * limit, limit), other);
        }
    }

    #[test]
    fn writes_are_taken_back_where_they_are() {
        assert_eq!(take_back(Ended::Done, true, false), TakeBack::Nothing);
        assert_eq!(take_back(Ended::Retry, false, false), TakeBack::Nothing);
        assert_eq!(take_back(Ended::Rejected, true, true), TakeBack::Savepoint);
        assert_eq!(take_back(Ended::Retry, true, false), TakeBack::Transaction);
    }

    #[test]
    fn neighbours_of_a_batch_handler_are_one_call() {
        let messages = [(0, false), (0, false), (1, true), (1, true), (0, false), (1, true), (2, true)];
        assert_eq!(calls(&messages), [0..1, 1..2, 2..4, 4..5, 5..6, 6..7]);
        assert!(calls(&[]).is_empty());
    }
}
