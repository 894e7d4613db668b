//! Events that have changed since they were written: renamed, of an older version, of a version that the program does not know
//! yet, or without a handler.

use std::time::Duration;

use sagas::prelude::*;
use sagas::{
    Fault, Settings, TopicNames,
    dead_letter::DeadLetter,
    handler::Handler,
    message::{PublishedEvent, Record},
    port::transport::Transport,
    replay::{ReplayPoint, ReplayRequest},
    settings::OnNewer,
    testing::Pump,
    transport::{TransportError, memory::Memory},
};
use serde::{Deserialize, Serialize};

use crate::{
    log_lines::Lines,
    support::{
        instance::{self, Instance},
        *,
    },
};

/// The events of the current program.
mod today {
    use super::*;

    #[event(topic = "orders", key = order_id, version = 3, also = ["Placed", "placed"], upcast(1 => from_v1, 2 => from_v2))]
    #[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
    pub struct Ordered {
        pub order_id: String,
        pub number: u32,
        pub currency: String,
    }

    #[derive(Deserialize)]
    pub struct V1 {
        order_id: String,
        number: u32,
    }

    #[derive(Deserialize)]
    pub struct V2 {
        order_id: String,
        numbers: Vec<u32>,
    }

    fn from_v1(old: V1) -> V2 {
        V2 { order_id: old.order_id, numbers: vec![old.number] }
    }

    fn from_v2(old: V2) -> Result<Ordered, Fault> {
        match old.numbers[..] {
            [number] => Ok(Ordered { order_id: old.order_id, number, currency: "EUR".to_owned() }),
            _ => Err(Fault::new(format!("{} numbers", old.numbers.len()))),
        }
    }

    #[handler(retry(max = 2, backoff = "1s..1s"))]
    pub async fn ordered(On(ordered): On<Ordered>, State(plan): State<Plan>, meta: Meta) {
        assert_eq!(ordered.currency, "EUR");
        plan.note(&placed(&ordered.order_id, ordered.number), &meta);
    }

    #[handler(retry(max = 2, backoff = "1s..1s"))]
    pub async fn calling_out(On(ordered): On<Ordered>, work: Work, State(plan): State<Plan>, meta: Meta) -> Result<(), Failure> {
        work.begin().await?;
        plan.note(&placed(&ordered.order_id, ordered.number), &meta);
        Ok(())
    }
}

use today::{calling_out, ordered};

fn written(key: &str, value: &str, name: &str, version: &str) -> Record {
    let headers = [("ce_type", name), ("ce_schemaversion", version), ("ce_source", "shop")];
    record(Some(key.as_bytes()), Some(value.as_bytes()), &headers)
}

/// Databases of each kind that outlive the service.
struct Kept {
    memory: Option<Database>,
    folder: tempfile::TempDir,
}

impl Kept {
    fn of_each_kind() -> [Self; 2] {
        [Some(Database::memory()), None].map(|memory| Self { memory, folder: tempfile::tempdir().unwrap() })
    }

    async fn open(&self) -> Database {
        match &self.memory {
            Some(memory) => memory.clone(),
            None => Database::open(&format!("sqlite:{}", self.folder.path().join("kept.db").display())).await.unwrap(),
        }
    }
}

async fn letters(pump: &Pump) -> Vec<DeadLetter> {
    pump.service("payments").dead_letters(0, 10).await.unwrap().0
}

/// Returns the error of the single dead letter of a service whose `handlers` receive `bad`.
async fn refusal(bad: Record) -> String {
    let (plan, called) = (Plan::done(), bad.header("ce_type").map(str::to_owned));
    let pump = Pump::of([service(&Database::memory(), &plan).handlers(handlers![ordered])]).start().await;
    pump.publish_record(bad).await;
    pump.run_until_quiet().await;
    let letters = letters(&pump).await;
    assert_eq!((letters.len(), letters[0].attempts, plan.calls().len()), (1, 0, 0));
    assert_eq!(letters[0].event_type, called, "a letter has the name that its record says");
    pump.stop().await;
    letters[0].error.clone()
}

#[tokio::test]
async fn names_and_shapes_of_before_are_read_as_those_of_today() {
    for handlers in [handlers![ordered], handlers![calling_out]] {
        for database in databases().await {
            let plan = Plan::done();
            let pump = Pump::of([service(&database, &plan).handlers(handlers.clone())]).start().await;
            pump.publish_record(written("a", r#"{"order_id":"a","number":1}"#, "Placed", "1")).await;
            pump.publish_record(written("a", r#"{"order_id":"a","numbers":[2]}"#, "placed", "2")).await;
            pump.publish_record(written("a", r#"{"order_id":"a","number":3,"currency":"EUR"}"#, "Ordered", "3")).await;
            // A record with neither name nor version is of the only event of the topic, in version 1.
            pump.publish_record(record(Some(b"a"), Some(br#"{"order_id":"a","number":4}"#), &[])).await;
            pump.run_until_quiet().await;
            assert_eq!(plan.numbers("a"), [1, 2, 3, 4]);
            assert_eq!(letters(&pump).await.len(), 0);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn a_dead_letter_says_what_of_which_version_by_whom() {
    let upcast = refusal(written("a", r#"{"order_id":"a","numbers":[]}"#, "Placed", "2")).await;
    assert_eq!(upcast, "Ordered of version 2 cannot be read: its upcast `from_v2` failed: 0 numbers; it was published by `shop`");
    let field = refusal(written("a", r#"{"order_id":"a","numbers":[1,"two"]}"#, "Placed", "2")).await;
    assert!(
        field.starts_with("the value is no Ordered of version 2: field `numbers[1]`: invalid type: string \"two\""),
        "{field}"
    );
    assert!(field.ends_with("; it was published by `shop`"), "{field}");
    let missing = refusal(written("a", r#"{"order_id":"a","number":1}"#, "Ordered", "3")).await;
    assert!(missing.starts_with("the value is no Ordered of version 3: missing field `currency`"), "{missing}");
}

/// With `OnNewer::Wait`, the key waits and others continue; a program that knows the version then continues with the key.
#[tokio::test]
async fn a_newer_version_waits_where_that_is_wanted() {
    #[event(topic = "orders", key = order_id, version = 2)]
    #[derive(Debug, Clone, Serialize, Deserialize)]
    struct Ordered {
        order_id: String,
        number: u32,
    }
    #[handler]
    async fn of_yesterday(On(ordered): On<Ordered>, State(plan): State<Plan>, meta: Meta) {
        plan.note(&placed(&ordered.order_id, ordered.number), &meta);
    }
    #[handler]
    async fn of_yesterday_calling(
        On(ordered): On<Ordered>,
        work: Work,
        State(plan): State<Plan>,
        meta: Meta,
    ) -> Result<(), Failure> {
        work.begin().await?;
        plan.note(&placed(&ordered.order_id, ordered.number), &meta);
        Ok(())
    }
    for (before, after) in
        [(handlers![of_yesterday], handlers![ordered]), (handlers![of_yesterday_calling], handlers![calling_out])]
    {
        for kept in Kept::of_each_kind() {
            let (plan, log, clock) = (Plan::done(), Memory::new(), clock());
            let mut settings = Settings::default();
            settings.on_newer = OnNewer::Wait;
            let start = async |handlers: [Handler; 1]| {
                let service = service(&kept.open().await, &plan).handlers(handlers).settings(settings.clone());
                Pump::of([service]).on(std::sync::Arc::new(log.clone())).clock(clock.clone()).start().await
            };
            let pump = start(before.clone()).await;
            pump.publish_record(written("a", r#"{"order_id":"a","number":1,"currency":"EUR"}"#, "Ordered", "3")).await;
            pump.publish_record(written("a", r#"{"order_id":"a","number":2}"#, "Ordered", "2")).await;
            pump.publish_record(written("b", r#"{"order_id":"b","number":3}"#, "Ordered", "2")).await;
            pump.run_until_quiet().await;
            for _ in 0..10 {
                pump.advance(Duration::from_secs(15)).await;
            }
            assert_eq!((plan.numbers("a"), plan.numbers("b")), (vec![], vec![3]));
            assert_eq!(letters(&pump).await.len(), 0);
            pump.stop().await;

            let pump = start(after.clone()).await;
            settle(&pump, &["payments"]).await;
            // The waiting message is of version 2 too, and the current program has one number fewer.
            assert_eq!(plan.numbers("a"), [1]);
            assert!(letters(&pump).await[0].error.contains("version 2"), "{:?}", letters(&pump).await);
            pump.stop().await;
        }
    }
}

#[tokio::test]
async fn waiting_for_a_newer_program_has_an_end() {
    let (plan, mut settings) = (Plan::done(), Settings::default());
    (settings.on_newer, settings.put_off_limit_s) = (OnNewer::Wait, 60);
    let pump = Pump::of([service(&Database::memory(), &plan).handlers(handlers![ordered]).settings(settings)]).start().await;
    pump.publish_record(written("a", "{}", "Ordered", "4")).await;
    pump.run_until_quiet().await;
    for _ in 0..8 {
        pump.advance(Duration::from_secs(15)).await;
    }
    let letters = letters(&pump).await;
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].error.contains("the record has version 4; this program supports versions up to 3"),
        "{}",
        letters[0].error
    );
    pump.stop().await;
}

/// Starts a service on this database that handles `Placed`, stops it, and returns the log.
async fn having_handled(database: &Database) -> Memory {
    let (log, plan) = (Memory::new(), Plan::done());
    let service = service(database, &plan).handlers(handlers![bare]);
    let pump = Pump::of([service]).on(std::sync::Arc::new(log.clone())).start().await;
    pump.publish(&placed("a", 1)).await;
    pump.run_until_quiet().await;
    assert_eq!(plan.numbers("a"), [1]);
    pump.stop().await;
    log
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Unrelated {
    order_id: String,
}

#[handler]
async fn unrelated(On(_): On<Unrelated>) {}

#[tokio::test]
async fn what_was_handled_before_is_not_skipped_silently() {
    // The handler was removed while another event of the topic has one, or was the last of the topic.
    for handlers in [handlers![unrelated].to_vec(), Vec::new()] {
        for kept in Kept::of_each_kind() {
            let log = having_handled(&kept.open().await).await;
            let plan = Plan::done();
            let start = async |handlers: Vec<Handler>, settings: Settings| {
                let service = service(&kept.open().await, &plan).handlers(handlers).settings(settings);
                Pump::of([service]).on(std::sync::Arc::new(log.clone())).start().await
            };
            let pump = start(handlers.clone(), Settings::default()).await;
            pump.publish(&placed("a", 2)).await;
            pump.publish_record(written("a", "{}", "NeverHandled", "1")).await;
            pump.run_until_quiet().await;
            let open = letters(&pump).await;
            assert_eq!(open.len(), 1);
            assert_eq!(open[0].event_type.as_deref(), Some("Placed"));
            assert!(open[0].error.contains("handled Placed of topic `orders` before"), "{}", open[0].error);
            assert!(
                open[0].error.contains(r#"also = ["Placed"]"#) && open[0].error.contains("forget_events"),
                "{}",
                open[0].error
            );
            assert_eq!(metric(pump.service("payments"), "sagas_conditions", "events_unhandled"), 1.0);
            pump.stop().await;

            // A program that has the handler again handles the messages that were kept.
            let with_it = handlers.iter().cloned().chain(handlers![ordered]).collect();
            let pump = start(with_it, Settings::default()).await;
            assert_eq!(metric(pump.service("payments"), "sagas_conditions", "events_unhandled"), 0.0);
            assert!(pump.service("payments").retry_dead_letter(&open[0].id).await.unwrap());
            settle(&pump, &["payments"]).await;
            assert_eq!(plan.numbers("a"), [2]);
            pump.stop().await;

            // An entry with a typing error forgets nothing, and a line in the log names it.
            let (lines, guard) = Lines::heard(tracing::Level::WARN);
            let mut mistyped = Settings::default();
            mistyped.forget_events = vec!["orders/Placd".to_owned()];
            start(handlers.clone(), mistyped).await.stop().await;
            assert_eq!(lines.with("the setting `forget_events` names `orders/Placd`").len(), 1);
            drop(guard);

            // A program that does not want the messages declares that once.
            let mut forgetting = Settings::default();
            forgetting.forget_events = ["orders/Placed", "placed", "Ordered"].map(str::to_owned).to_vec();
            for settings in [forgetting, Settings::default()] {
                let pump = start(handlers.clone(), settings).await;
                assert_eq!(metric(pump.service("payments"), "sagas_conditions", "events_unhandled"), 0.0);
                pump.publish(&placed("a", 3)).await;
                pump.run_until_quiet().await;
                assert_eq!(letters(&pump).await.len(), 0);
                pump.stop().await;
            }
        }
    }
}

/// If the producer is deployed first, old consumers skip its records. New consumers get them by a replay.
#[tokio::test]
async fn what_a_producer_renamed_first_is_skipped_and_a_replay_brings_it_back() {
    for kept in Kept::of_each_kind() {
        let (log, plan) = (Memory::new(), Plan::done());
        let mut settings = Settings::default();
        settings.topic_partitions = 1;
        let start = async |handlers: [Handler; 1]| {
            let service = service(&kept.open().await, &plan).handlers(handlers).settings(settings.clone());
            Pump::of([service]).on(std::sync::Arc::new(log.clone())).start().await
        };
        let pump = start(handlers![bare]).await;
        pump.publish_record(written("a", r#"{"order_id":"a","number":1}"#, "Placed", "1")).await;
        pump.publish_record(written("a", r#"{"order_id":"a","number":2,"currency":"EUR"}"#, "Ordered", "3")).await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [1]);
        assert_eq!(letters(&pump).await.len(), 0, "it leaves no dead letter");
        assert_eq!(metric(pump.service("payments"), "sagas_conditions", "events_unhandled"), 0.0);
        assert_eq!(metric(pump.service("payments"), "sagas_skipped_total", ""), 1.0);
        pump.stop().await;

        let pump = start(handlers![ordered]).await;
        pump.publish_record(written("a", r#"{"order_id":"a","number":3,"currency":"EUR"}"#, "Ordered", "3")).await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [1, 3], "it does not come back by itself");
        let service = pump.service("payments");
        let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(0));
        (request.reason, request.by) = ("the producers were first".to_owned(), "ada".to_owned());
        service.replay(&request).await.unwrap();
        let ended = || async { service.replays(false, 10).await.unwrap().iter().all(|replay| !replay.state.is_open()) };
        until("the replay has ended", ended).await;
        pump.run_until_quiet().await;
        assert_eq!(plan.numbers("a"), [1, 3, 2], "nothing that was handled is handled again");
        pump.stop().await;
    }
}

/// A deleted topic does not keep a service from starting, and is not recreated.
#[tokio::test]
async fn a_topic_that_is_gone_is_not_read() {
    for kept in Kept::of_each_kind() {
        having_handled(&kept.open().await).await;
        let log = Memory::new();
        let start = async |settings: Settings| {
            let service = service(&kept.open().await, &Plan::done()).settings(settings);
            let names = TopicNames::prefixed("prod.");
            Pump::of([service]).on(std::sync::Arc::new(log.clone())).topics(names).start().await
        };
        let unhandled = |pump: &Pump| metric(pump.service("payments"), "sagas_conditions", "events_unhandled");
        let pump = start(Settings::default()).await;
        assert_eq!(unhandled(&pump), 1.0);
        let report = pump.service("payments").health().report().await;
        let told = format!("{:?}", report.checks["conditions"]);
        assert!(told.contains("`prod.orders/*`") && told.contains("there is no topic `prod.orders`"), "{told}");
        pump.run_until_quiet().await;
        pump.stop().await;

        let mut forgetting = Settings::default();
        forgetting.forget_events = vec!["prod.orders/*".to_owned()];
        for settings in [forgetting, Settings::default()] {
            let pump = start(settings).await;
            assert_eq!(unhandled(&pump), 0.0);
            pump.stop().await;
        }
        assert!(matches!(log.offsets("prod.orders", None).await, Err(TransportError::UnknownTopic(_))));
    }
}

/// While the processes of a service are replaced one by one, an old process receives events that only the new ones handle.
#[tokio::test]
async fn an_instance_of_before_does_not_skip_what_one_of_today_handles() {
    let (database, log, clock) = (Database::memory(), Memory::new(), clock());
    let plan = Plan::done();
    let before = Instance::start(service(&database, &plan).handlers(handlers![unrelated]), &log, &clock, 1).await;
    let told = || async { metric(before.service(), "sagas_conditions", "events_unhandled") == 1.0 };
    assert!(!told().await);
    let today = Instance::start(service(&database, &plan).handlers(handlers![unrelated, bare]), &log, &clock, 2).await;
    advance_until(&clock, "the instance of before hears of it", told).await;
    assert!(today.handle.stop().await);
    instance::publish(&log, "a", 1).await;
    until("it is kept", || async { before.service().dead_letters(0, 1).await.unwrap().1 == 1 }).await;
    assert!(before.handle.stop().await);
}

#[tokio::test]
async fn two_events_of_one_name_are_refused_at_the_start() {
    let plan = Plan::done();
    let refused = async |service: Service| App::new("shop").service(service).check().join("\n");
    let clash = refused(service(&Database::memory(), &plan).handlers(handlers![ordered, bare])).await;
    assert!(
        clash.contains(
            "service `payments`: two events of topic `orders` are called Placed, or were (`also`): Ordered, handled by"
        ) && clash.contains("::ordered`, and Placed, handled by")
            && clash.contains("::bare`"),
        "{clash}"
    );
    let mut settings = Settings::default();
    settings.forget_events = vec!["placed".to_owned()];
    let forgotten = refused(service(&Database::memory(), &plan).handlers(handlers![ordered]).settings(settings)).await;
    assert!(forgotten.contains("the setting `forget_events` names placed, which"), "{forgotten}");
}

/// An event-sourced service keeps its events in its own tables; they are read by the rules for records.
mod kept {
    use super::{today::Ordered, *};

    #[event]
    #[derive(Debug, Clone, PartialEq)]
    enum Change {
        Ordered(Ordered),
        Charged(Charged),
    }

    fn stored(name: &str, version: u32, value: &str) -> PublishedEvent {
        PublishedEvent { name: name.to_owned(), version, value: value.to_owned().into() }
    }

    fn ordered() -> Ordered {
        Ordered { order_id: "a".to_owned(), number: 1, currency: "EUR".to_owned() }
    }

    #[test]
    fn a_kept_event_is_read_as_it_was_published() {
        for change in [Change::Ordered(ordered()), Change::Charged(Charged { order_id: "a".to_owned(), number: 1 })] {
            let kept = PublishedEvent::of(&change).unwrap();
            assert_eq!(kept.decode::<Change>().unwrap(), change);
        }
        let kept = PublishedEvent::of(&ordered()).unwrap();
        assert_eq!((kept.name.as_str(), kept.version), ("Ordered", 3));
        assert_eq!(kept.decode::<Ordered>().unwrap(), ordered(), "an event is a set of one");
    }

    #[test]
    fn earlier_names_and_versions_are_understood() {
        for (name, version, value) in [
            ("Placed", 1, r#"{"order_id":"a","number":1}"#),
            ("placed", 2, r#"{"order_id":"a","numbers":[1]}"#),
            ("Ordered", 3, r#"{"order_id":"a","number":1,"currency":"EUR"}"#),
        ] {
            assert_eq!(stored(name, version, value).decode::<Change>().unwrap(), Change::Ordered(ordered()), "{name} {version}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (kept, told) in [
            (
                stored("Shipped", 1, "{}"),
                "`Shipped` is not one of the events of `delivery::changed_events::kept::Change`: Ordered, Charged",
            ),
            (
                stored("Ordered", 4, "{}"),
                "the Ordered has version 4, and this program knows versions up to 3; a newer program has written it",
            ),
            (stored("Ordered", 3, "{}"), "missing field `order_id`"),
            (stored("Placed", 2, r#"{"order_id":"a","numbers":[1, 2]}"#), "2 numbers"),
        ] {
            let error = kept.decode::<Change>().unwrap_err().to_string();
            assert!(error.contains(told), "{kept:?}: {error}");
        }
    }

    #[test]
    fn one_event_is_kept_at_a_time() {
        let none = PublishedEvent::of(&None::<Ordered>).unwrap_err().to_string();
        assert!(none.contains("these are 0"), "{none}");
        let two = PublishedEvent::of(&vec![ordered(), ordered()]).unwrap_err().to_string();
        assert!(two.contains("these are 2"), "{two}");
    }
}
