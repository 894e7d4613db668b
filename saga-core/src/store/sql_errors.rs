//! The errors of statements, for all SQL databases.

use sqlx::Error;

use super::StoreError;

/// Why a statement failed.
pub(in crate::store) enum Failed {
    Sql(Error),
    Store(StoreError),
}

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self::Sql(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failed {
    /// Returns the error of the database, if it is one.
    #[cfg(feature = "postgres")]
    pub(in crate::store) fn sql(&self) -> Option<&Error> {
        match self {
            Self::Sql(error) => Some(error),
            Self::Store(_) => None,
        }
    }

    /// Converts it into an error of the store, for the database called `place`.
    pub(in crate::store) fn at(self, place: &str) -> StoreError {
        match self {
            Self::Sql(error) => store_error(place, &error),
            Self::Store(error) => error.at(place),
        }
    }
}

/// The error for a row that this program cannot read.
pub(in crate::store) fn unreadable() -> StoreError {
    StoreError::Incompatible("a row holds what this program did not write".into())
}

/// Returns the result of `count(*)`.
///
/// # Errors
/// When it is negative.
pub(in crate::store) fn counted(count: i64) -> Result<u64, Failed> {
    Ok(u64::try_from(count).map_err(|_| unreadable())?)
}

/// Converts `error` into an error of the store, for the database called `place`.
pub(super) fn store_error(place: &str, error: &Error) -> StoreError {
    match error {
        // An error of the framework that was passed through an sqlx executor.
        Error::Configuration(cause) if cause.is::<StoreError>() => match cause.downcast_ref::<StoreError>() {
            Some(error) => error.clone(),
            None => StoreError::Refused(cause.to_string()),
        },
        Error::Database(cause) => {
            #[cfg(feature = "sqlite")]
            if let Some(cause) = cause.try_downcast_ref::<sqlx::sqlite::SqliteError>() {
                return super::sqlite::database_error(place, cause);
            }
            #[cfg(feature = "postgres")]
            if let Some(cause) = cause.try_downcast_ref::<sqlx::postgres::PgDatabaseError>() {
                return super::postgres::database_error(place, cause);
            }
            StoreError::Refused(format!("{place}: {cause}"))
        }
        Error::PoolTimedOut => StoreError::Unavailable(format!("{place}: no connection became free in time")),
        Error::PoolClosed => StoreError::Unavailable(format!("{place}: the store was closed")),
        Error::WorkerCrashed => StoreError::Unavailable(format!("{place}: the connection was lost")),
        Error::Io(cause) => StoreError::Unavailable(format!("{place}: {cause}; check that it is there and can be used")),
        Error::Tls(cause) => StoreError::Unavailable(format!("{place}: no secure connection could be made: {cause}")),
        Error::ColumnDecode { index, .. } => {
            StoreError::Incompatible(format!("{place}: column {index} holds what this program did not write"))
        }
        other => StoreError::Refused(format!("{place}: {other}")),
    }
}
