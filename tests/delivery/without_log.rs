//! An app that may start while its log is unreachable: it publishes at once, and does what the start has left out when the log answers.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use sagas::{
    App, Handle, Settings, StartError,
    handler::Handler,
    health::Status,
    message::Record,
    port::transport::{
        Condition, GroupLag, PartitionOffsets, Position, Subscription, TopicExpectation, TopicFinding, TopicSpec, Transport,
        Weight,
    },
    prelude::*,
    time::{Clock, Timestamp},
    transport::{TransportError, memory::Memory},
};
use serde::{Deserialize, Serialize};

use crate::support::{instance::publish, *};

/// Another topic, whose handler a later program does not have.
#[event(topic = "returns", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Returned {
    order_id: String,
}

#[handler]
async fn take_back(On(_returned): On<Returned>) {}

/// A log that can be unreachable, and counts the calls meanwhile.
struct Remote {
    log: Memory,
    away: AtomicBool,
    calls: AtomicUsize,
    findings: Mutex<Vec<TopicFinding>>,
    /// Why no topic is created, if none is.
    refused: Mutex<Option<TransportError>>,
    /// A topic that is not there any more.
    gone: Mutex<Option<String>>,
}

impl Remote {
    fn new(clock: &Clock) -> Arc<Self> {
        let (findings, refused, gone) = (Mutex::default(), Mutex::default(), Mutex::default());
        let (away, calls) = (AtomicBool::new(true), AtomicUsize::new(0));
        Arc::new(Self { log: Memory::with_clock(clock.clone()), away, calls, findings, refused, gone })
    }

    fn answer(&self, answers: bool) {
        self.away.store(!answers, Ordering::SeqCst);
    }

    fn ask(&self) -> Result<(), TransportError> {
        match self.away.load(Ordering::SeqCst) {
            true => {
                self.calls.fetch_add(1, Ordering::SeqCst);
                Err(TransportError::Unavailable("no broker can be reached at far-away:9092".to_owned()))
            }
            false => Ok(()),
        }
    }

    fn ask_for(&self, topics: &[String]) -> Result<(), TransportError> {
        self.ask()?;
        match self.gone.lock().unwrap().clone().filter(|gone| topics.contains(gone)) {
            Some(gone) => Err(TransportError::UnknownTopic(gone)),
            None => Ok(()),
        }
    }

    /// How many records `topic` has.
    async fn count(&self, topic: &str) -> i64 {
        self.log.offsets(topic, None).await.map_or(0, |offsets| offsets.iter().map(|of| of.end - of.oldest).sum())
    }
}

#[async_trait]
impl Transport for Remote {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.ask()?;
        match self.refused.lock().unwrap().as_ref() {
            Some(TransportError::InvalidTopic { topic, reason }) => {
                return Err(TransportError::InvalidTopic { topic: topic.clone(), reason: reason.clone() });
            }
            Some(error) => return Err(TransportError::Unavailable(error.to_string())),
            None => {}
        }
        self.log.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        if self.ask().is_err() {
            return records.iter().map(|_| Err(TransportError::Unavailable("no broker takes it".to_owned()))).collect();
        }
        self.log.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.ask_for(topics)?;
        self.log.subscribe(group, topics).await
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.ask_for(topics)?;
        self.log.lag(group, topics).await
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        self.ask_for(&[topic.to_owned()])?;
        self.log.offsets(topic, at).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.ask()
    }

    async fn conditions(&self, _: &str, _: &[String]) -> Result<Vec<Condition>, TransportError> {
        self.ask().map(|()| Vec::new())
    }

    async fn check_topics(&self, _: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        self.ask()?;
        Ok(self.findings.lock().unwrap().clone())
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

struct World {
    database: Database,
    clock: Clock,
    log: Arc<Remote>,
    plan: Plan,
    settings: Settings,
}

impl World {
    fn new(database: Database) -> Self {
        let clock = clock();
        let log = Remote::new(&clock);
        Self { database, clock, log, plan: Plan::done(), settings: Settings::default() }
    }

    fn app(&self, handlers: impl IntoIterator<Item = Handler>) -> App {
        let service = service(&self.database, &self.plan).handlers(handlers).settings(self.settings.clone());
        App::new("shop").service(service.publishes::<Placed>()).clock(self.clock.clone())
    }

    async fn try_start(&self, handlers: impl IntoIterator<Item = Handler>) -> Result<Handle, StartError> {
        self.app(handlers).allow_unreachable_log(true).start(self.log.clone()).await
    }

    async fn start(&self, handlers: impl IntoIterator<Item = Handler>) -> Handle {
        self.try_start(handlers).await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Moves the clock until `condition` holds.
    async fn until(&self, what: &str, condition: impl AsyncFnMut() -> bool) {
        advance_until(&self.clock, what, condition).await;
    }

    /// Waits for the condition of this name; its severity and detail.
    async fn condition(&self, handle: &Handle, name: &str) -> (String, String) {
        self.until(name, || async { condition(handle, name).await.is_some() }).await;
        condition(handle, name).await.unwrap()
    }

    /// Waits until the service is ready.
    async fn ready(&self, handle: &Handle) {
        let health = handle.service("payments").unwrap().health();
        self.until("ready", || async { health.ready().await.status == Status::Up }).await;
    }
}

async fn condition(handle: &Handle, name: &str) -> Option<(String, String)> {
    let report = handle.service("payments").unwrap().health().report().await;
    let all = report.checks["conditions"].values["conditions"].clone();
    let found = all.as_array()?.iter().find(|condition| condition["condition"] == name)?.clone();
    Some((found["severity"].as_str()?.to_owned(), found["detail"].as_str()?.to_owned()))
}

async fn place(handle: &Handle, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let mut work = handle.service("payments").unwrap().begin().await.unwrap();
        work.publish(&placed("a", number)).unwrap();
        work.commit().await.unwrap();
    }
}

#[tokio::test]
async fn without_the_choice_an_unreachable_log_is_a_start_error() {
    let world = World::new(Database::memory());
    let error = world.app(handlers![bare]).start(world.log.clone()).await.err().unwrap().to_string();
    assert!(error.contains("the topics could not be made") && error.contains("far-away:9092"), "{error}");
}

#[tokio::test]
async fn what_is_published_meanwhile_is_handled_once_and_in_order_when_the_log_answers() {
    for database in databases().await {
        let world = World::new(database);
        let handle = world.start(handlers![bare]).await;
        place(&handle, 0..5).await;
        let (severity, detail) = world.condition(&handle, "log_unreachable").await;
        assert!(severity == "CRITICAL" && detail.contains("far-away:9092"), "{severity} {detail}");
        assert_eq!(condition(&handle, "topics_not_ready").await, None, "one problem is one condition");
        assert_eq!(handle.service("payments").unwrap().health().ready().await.status, Status::Down);
        assert!(world.plan.calls().is_empty());

        world.log.answer(true);
        world.until("all are handled", || async { world.plan.numbers("a").len() >= 5 }).await;
        place(&handle, 5..8).await;
        world.until("all are handled", || async { world.plan.numbers("a").len() >= 8 }).await;
        world.ready(&handle).await;
        assert_eq!(world.plan.numbers("a"), [0, 1, 2, 3, 4, 5, 6, 7]);
        world.until("all answers are sent", || async { world.log.count("payments").await == 8 }).await;
        assert!(handle.stop().await);
    }
}

#[tokio::test]
async fn a_service_that_only_publishes_gets_its_topics() {
    let world = World::new(Database::memory());
    let handle = world.start([]).await;
    place(&handle, 0..3).await;
    world.condition(&handle, "log_unreachable").await;
    world.log.answer(true);
    world.until("the events are sent", || async { world.log.count("orders").await == 3 }).await;
    // Also those of which nothing was published.
    world.until("the topics are there", || async { world.log.log.offsets("payments.dlt", None).await.is_ok() }).await;
    world.ready(&handle).await;
    assert!(handle.stop().await);
}

#[tokio::test]
async fn a_log_that_stays_away_is_asked_now_and_then_only() {
    let world = World::new(Database::memory());
    let handle = world.start(handlers![bare]).await;
    place(&handle, 0..1).await;
    world.condition(&handle, "log_unreachable").await;
    let (before, began) = (world.log.calls.load(Ordering::SeqCst), world.clock.now());
    until("ten minutes", || {
        world.clock.advance(Duration::from_millis(50));
        async { world.clock.now().since(began) >= Duration::from_secs(600) }
    })
    .await;
    let calls = world.log.calls.load(Ordering::SeqCst) - before;
    assert!(calls < 600 * 10, "{calls} calls in ten minutes");
    drop(handle);
}

#[tokio::test]
async fn a_stop_meanwhile_is_bounded_and_the_next_start_sends() {
    let mut world = World::new(Database::memory());
    world.settings.stop_timeout_ms = 500;
    let handle = world.start(handlers![bare]).await;
    assert!(tokio::time::timeout(Duration::from_secs(60), handle.stop()).await.unwrap(), "nothing was left to do");

    let handle = world.start(handlers![bare]).await;
    place(&handle, 0..3).await;
    assert!(!tokio::time::timeout(Duration::from_secs(60), handle.stop()).await.unwrap(), "the outbox is not empty");
    let handle = world.start(handlers![bare]).await;
    place(&handle, 3..4).await;
    world.log.answer(true);
    world.until("all are handled", || async { world.plan.numbers("a").len() >= 4 }).await;
    assert_eq!(world.plan.numbers("a"), [0, 1, 2, 3]);
    world.until("all answers are sent", || async { world.log.count("payments").await == 4 }).await;
    handle.stop().await;
}

#[tokio::test]
async fn what_a_start_refuses_in_the_topics_is_a_condition_afterwards() {
    let world = World::new(Database::memory());
    *world.log.findings.lock().unwrap() = vec![TopicFinding {
        topic: "orders".to_owned(),
        setting: "cleanup.policy".to_owned(),
        weight: Weight::Error,
        detail: "`cleanup.policy` has `compact`".to_owned(),
    }];
    let handle = world.start(handlers![bare]).await;
    world.condition(&handle, "log_unreachable").await;
    world.log.answer(true);
    let (severity, detail) = world.condition(&handle, "topic_setting").await;
    assert!(severity == "CRITICAL" && detail.contains("compact"), "{severity} {detail}");
    assert!(handle.stop().await);

    let error = world.try_start(handlers![bare]).await.err().unwrap().to_string();
    assert!(error.contains("compact"), "a log that answers is checked as always: {error}");
}

#[tokio::test]
async fn topics_that_cannot_be_created_are_a_condition_until_they_can() {
    let missing = || TransportError::InvalidTopic { topic: "orders".to_owned(), reason: "this program creates none".to_owned() };
    let forbidden = || TransportError::Unavailable("grant Create".to_owned());
    for (refusal, cause) in [(missing(), "this program creates none"), (forbidden(), "grant Create")] {
        let world = World::new(Database::memory());
        *world.log.refused.lock().unwrap() = Some(refusal);
        let handle = world.start(handlers![bare]).await;
        world.condition(&handle, "log_unreachable").await;
        world.log.answer(true);
        let (severity, detail) = world.condition(&handle, "topics_not_ready").await;
        assert!(severity == "CRITICAL" && detail.contains(cause), "{severity} {detail}");
        place(&handle, 0..1).await;
        *world.log.refused.lock().unwrap() = None;
        world.until("it is handled", || async { world.plan.numbers("a") == [0] }).await;
        world.ready(&handle).await;
        assert_eq!(condition(&handle, "topics_not_ready").await, None);
        assert!(handle.stop().await);
    }
}

#[tokio::test]
async fn a_topic_that_an_earlier_program_handled_is_decided_on_when_the_log_answers() {
    for is_gone in [false, true] {
        let world = World::new(Database::memory());
        world.log.answer(true);
        let handle = world.start(handlers![bare, take_back]).await;
        assert!(handle.stop().await);

        world.log.answer(false);
        let handle = world.start(handlers![bare]).await;
        world.condition(&handle, "log_unreachable").await;
        if is_gone {
            *world.log.gone.lock().unwrap() = Some("returns".to_owned());
        } else {
            let value = br#"{"order_id":"r"}"#;
            let headers = [("ce_id", "r-1"), ("ce_source", "shop"), ("ce_type", Returned::NAME)];
            let returned = Record { topic: "returns".to_owned(), ..record(Some(b"r"), Some(value), &headers) };
            world.log.log.publish(vec![returned]).await.remove(0).unwrap();
        }
        world.log.answer(true);
        publish(&world.log.log, "a", 1).await;
        world.until("the order is handled", || async { world.plan.numbers("a") == [1] }).await;
        let (_, detail) = world.condition(&handle, "events_unhandled").await;
        assert_eq!(detail.contains("the topic is not read"), is_gone, "{detail}");
        let letters = || async { handle.service("payments").unwrap().dead_letters(0, 10).await.unwrap().1 };
        let wanted = u64::from(!is_gone);
        world.until("the record of the lost handler is kept", || async { letters().await == wanted }).await;
        assert!(handle.stop().await);
    }
}
