//! What an error of PostgreSQL means to the port.
//!
//! Messages name the database and what helps. PostgreSQL's own text is shown without its detail, which has values of rows in it.

use sqlx::postgres::PgDatabaseError;

use super::{super::StoreError, connect::quoted};

/// Why a server takes no writes, and what helps.
pub(super) const READ_ONLY: &str = "it takes no writes: it is a standby, or `default_transaction_read_only` is on for the server, the database \
                                    or the role; name the primary, or set it off (`ALTER ROLE .. RESET default_transaction_read_only`)";

/// Whether the same call may work later, and what helps. By SQLSTATE:
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

/// Whether the server gave up this one statement, and what helps.
fn given_up(code: &str) -> Option<&'static str> {
    Some(match code {
        "53200" => "there was no memory for it; see `work_mem`, and what else the server runs",
        "55P03" => "a row is held by another transaction; see that none is held across a wait",
        "57014" => "it was cancelled, by a time limit or by an operator; see `statement_timeout` and why it takes so long",
        _ => return None,
    })
}

/// Whether another transaction was first.
fn contended(code: &str) -> bool {
    matches!(code, "40001" | "40P01")
}

/// Whether the statement was prepared before its table was changed, and so fails on this connection whenever it is run. The text of
/// this error is in the server's language, and its code is that of others too.
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

/// What a pooler between here and the server says that does not fit, and what helps.
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

/// What is no fault of the statement that met it, but of how the database is set up, and what helps.
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

/// Without the right to a schema, its tables are not found, as if they were not there.
fn unusable(schema: &str) -> String {
    format!("the schema {0} is gone, or the user may not use it; `GRANT USAGE ON SCHEMA {0} TO` the user", quoted(schema))
}

const MAY_NOT: &str = "the user may not use the framework's tables; `GRANT SELECT, INSERT, UPDATE, DELETE` on all tables of the schema, and \
                       `USAGE` on it, to the user, or make it the owner";

/// What `error` means, on the database called `place`.
pub(in crate::store) fn database_error(place: &str, error: &PgDatabaseError) -> StoreError {
    let (code, text) = (error.code(), error.message());
    // The beginning of a transaction asks for it: see `unit`.
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

/// The SQLSTATE of `error`.
pub(super) fn code(error: &sqlx::Error) -> Option<&str> {
    postgres(error).map(PgDatabaseError::code)
}

/// Whether the connection that answered `error` is of no use any more, and the same statement may be tried on another.
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

/// Whether the connection that answered `error` is not to be used again: it is lost, or leads to a server that takes no writes now, or to
/// a session that is not its own.
pub(super) fn is_spoilt(error: &sqlx::Error) -> bool {
    is_lost(error) || code(error).is_some_and(|code| matches!(code, "25006" | "25P04" | "26000" | "42P05"))
}

/// What `error`, met by a statement of the framework in a transaction, means if it is that the framework's tables in `schema` cannot be
/// used: that is no fault of the message that is being handled. `lent`: a handler's statements may have led elsewhere.
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

/// What `error` means where a transaction of ours is under way, if that is more than it says by itself.
pub(super) fn of_a_transaction(place: &str, schema: &str, error: &sqlx::Error) -> Option<StoreError> {
    match code(error)? {
        "22P02" if error.to_string().contains("\"usage\"") => {
            Some(StoreError::Unavailable(format!("{place}: {}", unusable(schema))))
        }
        // The mark of the transaction is gone: see `unit`.
        "22P02" if error.to_string().contains("\"search_path\"") => Some(StoreError::Refused(format!(
            "{place}: a statement has changed `search_path`, and the framework's tables could not be found by it; use \
             `SET LOCAL` and set it back before the handler returns, or name the schema in the statements"
        ))),
        "22P02" => Some(StoreError::Refused(format!(
            "{place}: a COMMIT or ROLLBACK among its own statements has ended the transaction; leave that to the framework"
        ))),
        // Nobody has asked this transaction to be read-only: the server takes no writes now.
        "25006" => Some(StoreError::Unavailable(format!("{place}: the server takes no writes: {error}"))),
        _ => None,
    }
}
