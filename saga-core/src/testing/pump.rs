//! A small test pump: services on a log in memory and a clock that stands still, driven message by message.
//!
//! It runs the real [`App`], so what a test sees is what a deployment does; only the log, the clock and the identities are
//! the test's own.

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
    transport::{Delivery, Subscription, TopicSpec, Transport, memory::Memory},
};

/// How long a test waits, in real time, for services to come to rest.
const PATIENCE: Duration = Duration::from_secs(60);

/// Services under test.
pub struct Pump {
    handle: Handle,
    transport: Arc<dyn Transport>,
    clock: Clock,
    ids: IdSource,
    readers: AtomicU64,
}

/// A pump before it runs.
pub struct PumpBuilder {
    app: App,
    transport: Arc<dyn Transport>,
    clock: Clock,
    seed: u64,
}

/// Where pumps note that they have started, so that each on a log has identities of its own.
const STARTS: &str = "pump.starts";

impl Pump {
    /// A pump with these services, at 2026-01-01T00:00:00Z, with the seed 0.
    pub fn of(services: impl IntoIterator<Item = Service>) -> PumpBuilder {
        let clock = Clock::manual(Timestamp::from_millis(1_767_225_600_000));
        let transport = Arc::new(Memory::with_clock(clock.clone()));
        let app = App::new("test").services(services.into_iter().map(Service::unserved));
        PumpBuilder { app, transport, clock, seed: 0 }
    }

    /// Publishes `event`, as somebody called `test` would, and gives its identity.
    ///
    /// # Panics
    /// When the log does not take it.
    pub async fn publish<E: Event>(&self, event: &E) -> String {
        let (now, id) = (self.clock.now(), self.ids.uuid(self.clock.now()));
        let context = Context::root(id.to_string(), TraceContext::root(&self.ids));
        let outgoing = Outgoing::of(event).unwrap_or_else(|fault| panic!("{fault}"));
        self.publish_record(outgoing.into_record(&id.into(), "test", now, &context)).await;
        id.to_string()
    }

    /// Publishes `record` as it is.
    ///
    /// # Panics
    /// When the log does not take it.
    pub async fn publish_record(&self, record: Record) {
        for result in self.transport.publish(vec![record]).await {
            result.unwrap_or_else(|error| panic!("the log did not take the record: {error}"));
        }
    }

    /// Waits until all that was published is handled, and nothing is left but what waits for its time.
    ///
    /// # Panics
    /// When that takes longer than a minute of real time.
    pub async fn run_until_quiet(&self) {
        let quiet = tokio::time::timeout(PATIENCE, self.handle.quiet()).await;
        assert!(quiet.is_ok(), "the services did not come to rest within {PATIENCE:?}");
    }

    /// Moves the clock forward by `by`, and waits until all that became due is done.
    ///
    /// # Panics
    /// As [`run_until_quiet`](Self::run_until_quiet).
    pub async fn advance(&self, by: Duration) {
        self.clock.advance(by);
        self.run_until_quiet().await;
    }

    /// Every event of type `E` that was published so far; those of one key in order.
    ///
    /// # Panics
    /// When the topic cannot be read, or a record of that type is no `E`.
    pub async fn published<E: Event>(&self) -> Vec<E> {
        let records = self.records(E::TOPIC).await;
        let of_type = records.iter().filter(|received| received.record.header("ce_type") == Some(E::NAME));
        of_type
            .map(|received| {
                let value = received.record.value.as_deref().unwrap_or_default();
                E::from_json(value).unwrap_or_else(|error| panic!("a {} cannot be read: {error}", E::NAME))
            })
            .collect()
    }

    /// Every record of `topic`, partition by partition.
    ///
    /// # Panics
    /// When the topic cannot be read.
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

    /// The service called `name`.
    ///
    /// # Panics
    /// When there is none.
    pub fn service(&self, name: &str) -> &ServiceHandle {
        self.handle.service(name).unwrap_or_else(|| panic!("the pump has no service `{name}`"))
    }

    /// The clock, which stands still until [`advance`](Self::advance) moves it.
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Stops the services.
    ///
    /// # Panics
    /// When they do not end in time.
    pub async fn stop(self) {
        assert!(self.handle.stop().await, "the services did not end in time");
    }
}

impl PumpBuilder {
    /// On `transport` instead of a log in memory.
    #[must_use]
    pub fn on(mut self, transport: Arc<dyn Transport>) -> Self {
        self.transport = transport;
        self
    }

    /// With identities and randomness from `seed`, and from how many pumps have started on the log before this one.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Has the whole flow `S` checked, as [`App::saga`] does.
    #[must_use]
    pub fn saga<S: Saga>(mut self) -> Self {
        self.app = self.app.saga::<S>();
        self
    }

    /// With a service of the flow that runs elsewhere: the test publishes what it would publish ([`App::remote`]).
    #[must_use]
    pub fn remote(mut self, remote: Remote) -> Self {
        self.app = self.app.remote(remote);
        self
    }

    /// With its spans to `traces`.
    #[cfg(feature = "otel")]
    #[must_use]
    pub fn traces(mut self, traces: crate::runtime::Traces) -> Self {
        self.app = self.app.traces(traces);
        self
    }

    /// With `clock` instead of one of its own.
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Starts the services. `topics` are topics besides theirs that the test publishes to.
    ///
    /// # Errors
    /// As [`App::start`].
    pub async fn try_start(self, topics: &[&str]) -> Result<Pump, StartError> {
        let Self { app, transport, clock, seed } = self;
        let mut extra: Vec<_> = topics.iter().map(|name| TopicSpec { name: (*name).to_owned(), partitions: 3 }).collect();
        extra.push(TopicSpec { name: STARTS.to_owned(), partitions: 1 });
        if let Err(error) = transport.ensure_topics(&extra).await {
            panic!("the topics {topics:?} could not be made: {error}");
        }
        let before = starts_before(&*transport, clock.now()).await;
        // Far from the seeds that a test would choose.
        let ids = IdSource::seeded(seed.wrapping_add(before.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        let handle = app.clock(clock.clone()).ids(ids.clone()).start(transport.clone()).await?;
        Ok(Pump { handle, transport, clock, ids, readers: AtomicU64::new(0) })
    }

    /// Starts the services.
    ///
    /// # Panics
    /// When they do not start.
    pub async fn start(self) -> Pump {
        self.try_start(&[]).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Notes one more start on the log, and says how many there were before. A log that takes nothing now counts none.
async fn starts_before(transport: &dyn Transport, now: Timestamp) -> u64 {
    let start = Record { topic: STARTS.to_owned(), key: None, value: None, headers: Vec::new(), timestamp: now.into() };
    match transport.publish(vec![start]).await.pop() {
        Some(Ok(position)) => position.offset.unsigned_abs(),
        _ => 0,
    }
}

/// Reads until every partition has been read up to its end.
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
