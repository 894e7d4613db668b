//! A transaction of the port: it owns the writer's connection until it ends.

use std::{future::Future, pin::Pin};

use sqlx::SqliteConnection;
use tokio::sync::oneshot;

use super::{
    super::{SqlConnection, StoreError, no_savepoint, sql_transaction::transaction},
    statements::{dead_letters, inbox, letter_queries, outbox, parked, partitions, publishing, takers},
    writer::{Handback, Lease},
};
use crate::message::TopicPartition;

/// One unit of a group that commits together. If it is dropped, it returns the connection and is undone.
#[derive(Debug)]
pub(super) struct Unit {
    lent: Option<Lent>,
    marked: bool,
}

#[derive(Debug)]
struct Lent {
    lease: Lease,
    back: oneshot::Sender<Handback>,
}

impl Unit {
    pub(super) fn new(lease: Lease, back: oneshot::Sender<Handback>) -> Self {
        Self { lent: Some(Lent { lease, back }), marked: false }
    }

    /// Runs one of the framework's statements.
    pub(super) async fn run<T>(
        &mut self,
        statement: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, Failed>,
    ) -> Result<T, StoreError> {
        let Some(Lent { lease, .. }) = &mut self.lent else { return Err(ended()) };
        if lease.guard.lost() {
            return Err(match lease.ended_by_its_unit().await {
                Some(error) => error,
                None => {
                    StoreError::Unavailable(format!("{}: the transaction was rolled back; run it again", lease.connector.name))
                }
            });
        }
        statement(&mut lease.connection).await.map_err(|failed| failed.at(&lease.connector.name))
    }

    fn give_back(&mut self, commit: Option<oneshot::Sender<Result<(), StoreError>>>) {
        if let Some(Lent { lease, back }) = self.lent.take() {
            // If the send fails, the task that writes has ended with its Tokio runtime, and the connection is closed.
            let _ = back.send(Handback { lease, commit });
        }
    }
}

fn ended() -> StoreError {
    StoreError::Refused("the transaction has ended".into())
}

impl Drop for Unit {
    fn drop(&mut self) {
        self.give_back(None);
    }
}

// The transaction is the only writer, so it needs no further locks.
publishing!(Unit);

transaction!(Unit {
    async fn savepoint(&mut self) -> Result<(), StoreError> {
        // `marked` is reset first. If this future is dropped before the statement has run, the next call must not release a savepoint that
        // may not exist.
        let sql =
            if std::mem::take(&mut self.marked) { "RELEASE sagas_mark; SAVEPOINT sagas_mark" } else { "SAVEPOINT sagas_mark" };
        self.run(async |connection| execute(connection, sql).await).await?;
        self.marked = true;
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        if !self.marked {
            return Err(no_savepoint());
        }
        self.run(async |connection| execute(connection, "ROLLBACK TO sagas_mark").await).await
    }

    /// The transaction is the only writer, so a valid epoch remains valid until its end.
    async fn check_ownership(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError> {
        self.run(async |connection| partitions::stand(connection, service, owned).await).await
    }

    /// The request to commit is sent before the future is polled. From then on the writer's task commits, even if the caller drops the
    /// future.
    fn commit<'a>(mut self: Box<Self>) -> Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send + 'a>>
    where
        Self: 'a,
    {
        let (commit, durable) = oneshot::channel();
        self.give_back(Some(commit));
        Box::pin(async move {
            durable.await.unwrap_or_else(|_| {
                Err(StoreError::Unavailable("the store was closed; whether the transaction was committed is not known".into()))
            })
        })
    }

    fn sql(&mut self) -> Option<SqlConnection<'_>> {
        self.lent.as_mut().map(|lent| SqlConnection::Sqlite(&mut lent.lease.connection))
    }
});

pub(super) use super::statements::{Failed, execute};
