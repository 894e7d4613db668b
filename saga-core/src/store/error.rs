//! The errors of a store.

/// An error of the database, or of the connection to it.
#[derive(Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database cannot be reached, is busy for longer than the store waits, or is full. The same call can succeed later.
    #[error("the database cannot be used now: {0}")]
    Unavailable(String),
    /// The database cancelled one statement: it took too long, waited too long for a row, or needed too much memory. Only the state of the
    /// database shows whether the statement or the database is the cause.
    #[error("the database gave a statement up: {0}")]
    Statement(String),
    /// A concurrent transaction won a conflict with this one. The same call can be repeated at once.
    #[error("the database let another transaction go first: {0}")]
    Contended(String),
    /// The database returned an error that no retry can change.
    #[error("the database refused: {0}")]
    Refused(String),
    /// The content of the database is not what this program expects.
    #[error("the database does not fit this program: {0}")]
    Incompatible(String),
    /// The database has none of the framework's tables.
    #[error("the database was never migrated: {0}")]
    NotMigrated(String),
}

/// The same text as `Display`, because a `main` that returns the error prints it with `Debug`.
impl std::fmt::Debug for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl StoreError {
    /// Adds the place where the error occurred.
    #[cfg(feature = "sql")]
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Unavailable(reason) => Self::Unavailable(format!("{place}: {reason}")),
            Self::Statement(reason) => Self::Statement(format!("{place}: {reason}")),
            Self::Contended(reason) => Self::Contended(format!("{place}: {reason}")),
            Self::Refused(reason) => Self::Refused(format!("{place}: {reason}")),
            Self::Incompatible(reason) => Self::Incompatible(format!("{place}: {reason}")),
            Self::NotMigrated(reason) => Self::NotMigrated(format!("{place}: {reason}")),
        }
    }
}

/// The error that [`StoreTx::undo`] returns without a savepoint.
pub(crate) fn no_savepoint() -> StoreError {
    StoreError::Refused("there is no savepoint to return to; call `savepoint` before `undo`".into())
}
