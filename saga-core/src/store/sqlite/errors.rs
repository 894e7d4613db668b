//! Converts errors of SQLite into errors of the port.
//!
//! The messages name the database and the remedy. SQLite's own texts contain names of tables and columns, but no values.

use sqlx::{error::DatabaseError, sqlite::SqliteError};

use super::super::StoreError;

/// Whether the same call can succeed later, by SQLite's result codes, and the remedy. See <https://sqlite.org/rescode.html>.
fn unavailable(code: i32) -> Option<&'static str> {
    /// The guard refused the commit of a statement that ran after SQLite had rolled back its transaction.
    const CONSTRAINT_COMMITHOOK: i32 = 531;
    if code == CONSTRAINT_COMMITHOOK {
        return Some("the transaction had been rolled back already; run it again");
    }
    match code & 0xff {
        5 | 6 => Some("another program holds it; see that none keeps a transaction open"),
        8 => Some("it cannot be written; check the permissions of the file and of its folder"),
        10 => Some("reading or writing the file failed; check the disk"),
        13 => Some("the disk is full, or the database has reached its largest size; make room"),
        14 => Some("the file cannot be opened; check its path and permissions"),
        15 => Some("it is locked in a way that cannot be waited for"),
        _ => None,
    }
}

/// Whether SQLite cancelled only this statement.
fn given_up(code: i32) -> Option<&'static str> {
    match code & 0xff {
        7 => Some("there was no memory for it"),
        9 => Some("it was interrupted"),
        _ => None,
    }
}

fn incompatible(code: i32) -> Option<&'static str> {
    match code & 0xff {
        11 => Some("the file is damaged; restore it from a backup"),
        17 => Some("its tables were changed while it was in use"),
        26 => Some("the file is no SQLite database; check the path"),
        _ => None,
    }
}

/// Converts `error` for the database called `place`.
pub(in crate::store) fn database_error(place: &str, error: &SqliteError) -> StoreError {
    let code = error.code().and_then(|code| code.parse().ok()).unwrap_or(1);
    let text = error.message();
    if let Some(help) = unavailable(code) {
        return StoreError::Unavailable(format!("{place}: {help} (SQLite {code}: {text})"));
    }
    if let Some(help) = given_up(code) {
        return StoreError::Statement(format!("{place}: {help} (SQLite {code}: {text})"));
    }
    if let Some(help) = incompatible(code) {
        return StoreError::Incompatible(format!("{place}: {help} (SQLite {code}: {text})"));
    }
    if ["no such table: sagas_", "no such column: ", "has no column named "].iter().any(|part| text.contains(part)) {
        return StoreError::Incompatible(format!(
            "{place}: its tables are not those of this program; migrate the database first (SQLite {code}: {text})"
        ));
    }
    StoreError::Refused(format!("{place}: SQLite {code}: {text}"))
}

/// Whether another connection has locked the file, so that the same call can succeed in a moment.
pub(super) fn is_busy(error: &sqlx::Error) -> bool {
    const BUSY: i32 = 5;
    let code = error.as_database_error().and_then(DatabaseError::code).and_then(|code| code.parse::<i32>().ok());
    code.is_some_and(|code| code & 0xff == BUSY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failure::Fault, store::is_unavailable};

    #[test]
    fn whatever_carries_the_error_it_is_known_as_unavailable() {
        let ours = || StoreError::Unavailable("busy".into());
        #[derive(Debug, thiserror::Error)]
        #[error("the stock cannot be read")]
        struct Wrapped(#[source] sqlx::Error);
        for (error, unavailable) in [
            (Fault::from(ours()), true),
            (Fault::from(sqlx::Error::from(ours())), true),
            (Fault::from(Wrapped(sqlx::Error::PoolTimedOut)), true),
            (Fault::from(Wrapped(sqlx::Error::RowNotFound)), false),
            (Fault::from(sqlx::Error::from(StoreError::Refused("no".into()))), false),
            (Fault::new("something else"), false),
        ] {
            assert_eq!(is_unavailable(error.error()), unavailable, "{error}");
        }
    }
}
