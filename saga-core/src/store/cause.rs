//! The error of the database that caused another error.

use super::error::StoreError;

/// Whether `error`, or one of its sources, reports that the database cannot be used now. The message that is being handled is not the
/// cause, so no attempt is counted.
pub fn is_unavailable(error: &(dyn std::error::Error + 'static)) -> bool {
    matches!(of_the_database(error), Some(StoreError::Unavailable(_) | StoreError::Contended(_)))
}

/// Whether `error`, or one of its sources, reports that the database did not run a statement now and can run the same one later: it cannot be
/// used, it cancelled the statement, for example because another transaction held a row for too long, or another transaction won a conflict.
pub fn can_succeed_later(error: &(dyn std::error::Error + 'static)) -> bool {
    is_unavailable(error) || matches!(of_the_database(error), Some(StoreError::Statement(_)))
}

/// The error of the database among `error` and its sources, if it is [`StoreError::Contended`].
pub(crate) fn contention(error: &(dyn std::error::Error + 'static)) -> Option<StoreError> {
    of_the_database(error).filter(|error| matches!(error, StoreError::Contended(_)))
}

/// The first error of the database among `error` and its sources.
fn of_the_database(error: &(dyn std::error::Error + 'static)) -> Option<StoreError> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| {
        #[cfg(feature = "sql")]
        if let Some(error) = error.downcast_ref::<sqlx::Error>() {
            return Some(super::sql_errors::store_error("the service's database", error));
        }
        error.downcast_ref::<StoreError>().cloned()
    })
}
