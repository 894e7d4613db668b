//! A transaction that other code has begun, on its own connection to the same file.
//!
//! SQLite has one writer. From its first write on, the joined transaction keeps others from writing, so the next transaction of the
//! framework begins after the joined one has ended. In this way the framework learns of its end.

use std::sync::Arc;

use sqlx::{Executor, SqliteConnection};

use super::{
    super::StoreError,
    SqliteStore,
    connect::Connector,
    statements::{Failed, execute, publishing},
};

/// A transaction that other code has begun.
pub(super) struct Joined<'c> {
    connection: &'c mut SqliteConnection,
    connector: Arc<Connector>,
}

impl SqliteStore {
    /// Joins the transaction that is open on `connection`.
    pub(super) async fn joined<'c>(&self, connection: &'c mut SqliteConnection) -> Result<Joined<'c>, StoreError> {
        let name = &self.connector.name;
        // `BEGIN` fails if a transaction is open. SQL has no other way to query this.
        if connection.execute("BEGIN").await.is_ok() {
            connection.execute("ROLLBACK").await.map_err(|error| self.connector.error(&error))?;
            return Err(StoreError::Refused(format!(
                "{name}: no transaction is open on the connection; begin one with `begin_with(\"BEGIN IMMEDIATE\")`, publish in it, \
                 and commit it"
            )));
        }
        let sql = "SELECT file FROM pragma_database_list WHERE name = 'main'";
        let asked: sqlx::Result<Option<String>> = sqlx::query_scalar(sql).fetch_one(&mut *connection).await;
        let file = asked.map_err(|error| self.connector.error(&error))?.unwrap_or_default();
        if !self.connector.is_at(&file).await {
            let theirs = if file.is_empty() { "a database in memory" } else { &file };
            return Err(StoreError::Refused(format!(
                "{name}: the transaction is in {theirs}, and the service sends what is in its own file; open the same file"
            )));
        }
        let mut joined = Joined { connection, connector: Arc::clone(&self.connector) };
        // Deletes nothing, but takes the write lock, also in a transaction that was begun for reading. So the framework's next transaction
        // begins after the end of this one, even if the statements that follow fail.
        joined.run(async |connection| execute(connection, "DELETE FROM sagas_outbox WHERE 0").await).await?;
        Ok(joined)
    }
}

impl Joined<'_> {
    async fn run<T>(&mut self, statement: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failed>) -> Result<T, StoreError> {
        statement(&mut *self.connection).await.map_err(|failed| failed.at(&self.connector.name))
    }
}

publishing!(Joined<'_>);
