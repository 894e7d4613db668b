//! A transaction of the port.
//!
//! `sagas.unit`, a setting that ends with the transaction, says that it is still the one that was begun: a `ROLLBACK` or `COMMIT`
//! among a handler's statements takes it away, and every statement of the framework that writes asks for it. See `schema.sql`
//! for what refuses such a `COMMIT`.

use std::{future::Future, pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::TryStreamExt;
use sqlx::{AssertSqlSafe, Either, Executor, PgConnection};
use tokio::{runtime::Handle, time::timeout};

use super::{
    super::{
        DeadLetter, DeadLetterId, DeadLetterState, HistoryEntry, InboxKey, InstanceKey, InstanceRecord, LetterHead, OutboxId,
        ParkedId, ParkedMessage, SqlConnection, StepRecord, StoreError, StoreTx, no_savepoint, sql_errors::Failed,
    },
    connect::{Connector, Held, ended, quoted},
    errors,
    statements::{dead_letters, execute, history, inbox, instances, letter_queries, outbox, parked, partitions, steps},
};
use crate::{
    message::{Received, Record, TopicPartition},
    time::Timestamp,
};

/// How a transaction begins and ends, each in one round trip.
#[derive(Debug)]
pub(super) struct Bounds {
    look: Arc<str>,
    begin: Arc<str>,
    commit: Arc<str>,
}

impl Bounds {
    /// The statements that begin a transaction.
    pub(super) fn begin(&self) -> &str {
        &self.begin
    }

    /// The statements that end one.
    pub(super) fn commit(&self) -> &str {
        &self.commit
    }

    /// Transactions in `schema`.
    pub(super) fn new(schema: &str) -> Self {
        // What the role or the database has set otherwise does not count.
        let look =
            format!("BEGIN ISOLATION LEVEL READ COMMITTED NOT DEFERRABLE; SET LOCAL search_path TO {}, public", quoted(schema));
        // The last statement fails when the server takes no writes: before a handler's own statements find that out, whose fault it
        // is not.
        let begin = format!(
            "{look}; SELECT set_config('sagas.unit', (CASE current_setting('transaction_read_only') WHEN 'off' THEN '1' ELSE \
             'transaction_read_only' END)::int::text, true)"
        );
        // The first statement fails when the transaction is not the one that was begun, when the framework's statements went to
        // another schema, or when a statement before has failed. The second is not run then. By itself PostgreSQL would answer a
        // `COMMIT` after a failure with a rollback, and no error. The current schema is the first of the path that the user may use.
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

/// A transaction. Dropped, it is rolled back; when a statement of it runs, its connection is closed.
#[derive(Debug)]
pub(super) struct Unit {
    held: Option<Held>,
    connector: Arc<Connector>,
    marked: bool,
    /// Others than the framework have had the connection.
    lent: bool,
    /// One of the framework's statements is under way.
    running: bool,
}

impl Unit {
    pub(super) async fn begin(connector: &Arc<Connector>) -> Result<Self, StoreError> {
        connector.may_write()?;
        let begun = connector.transaction(&connector.bounds.begin).await;
        // Nobody's statement has been run: what is refused here is no fault of a message.
        Ok(Self::on(begun.map_err(unavailable)?, connector))
    }

    /// A transaction that only looks, whatever the server is.
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

    /// Runs a statement however long it takes.
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

/// What keeps transactions from beginning, as what an operator has to see to.
fn unavailable(error: StoreError) -> StoreError {
    match error {
        StoreError::Refused(reason) | StoreError::Incompatible(reason) => StoreError::Unavailable(reason),
        error => error,
    }
}

/// Commits by `sql`: the first two of its statements do that. Says whether the others, which restore the session, were run too: that
/// they were not takes nothing back of what is committed.
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

#[async_trait]
impl StoreTx for Unit {
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

    async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.run(async |connection| inbox::claim(connection, service, keys, now).await).await
    }

    async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError> {
        self.run(async |connection| inbox::forget(connection, service, keys, before).await).await
    }

    async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError> {
        self.run(async |connection| outbox::append(connection, service, rows).await).await
    }

    async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError> {
        self.run(async |connection| outbox::delete(connection, ids).await).await
    }

    async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError> {
        self.run(async |connection| steps::load(connection, service, of).await).await
    }

    async fn save_steps(&mut self, service: &str, steps: &[StepRecord]) -> Result<(), StoreError> {
        self.run(async |connection| steps::save(connection, service, steps).await).await
    }

    async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
        self.run(async |connection| instances::load(connection, service, of).await).await
    }

    async fn save_instances(&mut self, service: &str, instances: &[InstanceRecord]) -> Result<(), StoreError> {
        self.run(async |connection| instances::save(connection, service, instances).await).await
    }

    async fn append_history(&mut self, service: &str, entries: &[HistoryEntry]) -> Result<(), StoreError> {
        self.run(async |connection| history::append(connection, service, entries).await).await
    }

    async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError> {
        self.run(async |connection| parked::park(connection, service, messages).await).await
    }

    async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError> {
        self.run(async |connection| parked::repark(connection, id, attempts, due, error).await).await
    }

    async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError> {
        self.run(async |connection| parked::unpark(connection, ids).await).await
    }

    async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError> {
        self.run(async |connection| parked::counts(connection, service, topic, keys).await).await
    }

    async fn bury(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError> {
        self.run(async |connection| dead_letters::bury(connection, service, letters).await).await
    }

    async fn settle_dead_letters(
        &mut self,
        service: &str,
        ids: &[DeadLetterId],
        state: DeadLetterState,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        self.run(async |connection| dead_letters::settle(connection, service, ids, state, now).await).await
    }

    async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError> {
        self.run(async |connection| letter_queries::of_messages(connection, service, messages).await).await
    }

    async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError> {
        self.run(async |connection| dead_letters::holding(connection, service, letters).await).await
    }

    async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError> {
        self.run(async |connection| parked::release(connection, ids, due).await).await
    }

    async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError> {
        self.run(async |connection| parked::replace(connection, id, received, due).await).await
    }

    async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError> {
        self.run(async |connection| dead_letters::mark_unpublished(connection, service, id, why).await).await
    }

    async fn hold(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError> {
        self.run(async |connection| partitions::hold(connection, service, owned).await).await
    }

    /// The verdict is given before the future is polled: from then on a task of its own commits, whoever waits for it.
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
}
