//! A small test pump: services on a log in memory and a manual clock, driven message by message.
//!
//! It runs the real [`App`], so a test observes what a deployment does. Only the log, the clock and the ids are the test's own.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    id::IdSource,
    message::{Context, Event, Outgoing, Received, Record, TopicPartition, TraceContext},
    runtime::{App, Handle, Remote, Service, ServiceHandle, StartError},
    saga::Saga,
    time::{Clock, Timestamp},
    transport::{Delivery, Subscription, TopicNames, TopicSpec, Transport, memory::Memory},
};

/// The time, in real time, that a test waits until services are idle.
const PATIENCE: Duration = Duration::from_secs(60);

/// Services under test.
pub struct Pump {
    handle: Handle,
    transport: Arc<dyn Transport>,
    clock: Clock,
    ids: IdSource,
    readers: AtomicU64,
}

impl std::fmt::Debug for Pump {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pump").field("handle", &self.handle).finish_non_exhaustive()
    }
}

/// A pump that is not started yet.
pub struct PumpBuilder {
    app: App,
    transport: Arc<dyn Transport>,
    clock: Clock,
    seed: u64,
}

impl std::fmt::Debug for PumpBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PumpBuilder").field("app", &self.app).field("seed", &self.seed).finish_non_exhaustive()
    }
}

/// The topic in which pumps record their starts, so that each pump on a log generates other ids.
const STARTS: &str = "pump.starts";

impl Pump {
    /// Creates a pump with these services, at 2026-01-01T00:00:00Z, with the seed 0.
    pub fn of(services: impl IntoIterator<Item = Service>) -> PumpBuilder {
        let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
        let transport = Arc::new(Memory::with_clock(clock.clone()));
        let app = App::new("test").services(services.into_iter().map(Service::without_unreachable_servers));
        PumpBuilder { app, transport, clock, seed: 0 }
    }

    /// Publishes `event` with the source `test`, and returns its message id.
    ///
    /// # Panics
    /// Panics if the log does not accept it.
    pub async fn publish<E: Event>(&self, event: &E) -> String {
        let (now, id) = (self.clock.now(), self.ids.uuid(self.clock.now()));
        let context = Context::root(id.to_string(), TraceContext::root(&self.ids));
        let outgoing = Outgoing::of(event).unwrap_or_else(|fault| panic!("{fault}"));
        self.publish_record(outgoing.into_record(&id.into(), "test", now, &context)).await;
        id.to_string()
    }

    /// Publishes `record` unchanged.
    ///
    /// # Panics
    /// Panics if the log does not accept it.
    pub async fn publish_record(&self, record: Record) {
        for result in self.transport.publish(vec![record]).await {
            result.unwrap_or_else(|error| panic!("the log did not take the record: {error}"));
        }
    }

    /// Waits until all published messages are handled, except those that wait for a time.
    ///
    /// # Panics
    /// Panics after a minute of real time.
    pub async fn run_until_quiet(&self) {
        if tokio::time::timeout(PATIENCE, self.handle.quiet()).await.is_err() {
            let with = self.handle.busy_with().await.unwrap_or_else(|| "nothing any more".to_owned());
            panic!("the services did not come to rest within {PATIENCE:?}; busy with this: {with}");
        }
    }

    /// Moves the clock forward by `by`, from one time at which something is due to the next, and waits each time until that is done.
    /// Retries and deadlines therefore happen as often, and in the same order, as if the time had passed.
    ///
    /// # Panics
    /// Panics as [`run_until_quiet`](Self::run_until_quiet) does.
    pub async fn advance(&self, by: Duration) {
        let until = self.clock.now().after(by);
        while let Some(due) = self.handle.next_due().await.filter(|due| *due < until) {
            let before = self.clock.now();
            self.clock.advance(due.since(before));
            self.run_until_quiet().await;
            // What is due and not done, such as a message of a paused partition, does not hold up the clock.
            if due <= before {
                break;
            }
        }
        self.clock.advance(until.since(self.clock.now()));
        self.run_until_quiet().await;
    }

    /// Returns every published event of type `E`. Events with the same key are in order.
    ///
    /// # Panics
    /// Panics if the topic cannot be read, or if a record of that type is not a valid `E`.
    pub async fn published<E: Event>(&self) -> Vec<E> {
        let records = self.records(E::TOPIC).await;
        let of_type = records.iter().filter(|received| received.record.header("ce_type") == Some(E::NAME));
        of_type
            .map(|received| {
                let value = received.record.value.as_deref().unwrap_or_default();
                let version = received.record.header("ce_schemaversion").and_then(|version| version.parse().ok()).unwrap_or(1);
                E::read(value, version).unwrap_or_else(|fault| panic!("{fault}"))
            })
            .collect()
    }

    /// Returns every record of `topic`, partition by partition.
    ///
    /// # Panics
    /// Panics if the topic cannot be read.
    pub async fn records(&self, topic: &str) -> Vec<Received> {
        let group = format!("pump-reader-{}", self.readers.fetch_add(1, Ordering::Relaxed));
        let topics = [topic.to_owned()];
        let read = async {
            let reader = self.transport.subscribe(&group, &topics).await?;
            let lags = self.transport.lag(&group, &topics).await?;
            let ends = lags.into_iter().map(|lag| (lag.partition, lag.end)).filter(|(_, end)| *end > 0).collect();
            read_to(reader, ends).await
        };
        read.await.unwrap_or_else(|error| panic!("topic `{topic}` cannot be read: {error}"))
    }

    /// Returns the service with this name.
    ///
    /// # Panics
    /// Panics if there is none.
    pub fn service(&self, name: &str) -> &ServiceHandle {
        self.handle.service(name).unwrap_or_else(|| panic!("the pump has no service `{name}`"))
    }

    /// Returns the clock, which only [`advance`](Self::advance) moves.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Stops the services.
    ///
    /// # Panics
    /// Panics if they do not stop in time.
    pub async fn stop(self) {
        assert!(self.handle.stop().await, "the services did not end in time");
    }
}

impl PumpBuilder {
    /// Uses `transport` instead of a log in memory.
    #[must_use]
    pub fn on(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = transport;
        self
    }

    /// Sets the names of the topics, as [`App::topics`] does. The pump publishes and reads with the names in the code.
    #[must_use]
    pub fn topics(mut self, names: TopicNames) -> Self {
        self.app = self.app.topics(names);
        self
    }

    /// Sets the seed of ids and randomness. They also depend on the number of earlier starts of pumps on the log.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Checks the whole saga `S`, as [`App::saga`] does.
    #[must_use]
    pub fn saga<S: Saga>(mut self) -> Self {
        self.app = self.app.saga::<S>();
        self
    }

    /// Declares a participant that runs elsewhere ([`App::remote`]). The test publishes its events.
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.app = self.app.remote(remote);
        self
    }

    /// Exports the spans to `traces`.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn traces(mut self, traces: crate::runtime::Traces) -> Self {
        self.app = self.app.traces(traces);
        self
    }

    /// Uses `clock` instead of a new one.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the services. `topics` are further topics that the test publishes to.
    ///
    /// # Errors
    /// Returns the same errors as [`App::start`].
    pub async fn try_start(self, topics: &[&str]) -> Result<Pump, StartError> {
        let Self { app, transport: log, clock, seed } = self;
        let transport = app.log(log.clone());
        let mut extra: Vec<_> = topics.iter().map(|name| TopicSpec { name: (*name).to_owned(), partitions: 3 }).collect();
        extra.push(TopicSpec { name: STARTS.to_owned(), partitions: 1 });
        if let Err(error) = transport.ensure_topics(&extra).await {
            panic!("the topics {topics:?} could not be made: {error}");
        }
        let before = starts_before(&*transport, clock.now()).await;
        // The factor keeps these seeds away from those that a test would choose.
        let ids = IdSource::seeded(seed.wrapping_add(before.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let handle = app.clock(clock.clone()).ids(ids.clone()).start(log).await?;
        Ok(Pump { handle, transport, clock, ids, readers: AtomicU64::new(0) })
    }

    /// Starts the services.
    ///
    /// # Panics
    /// Panics if they do not start.
    pub async fn start(self) -> Pump {
        self.try_start(&[]).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Records one more start on the log, and returns the number of earlier ones; 0 if the log accepts nothing now.
async fn starts_before(transport: &dyn Transport, now: Timestamp) -> u64 {
    let start = Record { topic: STARTS.to_owned(), key: None, value: None, headers: Vec::new(), timestamp: now.into() };
    match transport.publish(vec![start]).await.pop() {
        Some(Ok(position)) => position.offset.unsigned_abs(),
        _ => 0,
    }
}

/// Reads every partition up to its end.
async fn read_to(
    mut reader: Box<dyn Subscription>,
    mut ends: HashMap<TopicPartition, i64>,
) -> Result<Vec<Received>, crate::transport::TransportError> {
    let mut all = Vec::new();
    while !ends.is_empty() {
        match reader.next().await? {
            Delivery::Assigned(partitions) => reader.start(&partitions.into_iter().map(|at| (at, None)).collect::<Vec<_>>()),
            Delivery::Records { partition, records } => {
                if let (Some(end), Some(last)) = (ends.get(&partition), records.last())
                    && last.offset + 1 >= *end
                {
                    ends.remove(&partition);
                }
                all.extend(records);
            }
            Delivery::Passed { .. } | Delivery::Revoked(_) | Delivery::Lost(_) | Delivery::Gap { .. } => {}
        }
    }
    reader.close().await;
    all.sort_by_key(|received| (received.partition, received.offset));
    Ok(all)
}
