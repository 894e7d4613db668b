//! Converts errors of PostgreSQL into errors of the port.
//!
//! The messages name the database and the remedy. PostgreSQL's own text is shown without its detail, which contains values of rows.

use sqlx::postgres::PgDatabaseError;

use super::{super::StoreError, text::quoted};

/// Why a server is read-only, and the remedy.
pub(super) const READ_ONLY: &str = "it takes no writes: it is a standby, or `default_transaction_read_only` is on for the server, the database \
                                    or the role; name the primary, or set it off (`ALTER ROLE .. RESET default_transaction_read_only`)";

/// Whether the same call can succeed later, by SQLSTATE, and the remedy. See
/// <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
fn unavailable(code: &str) -> Option<&'static str> {
    Some(match code {
        "25P03" => "the transaction was idle for too long and was ended; see `idle_transaction_timeout`",
        "40003" => "whether the statement was completed is not known",
        "53100" => "the disk is full; make room",
        "53300" => "the server takes no more connections; lower `pool`, or raise `max_connections` of the server",
        "57P01" => "the server is being stopped, or an administrator closed the connection",
        "57P02" => "the server has crashed and starts again",
        "57P03" => "the server is starting or stopping",
        "57P05" => "the connection was idle for too long and was closed",
        "3D000" => "there is no such database; create it, or correct the URL",
        _ => match code.get(..2)? {
            "08" => "the connection was lost",
            "28" => "the server does not let this user in; check the user and the password of the URL",
            "53" => "the server lacks what it needs to go on",
            "57" => "an operator has intervened",
            "58" => "the server met an error of its system; see its log",
            _ => return None,
        },
    })
}

/// Whether the server cancelled only this statement, and the remedy.
fn given_up(code: &str) -> Option<&'static str> {
    Some(match code {
        "53200" => "there was no memory for it; see `work_mem`, and what else the server runs",
        "55P03" => "a row is held by another transaction; see that none is held across a wait",
        "57014" => "it was cancelled, by a time limit or by an operator; see `statement_timeout` and why it takes so long",
        _ => return None,
    })
}

/// Whether a concurrent transaction won a conflict.
fn contended(code: &str) -> bool {
    matches!(code, "40001" | "40P01")
}

/// Whether the statement was prepared before its table was changed, so that it fails on this connection every time. The routine is checked
/// because the text is in the server's language and other errors have the same code.
fn is_stale(error: &PgDatabaseError) -> bool {
    error.code() == "0A000" && error.routine() == Some("RevalidateCachedQuery")
}

const NOT_OURS: &str = "its tables are not those of this program; migrate the database first";

fn incompatible(code: &str, text: &str) -> Option<&'static str> {
    match code {
        "XX001" | "XX002" => Some("the data are damaged; restore them from a backup"),
        "42P01" | "42703" | "42883" if text.contains("sagas_") => Some(NOT_OURS),
        _ => None,
    }
}

fn refused(code: &str) -> Option<&'static str> {
    match code {
        "25006" => Some("what only reads cannot write; write through a `Tx`"),
        "25P04" => {
            Some("the transaction took too long and was ended; see `transaction_timeout` of the role, and what takes so long")
        }
        "25P02" => Some(
            "a statement has failed, which ends a transaction of PostgreSQL, and its handler went on; return the error, or run \
             the statement in a savepoint (`tx.postgres().await?.begin()`)",
        ),
        "42501" => Some("the user may not do that; grant it the right, or make it the owner of the schema"),
        _ => None,
    }
}

/// What the response of an unsuitable pooler in front of the server means, and the remedy.
fn pooler(code: &str, text: &str) -> Option<&'static str> {
    match code {
        "08P01" if text.contains("unsupported startup parameter") => Some(
            "a pooler before the server does not take a parameter of the URL, `options` for one; leave it out and set it for the role \
             (`ALTER ROLE .. SET ..`), or name it in the pooler's `ignore_startup_parameters`",
        ),
        "08P01" if text.contains("statement pooling mode") => {
            Some("a pooler before the server takes no transactions; set `pool_mode = session`, or name PostgreSQL itself")
        }
        _ => None,
    }
}

/// An error of the database's configuration and not of the statement, and the remedy.
fn set_up(code: &str, text: &str) -> Option<&'static str> {
    match code {
        "26000" | "42P05" => Some(
            "a prepared statement went to another session, as behind a pooler in transaction mode; set `pool_mode = session`, or name \
             PostgreSQL itself",
        ),
        "42501" if text.contains("sagas_") => Some(MAY_NOT),
        _ => None,
    }
}

/// Without the right to use a schema, PostgreSQL reports that its tables do not exist.
fn unusable(schema: &str) -> String {
    format!("the schema {0} is gone, or the user may not use it; `GRANT USAGE ON SCHEMA {0} TO` the user", quoted(schema))
}

const MAY_NOT: &str = "the user may not use the framework's tables; `GRANT SELECT, INSERT, UPDATE, DELETE` on all tables of the schema, and \
                       `USAGE` on it, to the user, or make it the owner";

/// Converts `error` for the database called `place`.
pub(in crate::store) fn database_error(place: &str, error: &PgDatabaseError) -> StoreError {
    let (code, text) = (error.code(), error.message());
    // The statements that begin a transaction check this: see `bounds::Bounds`.
    if code == "22P02" && text.contains("\"transaction_read_only\"") {
        return StoreError::Unavailable(format!("{place}: {READ_ONLY}"));
    }
    if let Some(help) = set_up(code, text) {
        return StoreError::Unavailable(format!("{place}: {help} (PostgreSQL {code}: {text})"));
    }
    if let Some(help) = pooler(code, text) {
        return StoreError::Refused(format!("{place}: {help} (PostgreSQL {code}: {text})"));
    }
    if let Some(help) = given_up(code) {
        return StoreError::Statement(format!("{place}: {help} (PostgreSQL {code}: {text})"));
    }
    if let Some(help) = unavailable(code) {
        return StoreError::Unavailable(format!("{place}: {help} (PostgreSQL {code}: {text})"));
    }
    if is_stale(error) {
        return StoreError::Contended(format!(
            "{place}: a statement was prepared before its table was changed (PostgreSQL {code}: {text})"
        ));
    }
    if contended(code) {
        return StoreError::Contended(format!("{place}: PostgreSQL {code}: {text}"));
    }
    if let Some(help) = incompatible(code, text) {
        return StoreError::Incompatible(format!("{place}: {help} (PostgreSQL {code}: {text})"));
    }
    match refused(code) {
        Some(help) => StoreError::Refused(format!("{place}: {help} (PostgreSQL {code}: {text})")),
        None => StoreError::Refused(format!("{place}: PostgreSQL {code}: {text}")),
    }
}

fn postgres(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()
}

/// Returns the SQLSTATE of `error`.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    postgres(error).map(PgDatabaseError::code)
}

/// Whether the connection that returned `error` is lost, so that the same statement can be tried on another.
pub(in crate::store) fn is_lost(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::Tls(_) | sqlx::Error::WorkerCrashed => true,
        sqlx::Error::Database(_) => postgres(error).is_some_and(|error| {
            let code = error.code();
            is_stale(error) || matches!(code, "25P03" | "57P01" | "57P02" | "57P03" | "57P05") || code.starts_with("08")
        }),
        _ => false,
    }
}

/// Whether the connection that returned `error` must not be used again: it is lost, its server has become read-only, or its session is
/// shared with others.
pub(super) fn is_spoilt(error: &sqlx::Error) -> bool {
    is_lost(error) || code(error).is_some_and(|code| matches!(code, "25006" | "25P04" | "26000" | "42P05"))
}

/// Converts the `error` of one of the framework's statements in a transaction, if it means that the framework's tables in `schema` cannot
/// be used. The message that is being handled is not the cause. `lent`: a handler's statements may have changed the session.
pub(super) fn of_the_framework(place: &str, schema: &str, lent: bool, error: &sqlx::Error) -> Option<StoreError> {
    let error = postgres(error)?;
    let (code, text) = (error.code(), error.message());
    let help = match code {
        "42501" if text.contains(schema) => MAY_NOT.to_owned(),
        "42P01" if !lent && text.contains("sagas_") => format!("{NOT_OURS}; or {}", unusable(schema)),
        "42703" | "42883" if !lent && text.contains("sagas_") => NOT_OURS.to_owned(),
        _ => return None,
    };
    Some(StoreError::Unavailable(format!("{place}: {help} (PostgreSQL {code}: {text})")))
}

/// Converts the `error` of one of the framework's statements in a joined transaction, if more is known than its text.
pub(super) fn of_others(place: &str, schema: &str, error: &sqlx::Error) -> Option<StoreError> {
    let schema = quoted(schema);
    let help = match code(error)? {
        "42501" => format!(
            "the user of the connection may not publish; `GRANT USAGE ON SCHEMA {schema} TO` it, and `GRANT SELECT, INSERT, UPDATE ON` \
             the tables sagas_outbox, sagas_instances and sagas_history of that schema"
        ),
        "25006" => "the transaction only reads; begin one that writes".to_owned(),
        "25P02" => "a statement before has failed, which ends a transaction of PostgreSQL; roll it back".to_owned(),
        _ => return None,
    };
    Some(StoreError::Refused(format!("{place}: {help} ({error})")))
}

/// Converts an `error` in one of the framework's transactions, if more is known than its text.
pub(super) fn of_a_transaction(place: &str, schema: &str, error: &sqlx::Error) -> Option<StoreError> {
    match code(error)? {
        "22P02" if error.to_string().contains("\"usage\"") => {
            Some(StoreError::Unavailable(format!("{place}: {}", unusable(schema))))
        }
        // The mark of the transaction is missing: see `bounds::Bounds`.
        "22P02" if error.to_string().contains("\"search_path\"") => Some(StoreError::Refused(format!(
            "{place}: a statement has changed `search_path`, and the framework's tables could not be found by it; use \
             `SET LOCAL` and set it back before the handler returns, or name the schema in the statements"
        ))),
        "22P02" => Some(StoreError::Refused(format!(
            "{place}: a COMMIT or ROLLBACK among its own statements has ended the transaction; leave that to the framework"
        ))),
        // The framework does not begin read-only transactions, so the server has become read-only.
        "25006" => Some(StoreError::Unavailable(format!("{place}: the server takes no writes: {error}"))),
        _ => None,
    }
}
