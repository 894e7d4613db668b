//! Decides why a transaction was not committed: because the database is unavailable, which is waited for, or because of one message, which
//! is found by running each message alone.

use std::fmt;

use super::core::Core;
use crate::{engine::batch::OutcomeKind, store::StoreError};

/// How long a message is put off if it is the only one that the database does not commit.
const PUT_OFF: OutcomeKind = OutcomeKind::Later { after_ms: 10_000 };

/// Returns whether the database rejects the request and would reject it again.
pub(crate) fn is_permanent(error: &StoreError) -> bool {
    !matches!(error, StoreError::Unavailable(_) | StoreError::Contended(_) | StoreError::Statement(_))
}

/// The reason why a transaction was not committed.
#[derive(Debug, Clone)]
pub(crate) enum CommitFailure {
    /// An error of the database.
    Store(StoreError),
    /// A panic outside a handler.
    Panic {
        /// The work that panicked.
        part: &'static str,
        /// The message of the panic.
        text: String,
    },
}

impl From<StoreError> for CommitFailure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for CommitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => write!(f, "{error}"),
            Self::Panic { part, text } => write!(f, "panic in {part}: {text}"),
        }
    }
}

impl CommitFailure {
    /// Returns whether the work for a message is at fault, for example a constraint that is checked at the commit, and not a database that
    /// is down or has cancelled a statement.
    pub(crate) fn is_permanent(&self) -> bool {
        match self {
            Self::Store(error) => is_permanent(error),
            Self::Panic { .. } => true,
        }
    }

    /// Returns whether the failure counts as an attempt of the message. If the database does not commit although it is available, the
    /// message may not be the cause.
    pub(crate) fn counts_as_attempt(&self) -> bool {
        !matches!(self, Self::Store(StoreError::Unavailable(_) | StoreError::Contended(_)))
    }

    /// Returns how the delivery of a message ends after this failure, although the database is available. If no attempt is counted, the
    /// message is put off, so that other messages continue.
    pub(crate) fn outcome_kind(&self) -> OutcomeKind {
        if self.counts_as_attempt() { OutcomeKind::Retry } else { PUT_OFF }
    }

    /// Returns whether the transaction lost a conflict with another one.
    pub(crate) fn is_contention(&self) -> bool {
        matches!(self, Self::Store(StoreError::Contended(_)))
    }
}

/// Detects that transactions fail because of one of their messages and not because of the database.
#[derive(Default)]
pub(crate) struct PoisonDetector {
    /// Consecutive failures while the database reported that it is available.
    while_well: u32,
    /// Consecutive statements that the database cancelled while it reported that it is available.
    given_up: u32,
    /// The number of lost conflicts with other transactions.
    contended: u32,
}

impl PoisonDetector {
    const ENOUGH: u32 = 5;
    const GIVEN_UP: u32 = 3;
    const CONTENTION: u32 = 20;

    /// Records a failure. Returns whether one of the messages is now considered the cause.
    pub(crate) async fn record(&mut self, core: &Core, failure: &CommitFailure) -> bool {
        if failure.is_permanent() {
            return true;
        }
        if failure.is_contention() {
            self.contended += 1;
            return self.contended >= Self::CONTENTION;
        }
        let well = core.store().check().await.is_ok();
        self.while_well = if well { self.while_well + 1 } else { 0 };
        if matches!(failure, CommitFailure::Store(StoreError::Statement(_))) {
            self.given_up = if well { self.given_up + 1 } else { 0 };
        }
        self.while_well >= Self::ENOUGH || self.given_up >= Self::GIVEN_UP
    }
}
