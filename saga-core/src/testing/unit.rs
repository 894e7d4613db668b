//! What a handler takes besides its event, for a test that calls it as the async fn that it is.

use std::sync::Arc;

use crate::{
    extract::{Meta, Work},
    failure::Fault,
    id::IdSource,
    message::{Context, Envelope, Event, Outgoing, Received, TraceContext},
    store::{Database, Migration, StoreError, Tx, TxSlot},
    time::Timestamp,
};

/// When the messages of these tests are handled: 2026-01-01T00:00:00Z.
const NOW: Timestamp = Timestamp::from_millis(1_767_225_600_000);

/// What is known of a message that carries `event`: the first attempt, of a service and a handler called `test`. Its fields can be set to
/// something else: `meta.attempt = 3`.
///
/// # Panics
/// When the event's `Serialize` fails.
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

/// A database in memory with the tables that `migrations` make.
///
/// # Panics
/// When it cannot be opened, or a migration fails.
#[cfg(feature = "sqlite")]
pub async fn database(migrations: &'static [Migration]) -> Database {
    let database = Database::open("sqlite::memory:").await.unwrap_or_else(|error| panic!("{error}"));
    let migrated = async {
        database.store().migrate().await?;
        database.store().migrate_set("test", migrations).await
    };
    migrated.await.unwrap_or_else(|error| panic!("{error}"));
    database
}

/// A transaction on `database` for a handler that takes `Tx`, and what the test keeps of it.
///
/// # Errors
/// When none can be begun.
pub async fn tx(database: &Database) -> Result<(Tx, Open), StoreError> {
    let open = Open(TxSlot::default());
    let tx = begin(database, open.0.clone()).await?;
    Ok((tx, open))
}

/// The `Work` of a handler that calls out before it begins its transaction on `database`, and what the test keeps of that.
pub fn work(database: &Database) -> (Work, Open) {
    let open = Open(TxSlot::default());
    let (database, slot) = (database.clone(), open.0.clone());
    let work = Work::new(Box::new(move || Box::pin(async move { begin(&database, slot).await.map_err(Fault::from) })));
    (work, open)
}

async fn begin(database: &Database, slot: TxSlot) -> Result<Tx, StoreError> {
    Ok(Tx::lend(database.store().begin().await?, slot, false, IdSource::random(), NOW))
}

/// The transaction that a handler was given. Dropped without [`commit`](Self::commit), it is rolled back, as it is for a handler that
/// fails.
#[must_use = "without `commit` the transaction is rolled back"]
pub struct Open(TxSlot);

impl Open {
    /// Commits what the handler has written, calls the hooks that it has given, and gives the events that it has published on its `Tx`.
    /// What it returns, it has returned to the test.
    ///
    /// # Errors
    /// When the commit fails.
    ///
    /// # Panics
    /// When there is nothing to commit: the handler has not given its `Tx` back, or has not begun its `Work`.
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
    /// Those of one type, in order.
    ///
    /// # Panics
    /// When one cannot be read as what it was written as.
    pub fn of<E: Event>(&self) -> Vec<E> {
        let of_type = self.0.iter().filter(|event| (event.name, event.topic) == (E::NAME, E::TOPIC));
        of_type.map(|event| E::from_json(&event.value).unwrap_or_else(|error| panic!("{}: {error}", E::NAME))).collect()
    }

    /// How many there are, of all types.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
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
        message::Event,
        store::{Database, Migration, Tx},
    };

    const MIGRATIONS: &[Migration] =
        &[Migration { version: 1, name: "notes", sql: "CREATE TABLE notes (number BIGINT NOT NULL)" }];

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Noted(u64);

    impl Event for Noted {
        type Key = u64;
        const NAME: &'static str = "Noted";
        const TOPIC: &'static str = "notes";
        const VERSION: u32 = 1;
        fn key(&self) -> &u64 {
            &self.0
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
