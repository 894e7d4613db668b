//! The arguments of a handler besides its event, for a test that calls it directly as an async fn.

use std::sync::Arc;

use crate::{
    extract::{Meta, Work},
    failure::Fault,
    id::IdSource,
    message::{Context, Envelope, Event, Header, Outgoing, Received, Record, TraceContext},
    store::{Database, Migration, StoreError, Tx, TxSlot},
    time::Timestamp,
};

/// The time at which the messages of these tests are handled: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// Returns the metadata of a message with `event`: its first attempt, in a service and a handler that are both called `test`. The fields
/// can be changed: `meta.attempt = 3`.
///
/// # Panics
/// Panics if the event's `Serialize` fails.
pub fn meta<E: Event>(event: &E) -> Meta {
    let ids = IdSource::random();
    let id = ids.uuid(NOW);
    let trace = TraceContext::root(&ids);
    let outgoing = Outgoing::of(event).unwrap_or_else(|fault| panic!("{fault}"));
    let key: Arc<str> = outgoing.key.as_str().into();
    let record = outgoing.into_record(&id.into(), "test", NOW, &Context::root(id.to_string(), trace.clone()));
    let received = Received { record: Arc::new(record), partition: 0, offset: 0 };
    let envelope = Envelope::of(&received, NOW).unwrap_or_else(|_| Envelope::by_position(&received, NOW));
    Meta {
        envelope: Arc::new(envelope),
        service: "test".into(),
        handler: "test",
        topic: received.record.topic.as_str().into(),
        partition: 0,
        offset: 0,
        key: Some(key),
        attempt: 1,
        now: NOW,
        first_seen: NOW,
        trace,
        last_error: None,
        step: None,
    }
}

/// Creates a record as a producer without this framework publishes it. The fields can be changed: `record.key = None`. A handler that takes
/// `On<Raw>` gets `On(record.into())`; with a pump, use `pump.publish_record(record)`.
pub fn record(topic: &str, key: &str, headers: &[(&str, &str)], value: &str) -> Record {
    Record {
        topic: topic.to_owned(),
        key: Some(key.to_owned().into()),
        value: Some(value.to_owned().into()),
        headers: headers.iter().map(|&(name, value)| Header::text(name, value)).collect(),
        timestamp: NOW.into(),
    }
}

/// Creates a SQLite database in memory, with the tables of the framework and of `migrations`.
///
/// # Panics
/// Panics if the database cannot be opened or a migration fails.
#[cfg(feature = "sqlite")]
pub async fn database(migrations: &'static [Migration]) -> Database {
    let database = Database::open("sqlite::memory:").await.unwrap_or_else(|error| panic!("{error}"));
    migrate(&database, migrations).await;
    database
}

/// Creates the tables of the framework and of `migrations` in a database that a test has opened, for example in a PostgreSQL schema of its
/// own.
///
/// # Panics
/// Panics if a migration fails.
pub async fn migrate(database: &Database, migrations: &'static [Migration]) {
    let migrated = async {
        database.store().migrate().await?;
        database.store().migrate_set("test", migrations).await
    };
    migrated.await.unwrap_or_else(|error| panic!("{error}"));
}

/// Runs one SQL statement in its own transaction, to prepare the data of a handler.
///
/// # Panics
/// Panics if the statement fails.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub async fn execute(database: &Database, sql: &'static str) {
    let executed = async {
        let (mut tx, open) = tx(database).await?;
        sqlx::query(sql).execute(&mut tx).await?;
        drop(tx);
        Ok::<_, Fault>(open.commit().await?)
    };
    executed.await.unwrap_or_else(|error| panic!("{error}"));
}

/// Begins a transaction on `database` for a handler that takes `Tx`. The test keeps the returned [`Open`].
///
/// # Errors
/// Returns an error if the transaction cannot be begun.
pub async fn tx(database: &Database) -> Result<(Tx, Open), StoreError> {
    let open = Open(TxSlot::default());
    let tx = begin(database, open.0.clone()).await?;
    Ok((tx, open))
}

/// Creates the `Work` of a handler that calls other systems before it begins its transaction on `database`. The test keeps the returned
/// [`Open`].
pub fn work(database: &Database) -> (Work, Open) {
    let open = Open(TxSlot::default());
    let (database, slot) = (database.clone(), open.0.clone());
    let work = Work::new(Box::new(move || Box::pin(async move { begin(&database, slot).await.map_err(Fault::from) })));
    (work, open)
}

async fn begin(database: &Database, slot: TxSlot) -> Result<Tx, StoreError> {
    Ok(Tx::lend(database.store().begin().await?, slot, false, IdSource::random(), NOW))
}

/// The transaction that a handler was given. If it is dropped without [`commit`](Self::commit), it is rolled back, as it is when a handler
/// fails.
#[must_use = "without `commit` the transaction is rolled back"]
pub struct Open(TxSlot);

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").finish_non_exhaustive()
    }
}

impl Open {
    /// Commits what the handler has written, calls its after-commit hooks, and returns the events that it has published on its `Tx`. The
    /// events that the handler returned are not included: the test has them already.
    ///
    /// # Errors
    /// Returns an error if the commit fails.
    ///
    /// # Panics
    /// Panics if there is nothing to commit: the handler still has its `Tx`, or has not begun its `Work`.
    pub async fn commit(self) -> Result<Published, StoreError> {
        let Some(returned) = self.0.take() else {
            panic!("no transaction came back: the handler still has its `Tx`, or has not begun its `Work`");
        };
        returned.tx.commit().await?;
        for hook in returned.after_commit {
            hook.call();
        }
        Ok(Published(returned.published.into_iter().map(|(_, event)| event).collect()))
    }
}

/// The events that a handler has published on its `Tx`.
#[derive(Debug)]
pub struct Published(Vec<Outgoing>);

impl Published {
    /// Returns the events of one type, in order.
    ///
    /// # Panics
    /// Panics if one of them cannot be decoded.
    pub fn of<E: Event>(&self) -> Vec<E> {
        let of_type = self.0.iter().filter(|event| (event.name, event.topic) == (E::NAME, E::TOPIC));
        of_type.map(|event| E::read(&event.value, event.version).unwrap_or_else(|fault| panic!("{fault}"))).collect()
    }

    /// Returns the number of events, of all types.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no events.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(all(test, feature = "sqlite"))]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    };

    use serde::{Deserialize, Serialize};

    use super::{database, meta, tx, work};
    use crate::{
        extract::Work,
        failure::Fault,
        message::{Event, Json},
        store::{Database, Migration, Tx},
    };

    const MIGRATIONS: &[Migration] =
        &[Migration { version: 1, name: "notes", sql: "CREATE TABLE notes (number BIGINT NOT NULL)" }];

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Noted(u64);

    impl Event for Noted {
        type Key = u64;
        type Codec = Json;
        const NAME: &'static str = "Noted";
        const TOPIC: &'static str = "notes";
        const VERSION: u32 = 1;
        fn key(&self) -> String {
            self.0.to_string()
        }
    }

    async fn note(number: i64, mut tx: Tx) -> Result<(), Fault> {
        sqlx::query("INSERT INTO notes (number) VALUES ($1)").bind(number).execute(&mut tx).await?;
        tx.publish(&Noted(7))?;
        Ok(())
    }

    async fn call_out_and_note(work: Work, called: Arc<AtomicBool>) -> Result<(), Fault> {
        let mut tx = work.begin().await?;
        tx.after_commit(move || called.store(true, Ordering::SeqCst));
        note(2, tx).await
    }

    async fn notes(database: &Database) -> Vec<i64> {
        sqlx::query_scalar("SELECT number FROM notes ORDER BY number").fetch_all(database).await.expect("notes")
    }

    #[tokio::test]
    async fn what_is_committed_is_there_and_what_is_dropped_is_not() {
        let database = database(MIGRATIONS).await;
        let (given, open) = tx(&database).await.expect("a transaction");
        note(1, given).await.expect("noted");
        assert_eq!(open.commit().await.expect("committed").of::<Noted>(), [Noted(7)]);

        let (given, open) = tx(&database).await.expect("a transaction");
        note(9, given).await.expect("noted");
        drop(open);

        let called = Arc::new(AtomicBool::new(false));
        let (given, open) = work(&database);
        call_out_and_note(given, called.clone()).await.expect("noted");
        assert!(!called.load(Ordering::SeqCst));
        assert_eq!(open.commit().await.expect("committed").len(), 1);
        assert!(called.load(Ordering::SeqCst), "the hook is called after the commit");
        assert_eq!(notes(&database).await, [1, 2]);
    }

    #[tokio::test]
    #[should_panic(expected = "the handler still has its `Tx`, or has not begun its `Work`")]
    async fn nothing_is_committed_under_a_handler() {
        let (_given, open) = tx(&Database::memory()).await.expect("a transaction");
        let _ = open.commit().await;
    }

    #[test]
    fn a_message_is_known_as_one_that_came() {
        let mut known = meta(&Noted(7));
        assert_eq!((known.key.as_deref(), &*known.topic, known.attempt), (Some("7"), "notes", 1));
        assert_eq!(known.envelope.event_type.as_deref(), Some("Noted"));
        let first = known.idempotency_key();
        known.attempt = 2;
        assert_eq!(known.idempotency_key(), first);
        assert_ne!(meta(&Noted(7)).idempotency_key(), first, "another message");
    }
}
