//! A transaction of the port.
//!
//! The setting `sagas.unit` ends with the transaction and marks the one that the framework has begun. A `ROLLBACK` or `COMMIT` among a
//! handler's statements removes it, and every writing statement of the framework checks it. The triggers in `schema.sql` refuse such a
//! `COMMIT`.

use std::{future::Future, pin::Pin, sync::Arc};

use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, Executor, PgConnection};
use tokio::{runtime::Handle, time::timeout};

use super::{
    super::{SqlConnection, StoreError, no_savepoint, sql_errors::Failed, sql_transaction::transaction},
    connect::{Connector, Held, ended},
    errors,
    statements::{dead_letters, execute, inbox, letter_queries, outbox, parked, partitions, publishing, tables::Tables, takers},
};
use crate::message::{Record, TopicPartition};

/// A transaction. If it is dropped, it is rolled back; if one of its statements is running then, its connection is closed.
#[derive(Debug)]
pub(super) struct Unit {
    held: Option<Held>,
    connector: Arc<Connector>,
    marked: bool,
    /// User code has had the connection.
    lent: bool,
    /// One of the framework's statements is running.
    running: bool,
}

impl Unit {
    pub(super) async fn begin(connector: &Arc<Connector>) -> Result<Self, StoreError> {
        connector.may_write()?;
        let begun = connector.transaction(&connector.bounds.begin).await;
        // No statement of a handler has run yet, so a message cannot be the cause of an error here.
        Ok(Self::on(begun.map_err(unavailable)?, connector))
    }

    /// Begins a transaction that only reads, on a primary or a standby.
    pub(super) async fn look(connector: &Arc<Connector>) -> Result<Self, StoreError> {
        connector.may_write()?;
        Ok(Self::on(connector.transaction(&connector.bounds.look).await?, connector))
    }

    fn on(held: Held, connector: &Arc<Connector>) -> Self {
        Self { held: Some(held), connector: Arc::clone(connector), marked: false, lent: false, running: false }
    }

    /// Runs one of the framework's statements.
    pub(super) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failed>,
    ) -> Result<T, StoreError> {
        let limit = self.connector.options.answer_timeout;
        let connection = self.held.as_mut().ok_or_else(ended)?.connection()?;
        self.running = true;
        let answer = timeout(limit, statement(connection)).await;
        self.running = false;
        match answer {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(failed)) => {
                let (place, schema) = (&self.connector.name, &self.connector.options.schema);
                let of_ours = failed.sql().and_then(|error| errors::of_the_framework(place, schema, self.lent, error));
                let error = self.failed(failed);
                Err(of_ours.unwrap_or(error))
            }
            Err(_) => {
                self.held = None;
                Err(self.connector.no_answer())
            }
        }
    }

    /// Runs one of the statements that publish.
    async fn publish<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection, Tables<'_>) -> Result<T, Failed>,
    ) -> Result<T, StoreError> {
        self.run(async |connection| statement(connection, Tables::OnPath).await).await
    }

    /// Does nothing: the runtime notifies the owners of the rows after the commit.
    async fn appended(&mut self, _service: &str, _rows: &[Record]) -> Result<(), StoreError> {
        Ok(())
    }

    /// Runs a statement without a time limit.
    pub(super) async fn run_long<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut PgConnection) -> Result<T, Failed>,
    ) -> Result<T, StoreError> {
        let connection = self.held.as_mut().ok_or_else(ended)?.connection()?;
        self.running = true;
        let answer = statement(connection).await;
        self.running = false;
        answer.map_err(|failed| self.failed(failed))
    }

    fn failed(&mut self, failed: Failed) -> StoreError {
        if let Failed::Sql(error) = &failed {
            if errors::is_spoilt(error) {
                self.held = None;
            }
            let (place, schema) = (&self.connector.name, &self.connector.options.schema);
            if let Some(error) = errors::of_a_transaction(place, schema, error) {
                return error;
            }
        }
        failed.at(&self.connector.name)
    }
}

/// Converts an error that prevents transactions from beginning: it is not the fault of a message.
fn unavailable(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(reason) | StoreError::Incompatible(reason) => StoreError::Unavailable(reason),
        error => error,
    }
}

/// Commits with `sql`. Its first two statements commit, and the others restore the session. Returns whether the others have run too; if
/// they fail, the commit is still valid.
async fn commit(connection: &mut PgConnection, sql: Arc<str>) -> Result<bool, Failed> {
    let mut answers = connection.fetch_many(sqlx::raw_sql(AssertSqlSafe(sql)));
    let mut done = 0;
    loop {
        match answers.try_next().await {
            Ok(Some(Either::Left(_))) => done += 1,
            Ok(Some(Either::Right(_))) => {}
            Ok(None) => return Ok(true),
            Err(_) if done >= 2 => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let held = self.held.take().filter(|_| !self.running);
        if let (Some(held), Ok(runtime)) = (held, Handle::try_current()) {
            match self.lent {
                true => drop(runtime.spawn(held.roll_back_lent(Arc::clone(&self.connector.session)))),
                false => drop(runtime.spawn(held.roll_back())),
            }
        }
    }
}

publishing!(Unit);

transaction!(Unit {
    async fn savepoint(&mut self) -> Result<(), StoreError> {
        let sql = if self.marked { "RELEASE SAVEPOINT sagas_mark; SAVEPOINT sagas_mark" } else { "SAVEPOINT sagas_mark" };
        self.run(async |connection| execute(connection, sql).await).await?;
        self.marked = true;
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        if !self.marked {
            return Err(no_savepoint());
        }
        self.run(async |connection| execute(connection, "ROLLBACK TO SAVEPOINT sagas_mark").await).await
    }

    async fn check_ownership(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError> {
        self.run(async |connection| partitions::hold(connection, service, owned).await).await
    }

    /// The commit runs in its own task, which is spawned before the future is polled. It continues even if the caller drops the future.
    fn commit<'a>(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>
    where
        Self: 'a,
    {
        let committed = tokio::spawn(async move {
            let commits = &self.connector.bounds.commit;
            let sql = match self.lent {
                true => format!("{commits}; {}", self.connector.session.restore()).into(),
                false => Arc::clone(commits),
            };
            let is_as_before = self.run(async |connection| commit(connection, sql).await).await?;
            if let Some(held) = self.held.take()
                && is_as_before
            {
                held.hand_back();
            }
            Ok(())
        });
        Box::pin(async move {
            committed.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable(
                    "the commit was broken off; whether the transaction was committed is not known".into(),
                ))
            })
        })
    }

    fn sql(&mut self) -> Option<SqlConnection<'_>> {
        self.lent = true;
        self.held.as_mut()?.connection().ok().map(SqlConnection::Postgres)
    }
});
