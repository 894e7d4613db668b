//! An app that fails to start leaves no running task, and leaves its database and log unchanged.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sagas::{
    App,
    message::Record,
    port::transport::{GroupLag, Position, Subscription, TopicSpec, Transport},
    prelude::*,
    store::Migration,
    time::Clock,
    transport::{TransportError, memory::Memory},
};

use crate::support::*;

/// A log that cannot be read, and that accepts records only when the test allows it.
struct Unreadable {
    inner: Memory,
    takes: AtomicBool,
    made: AtomicBool,
}

impl Unreadable {
    fn new(clock: &Clock) -> Self {
        Self { inner: Memory::with_clock(clock.clone()), takes: AtomicBool::new(false), made: AtomicBool::new(false) }
    }
}

#[async_trait]
impl Transport for Unreadable {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.made.store(true, Ordering::SeqCst);
        self.inner.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        if self.takes.load(Ordering::SeqCst) {
            return self.inner.publish(records).await;
        }
        records.iter().map(|_| Err(TransportError::Unavailable("not yet".to_owned()))).collect()
    }

    async fn subscribe(&self, _group: &str, _topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        Err(TransportError::Unavailable("nobody reads this log".to_owned()))
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.inner.lag(group, topics).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.inner.check().await
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[tokio::test]
async fn an_app_that_cannot_start_sends_nothing_afterwards_and_leaves_the_databases_open() {
    for (ours, theirs) in databases().await.into_iter().zip(databases().await) {
        let clock = clock();
        let log = Arc::new(Unreadable::new(&clock));
        let store = ours.store();
        store.migrate().await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.append_outbox("payments", &[record(Some(b"a"), Some(b"{}"), &[])]).await.unwrap();
        tx.commit().await.unwrap();

        // The other service starts before the one that fails.
        let other = Service::new("a-publisher", theirs.clone());
        let payments = service(&ours, &Plan::done()).handlers(handlers![bare]);
        let start = App::new("shop").services([other, payments]).clock(clock.clone()).start(log.clone());
        let error = start.await.err().unwrap().to_string();
        assert!(error.contains("service `payments`") && error.contains("nobody reads this log"), "{error}");

        log.takes.store(true, Ordering::SeqCst);
        advance_until(&clock, "the app has ended", || async { Arc::strong_count(&log) == 1 }).await;
        clock.advance(Duration::from_secs(60));
        let ends = log.lag("anybody", &["orders".to_owned()]).await.unwrap();
        assert!(ends.iter().all(|lag| lag.end == 0), "{ends:?}: nobody is left who sends");
        for (database, service) in [(&ours, "payments"), (&theirs, "a-publisher")] {
            let mut tx = database.store().begin().await.unwrap();
            // The failed program has not recorded its handlers, which a corrected program would have to take over.
            assert_eq!(tx.takers(service).await.unwrap(), []);
            tx.commit().await.unwrap();
            let rows = database.store().outbox(service, 0, 10).await.unwrap().len();
            assert_eq!(rows, usize::from(service == "payments"));
            // It has not recorded the events that it would have handled, either.
            assert_eq!(database.store().handled().events(service).await.unwrap(), []);
        }
    }
}

#[tokio::test]
async fn no_topic_is_made_for_an_app_that_a_database_refuses() {
    static OUT_OF_ORDER: &[Migration] = &[Migration { version: 2, name: "entries", sql: "CREATE TABLE entries (id INTEGER)" }];
    for (ours, theirs) in databases().await.into_iter().zip(databases().await) {
        let clock = clock();
        let log = Arc::new(Unreadable::new(&clock));
        let services = [
            Service::new("a-publisher", theirs.clone()),
            service(&ours, &Plan::done()).handlers(handlers![bare]).migrations(OUT_OF_ORDER),
        ];
        let start = App::new("shop").services(services).clock(clock.clone()).start(log.clone());
        let error = start.await.err().unwrap().to_string();
        assert!(error.contains("service `payments`: the database refused") && error.contains("migration `entries`"), "{error}");
        assert!(!log.made.load(Ordering::SeqCst), "topics were made");
    }
}
