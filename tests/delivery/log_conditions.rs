//! A lasting problem with reading or writing the log is a condition: in health by name, in the metrics, and with one log line at
//! its beginning and one at its end.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use sagas::{
    App, Handle, Settings,
    health::Status,
    message::{Record, TopicPartition},
    port::transport::{
        ClientStatistics, Condition, GroupLag, PartitionStatistics, Position, Subscription, TopicExpectation, TopicFinding,
        TopicIdentity, TopicSpec, Transport, Weight,
    },
    prelude::*,
    testing::faulty::{Faults, Faulty},
    time::Clock,
    transport::{TransportError, memory::Memory},
};
use serde_json::Value;

use crate::{
    log_lines::Lines,
    support::{
        instance::{partitions, publish},
        *,
    },
};

/// A log whose conditions and topic findings a test sets, and that rejects records of some topics.
struct Told {
    log: Arc<dyn Transport>,
    conditions: Mutex<Vec<Condition>>,
    findings: Mutex<Vec<TopicFinding>>,
    refusing: Mutex<BTreeMap<String, String>>,
    blocked: Mutex<Option<PartitionStatistics>>,
    identities: Mutex<Vec<TopicIdentity>>,
}

impl Told {
    fn new(log: impl Transport) -> Arc<Self> {
        let (conditions, findings) = (Mutex::default(), Mutex::default());
        let (refusing, blocked, identities) = (Mutex::default(), Mutex::default(), Mutex::default());
        Arc::new(Self { log: Arc::new(log), conditions, findings, refusing, blocked, identities })
    }
}

#[async_trait]
impl Transport for Told {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.log.ensure_topics(topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        let mut answers = Vec::new();
        for record in records {
            let refused = self.refusing.lock().unwrap().get(&record.topic).cloned();
            match refused {
                Some(reason) => answers.push(Err(TransportError::Unavailable(reason))),
                None => answers.extend(self.log.publish(vec![record]).await),
            }
        }
        answers
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.log.subscribe(group, topics).await
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.log.lag(group, topics).await
    }

    async fn identities(&self, _: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        Ok(self.identities.lock().unwrap().clone())
    }

    async fn conditions(&self, _: &str, _: &[String]) -> Result<Vec<Condition>, TransportError> {
        Ok(self.conditions.lock().unwrap().clone())
    }

    async fn check_topics(&self, _: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        Ok(self.findings.lock().unwrap().clone())
    }

    fn statistics(&self) -> Vec<ClientStatistics> {
        let partitions = self.blocked.lock().unwrap().iter().cloned().collect();
        vec![ClientStatistics { group: Some("payments".to_owned()), partitions, ..ClientStatistics::default() }]
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.log.check().await
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

async fn start(log: Arc<dyn Transport>, clock: &Clock, settings: Settings) -> Handle {
    let service = service(&Database::memory(), &Plan::done()).handlers(handlers![bare]).settings(settings);
    App::new("shop").service(service).clock(clock.clone()).start(log).await.unwrap_or_else(|error| panic!("{error}"))
}

/// Returns the condition with this name: its subject, severity and detail.
async fn condition(handle: &Handle, name: &str) -> Option<(String, String, String)> {
    let report = handle.service("payments").unwrap().health().report().await;
    let all = report.checks["conditions"].values["conditions"].clone();
    let found = all.as_array().unwrap().iter().find(|condition| condition["condition"] == name)?.clone();
    let text = |field: &str| found[field].as_str().map(str::to_owned).unwrap_or_default();
    assert!(!matches!(found["since"], Value::Null));
    Some((text("subject"), text("severity"), text("detail")))
}

async fn is_ready(handle: &Handle) -> bool {
    handle.service("payments").unwrap().health().ready().await.checks["conditions"].status != Status::Down
}

fn gauge(handle: &Handle, name: &str) -> f64 {
    metric(handle.service("payments").unwrap(), "sagas_conditions", &format!("condition=\"{name}\""))
}

/// Advances the clock in steps, each with time for the tasks that wait for it.
async fn pass(clock: &Clock, seconds: u64) {
    for _ in 0..seconds * 2 {
        clock.advance(Duration::from_millis(500));
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }
}

/// Counts the log lines of a condition: at its beginning, and at its end.
fn lines(lines: &Lines, name: &str) -> (usize, usize) {
    let of = lines.with(&format!("condition=\"{name}\""));
    let over = of.iter().filter(|line| line.contains("the condition is over")).count();
    (of.len() - over, over)
}

#[tokio::test]
async fn a_subscription_that_fails_for_longer_is_told_once_and_ends_by_itself() {
    let (heard, _guard) = Lines::heard(tracing::Level::INFO);
    let clock = clock();
    let memory = Memory::with_clock(clock.clone());
    let log = Arc::new(Faulty::new(Arc::new(memory.clone()), Faults::default(), 1, clock.clone()));
    let handle = start(log.clone(), &clock, partitions(1)).await;
    log.set(Faults { fail_next: 1.0, ..Faults::default() });
    publish(&memory, "a", 1).await;
    pass(&clock, 2).await;
    assert_eq!(condition(&handle, "log_unreadable").await, None, "it may pass");
    pass(&clock, 60).await;
    let (subject, severity, detail) = condition(&handle, "log_unreadable").await.expect("it lasts");
    assert_eq!((subject.as_str(), severity.as_str()), ("", "CRITICAL"));
    assert!(detail.contains("the group `payments`") && detail.contains("a fault that the test asked for"), "{detail}");
    assert!(!is_ready(&handle).await);
    assert!(gauge(&handle, "log_unreadable") == 1.0);

    log.set(Faults::default());
    publish(&memory, "a", 2).await;
    pass(&clock, 10).await;
    assert_eq!(condition(&handle, "log_unreadable").await, None);
    assert!(is_ready(&handle).await && gauge(&handle, "log_unreadable") == 0.0);
    assert_eq!(lines(&heard, "log_unreadable"), (1, 1));
    assert_eq!(heard.with("the log gives no records").len(), 2, "the first error, and the condition");
    handle.stop().await;
}

#[tokio::test]
async fn a_topic_that_takes_nothing_is_told_with_the_rows_that_wait() {
    let (heard, _guard) = Lines::heard(tracing::Level::INFO);
    let clock = clock();
    let memory = Memory::with_clock(clock.clone());
    let log = Told::new(memory.clone());
    let handle = start(log.clone(), &clock, partitions(1)).await;
    log.refusing.lock().unwrap().insert("payments".into(), "publishing to `payments`: not authorized; grant Write".into());
    for number in 0..3 {
        publish(&memory, "a", number).await;
    }
    pass(&clock, 60).await;
    let (subject, severity, detail) = condition(&handle, "topic_unwritable").await.expect("it lasts");
    assert_eq!((subject.as_str(), severity.as_str()), ("payments", "CRITICAL"));
    assert!(detail.contains("3 records wait in the outbox") && detail.contains("grant Write"), "{detail}");
    assert!(!is_ready(&handle).await);

    log.refusing.lock().unwrap().clear();
    pass(&clock, 10).await;
    assert_eq!(condition(&handle, "topic_unwritable").await, None);
    assert!(is_ready(&handle).await);
    assert_eq!(lines(&heard, "topic_unwritable"), (1, 1));
    assert_eq!(heard.with("did not take all of the outbox").len(), 1, "the first failure");
    handle.stop().await;
}

#[tokio::test]
async fn commits_that_fail_for_longer_are_a_warning() {
    let (heard, _guard) = Lines::heard(tracing::Level::INFO);
    let clock = clock();
    let memory = Memory::with_clock(clock.clone());
    let faults = Faults { fail_commit: 1.0, ..Faults::default() };
    let log = Arc::new(Faulty::new(Arc::new(memory.clone()), faults, 1, clock.clone()));
    let handle = start(log.clone(), &clock, partitions(1)).await;
    publish(&memory, "a", 1).await;
    pass(&clock, 20).await;
    let (_, severity, detail) = condition(&handle, "commits_failing").await.expect("it lasts");
    assert!(severity == "WARNING" && detail.contains("nothing is lost"), "{detail}");
    assert!(is_ready(&handle).await);
    log.set(Faults::default());
    pass(&clock, 10).await;
    assert_eq!(condition(&handle, "commits_failing").await, None);
    assert_eq!(lines(&heard, "commits_failing"), (1, 1));
    handle.stop().await;
}

#[tokio::test]
async fn a_partition_that_has_records_and_gives_none_is_told() {
    let clock = clock();
    let memory = Memory::with_clock(clock.clone());
    let log = Arc::new(Faulty::new(Arc::new(memory.clone()), Faults::default(), 1, clock.clone()));
    let mut settings = partitions(1);
    settings.stall_warning_s = 20;
    let handle = start(log.clone(), &clock, settings).await;
    publish(&memory, "a", 1).await;
    pass(&clock, 30).await;
    assert_eq!(condition(&handle, "partition_stalled").await, None, "all is read");

    log.freeze();
    publish(&memory, "a", 2).await;
    pass(&clock, 10).await;
    assert_eq!(condition(&handle, "partition_stalled").await, None, "not yet");
    pass(&clock, 30).await;
    let (subject, severity, detail) = condition(&handle, "partition_stalled").await.expect("nothing comes");
    assert_eq!((subject.as_str(), severity.as_str()), ("orders-0", "CRITICAL"));
    assert!(detail.contains("orders-0: records from offset 1 on are not read"), "{detail}");
    assert!(!is_ready(&handle).await);

    log.thaw();
    pass(&clock, 10).await;
    assert_eq!(condition(&handle, "partition_stalled").await, None);
    handle.stop().await;
}

#[tokio::test]
async fn a_partition_that_waits_for_its_handlers_does_not_stand_still() {
    let clock = clock();
    let memory = Memory::with_clock(clock.clone());
    let mut settings = partitions(1);
    (settings.queue_messages, settings.batch_messages, settings.lanes) = (2, 1, 1);
    let plan = Plan::new(|_, _| Step::Later(Duration::from_secs(1_000)));
    settings.parked_per_key = 2;
    let service = service(&Database::memory(), &plan).handlers(handlers![bare]).settings(settings);
    let handle = App::new("shop").service(service).clock(clock.clone()).start(Arc::new(memory.clone())).await.unwrap();
    for number in 0..20 {
        publish(&memory, "a", number).await;
    }
    pass(&clock, 90).await;
    assert_eq!(condition(&handle, "partition_stalled").await, None, "its key has too many parked messages, which pauses it");
    handle.stop().await;
}

#[tokio::test]
async fn a_partition_of_a_member_that_does_not_read_is_a_warning() {
    let clock = clock();
    let memory = Memory::with_clock(clock.clone());
    let handle = start(Arc::new(memory.clone()), &clock, partitions(2)).await;
    // A member of the group that is not a process of the service, and does nothing.
    let mut foreign = memory.subscribe("payments", &["orders".to_owned()]).await.unwrap();
    let asking = tokio::spawn(async move {
        let _ = foreign.next().await;
        std::future::pending::<()>().await;
        drop(foreign);
    });
    pass(&clock, 5).await;
    let mut seen = [false; 2];
    for number in 0..40 {
        let partition = publish(&memory, &format!("o{number}"), number).await;
        seen[usize::try_from(partition).unwrap()] = true;
    }
    assert_eq!(seen, [true; 2]);
    pass(&clock, 60).await;
    let (_, severity, detail) = condition(&handle, "partition_stalled").await.expect("its records are not handled");
    assert!(severity == "WARNING" && detail.contains("no member of the group `payments` has committed"), "{detail}");
    asking.abort();
    pass(&clock, 30).await;
    assert_eq!(condition(&handle, "partition_stalled").await, None);
    handle.stop().await;
}

#[tokio::test]
async fn what_the_transport_knows_is_told_when_it_lasts() {
    let (heard, _guard) = Lines::heard(tracing::Level::INFO);
    let clock = clock();
    let log = Told::new(Memory::with_clock(clock.clone()));
    let handle = start(log.clone(), &clock, partitions(1)).await;
    let missing = |critical| Condition {
        name: "topic_missing",
        subject: "orders".to_owned(),
        critical,
        detail: "there is no topic `orders`".to_owned(),
    };
    for critical in [true, false] {
        // The condition is found in two ways, and must be reported once.
        *log.conditions.lock().unwrap() = vec![missing(critical), missing(critical)];
        pass(&clock, 1).await;
        assert_eq!(condition(&handle, "topic_missing").await, None, "it may pass");
        pass(&clock, 10).await;
        let (subject, severity, _) = condition(&handle, "topic_missing").await.expect("it lasts");
        assert_eq!((subject.as_str(), severity == "CRITICAL"), ("orders", critical));
        assert_eq!(is_ready(&handle).await, !critical);
        log.conditions.lock().unwrap().clear();
        pass(&clock, 3).await;
        assert_eq!(condition(&handle, "topic_missing").await, None);
    }
    assert_eq!(lines(&heard, "topic_missing"), (2, 2));
    handle.stop().await;
}

#[tokio::test]
async fn records_behind_a_transaction_that_stays_open_are_told() {
    let clock = clock();
    let log = Told::new(Memory::with_clock(clock.clone()));
    let handle = start(log.clone(), &clock, partitions(1)).await;
    let partition = TopicPartition::new("orders", 0);
    let blocked = |end, blocked| PartitionStatistics {
        partition: partition.clone(),
        lag: None,
        queued_records: 0,
        next: end,
        end,
        blocked,
    };
    for round in 0..30 {
        // Transactions that follow one another.
        *log.blocked.lock().unwrap() = Some(blocked(round, 7));
        pass(&clock, 2).await;
        assert_eq!(condition(&handle, "open_transaction").await, None);
    }
    *log.blocked.lock().unwrap() = Some(blocked(30, 8));
    pass(&clock, 20).await;
    let (subject, severity, detail) = condition(&handle, "open_transaction").await.expect("it stays open");
    assert_eq!((subject.as_str(), severity.as_str()), ("orders-0", "WARNING"));
    assert!(detail.contains("8 offsets wait behind a transaction") && detail.contains("kafka-transactions"), "{detail}");
    *log.blocked.lock().unwrap() = Some(blocked(38, 0));
    pass(&clock, 3).await;
    assert_eq!(condition(&handle, "open_transaction").await, None);
    handle.stop().await;
}

fn finding(setting: &str, weight: Weight) -> TopicFinding {
    TopicFinding { topic: "orders".into(), setting: setting.into(), weight, detail: format!("`{setting}` does not fit") }
}

#[tokio::test]
async fn settings_of_topics_refuse_the_start_or_are_told_by_their_weight() {
    let (heard, _guard) = Lines::heard(tracing::Level::INFO);
    let clock = clock();
    let log = Told::new(Memory::with_clock(clock.clone()));
    let errors = vec![finding("cleanup.policy", Weight::Error), finding("compression.type", Weight::Error)];
    *log.findings.lock().unwrap() = errors.clone();
    let service = service(&Database::memory(), &Plan::done()).handlers(handlers![bare]);
    let refused = App::new("shop").service(service).clock(clock.clone()).start(log.clone()).await.expect_err("it is refused");
    assert_eq!(refused.problems.len(), 2, "{refused}");
    assert!(refused.problems[0].contains("topic `orders`: `cleanup.policy` does not fit"), "{refused}");

    *log.findings.lock().unwrap() = vec![finding("retention.ms", Weight::Warning), finding("timestamps", Weight::Note)];
    let handle = start(log.clone(), &clock, partitions(1)).await;
    pass(&clock, 3).await;
    let (subject, severity, _) = condition(&handle, "topic_setting").await.expect("the condition is raised");
    assert_eq!((subject.as_str(), severity.as_str()), ("orders retention.ms", "WARNING"));
    assert!(is_ready(&handle).await);

    // The settings change while the service runs.
    *log.findings.lock().unwrap() = vec![errors[0].clone()];
    pass(&clock, 310).await;
    let (subject, severity, _) = condition(&handle, "topic_setting").await.expect("the condition is raised");
    assert_eq!((subject.as_str(), severity.as_str()), ("orders cleanup.policy", "CRITICAL"));
    assert!(!is_ready(&handle).await);
    assert_eq!(heard.with("`timestamps` does not fit").len(), 1, "a note is told once");
    handle.stop().await;
}

#[tokio::test]
async fn a_topic_of_which_it_cannot_be_learned_which_log_it_is_is_a_warning() {
    let (heard, _guard) = Lines::heard(tracing::Level::INFO);
    let clock = clock();
    let log = Told::new(Memory::with_clock(clock.clone()));
    let handle = start(log.clone(), &clock, partitions(1)).await;
    let told = |known: Result<&str, &str>| {
        let known = known.map(str::to_owned).map_err(str::to_owned);
        *log.identities.lock().unwrap() = vec![TopicIdentity { topic: "orders".into(), log: known }];
    };
    pass(&clock, 60).await;
    assert_eq!(condition(&handle, "topic_identity_unknown").await, None, "a log that knows no identities");
    told(Err("not authorized; grant Describe"));
    pass(&clock, 20).await;
    assert_eq!(condition(&handle, "topic_identity_unknown").await, None, "it may pass");
    pass(&clock, 30).await;
    let (subject, severity, detail) = condition(&handle, "topic_identity_unknown").await.expect("it lasts");
    assert_eq!((subject.as_str(), severity.as_str()), ("orders", "WARNING"));
    assert!(detail.contains("grant Describe") && detail.contains("shorter"), "{detail}");
    assert!(is_ready(&handle).await);
    told(Ok("a"));
    pass(&clock, 6).await;
    assert_eq!(condition(&handle, "topic_identity_unknown").await, None);
    assert_eq!(lines(&heard, "topic_identity_unknown"), (1, 1));
    handle.stop().await;
}
