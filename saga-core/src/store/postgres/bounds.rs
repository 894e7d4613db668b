//! The statements that begin and end a transaction.

use std::sync::Arc;

use super::text::quoted;

/// The statements that begin and end a transaction, each in one round trip.
#[derive(Debug)]
pub(super) struct Bounds {
    /// The statements that begin a transaction that only reads, also on a standby.
    pub(super) look: Arc<str>,
    pub(super) begin: Arc<str>,
    pub(super) commit: Arc<str>,
}

impl Bounds {
    /// Builds the statements for transactions in `schema`.
    pub(super) fn new(schema: &str) -> Self {
        // These override the settings of the role and the database.
        let look =
            format!("BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE; SET LOCAL search_path TO {}, public", quoted(schema));
        // The last statement fails when the server is read-only. Otherwise a handler's own statement would fail, and the failure would
        // count as an attempt of its message.
        let begin = format!(
            "{look}; SELECT set_config('sagas.unit', (CASE current_setting('transaction_read_only') WHEN 'off' THEN '1' ELSE \
             'transaction_read_only' END)::int::text, true)"
        );
        // The first statement fails when the transaction is not the one that the framework has begun, when the framework's statements were
        // run in another schema, or when an earlier statement has failed. The `COMMIT` is then not run. By itself, PostgreSQL answers a
        // `COMMIT` after a failure with a rollback, and without an error. `current_schema()` is the first schema of the path that the user
        // has the right to use.
        let literal = |text: &str| text.replace('\'', "''");
        let commit = format!(
            "SELECT set_config('sagas.unit', '3', true) WHERE (CASE WHEN current_schema() = '{}' THEN current_setting('sagas.unit') \
             WHEN has_schema_privilege(to_regnamespace('{}')::oid, 'USAGE') THEN 'search_path' ELSE 'usage' END)::int > 0; COMMIT",
            literal(schema),
            literal(&quoted(schema))
        );
        Self { look: look.into(), begin: begin.into(), commit: commit.into() }
    }
}
