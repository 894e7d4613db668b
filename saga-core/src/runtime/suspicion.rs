//! Whose fault it is that a transaction was not committed: the database's as a whole, which is waited for, or that of one message,
//! which is found by running each alone.

use std::fmt;

use super::core::Core;
use crate::{engine::batch::Ended, store::StoreError};

/// How long a message is put off that is the only one the database does not take.
const PUT_OFF: Ended = Ended::Later { after_ms: 10_000 };

/// Whether the database refuses what it is asked for, and would refuse it again.
pub(crate) fn is_refusal(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_) | StoreError::Contended(_) | StoreError::Statement(_))
}

/// Why a transaction was not committed.
#[derive(Debug, Clone)]
pub(crate) enum Trouble {
    /// By what the database said.
    Store(StoreError),
    /// By a panic outside a handler.
    Panic {
        /// Of what was being done.
        part: &'static str,
        /// What it said.
        text: String,
    },
}

impl From<StoreError> for Trouble {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            Self::Panic { part, text } => write!(f, "panic in {part}: {text}"),
        }
    }
}

impl Trouble {
    /// Whether it is what is done for a message that does not work, as a constraint that is checked at the commit, and not the database
    /// that is down or has given one statement up.
    pub(crate) fn is_refusal(&self) -> bool {
        match self {
            Self::Store(error) => is_refusal(error),
            Self::Panic { .. } => true,
        }
    }

    /// Whether it counts as a failed attempt of the message. That the database does not commit, though it is well, may be no fault of the
    /// message.
    pub(crate) fn counts(&self) -> bool {
        !matches!(self, Self::Store(StoreError::Unavailable(_) | StoreError::Contended(_)))
    }

    /// How a message has ended whose transaction came to this, though the database is well. Where that counts as no attempt it waits, so
    /// that others get on.
    pub(crate) fn ended(&self) -> Ended {
        if self.counts() { Ended::Retry } else { PUT_OFF }
    }

    /// Whether another transaction was only first.
    pub(crate) fn is_contention(&self) -> bool {
        matches!(self, Self::Store(StoreError::Contended(_)))
    }
}

/// The suspicion that what ends the transactions is one of the messages, and not the database.
#[derive(Default)]
pub(crate) struct Suspicion {
    /// Failures in a row of a database that says it is well.
    while_well: u32,
    /// Statements that it has given up, in a row, while it said so.
    given_up: u32,
    /// How often another transaction was first.
    contended: u32,
}

impl Suspicion {
    const ENOUGH: u32 = 5;
    const GIVEN_UP: u32 = 3;
    const CONTENTION: u32 = 20;

    /// Takes note of what happened. Says whether it is one of the messages by now.
    pub(crate) async fn grows(&mut self, core: &Core, trouble: &Trouble) -> bool {
        if trouble.is_refusal() {
            return true;
        }
        if trouble.is_contention() {
            self.contended += 1;
            return self.contended >= Self::CONTENTION;
        }
        let well = core.store().check().await.is_ok();
        self.while_well = if well { self.while_well + 1 } else { 0 };
        if matches!(trouble, Trouble::Store(StoreError::Statement(_))) {
            self.given_up = if well { self.given_up + 1 } else { 0 };
        }
        self.while_well >= Self::ENOUGH || self.given_up >= Self::GIVEN_UP
    }
}
