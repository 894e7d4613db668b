//! The command `sagas letters`: it finds, shows and settles dead letters in the database of a running or a stopped service.

use std::{path::Path, time::Duration};

use sagas::{
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterState},
    message::{Received, Record},
    port::{
        store::{HELD, ParkedMessage},
        transport::Transport,
    },
    prelude::*,
    time::{Clock, Timestamp},
    transport::memory::Memory,
};
use sagas_tests::eventually;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{
    program::{is_refused, sagas, text, values},
    records::file,
};

const SERVICE: [&str; 2] = ["--service", "payment"];

/// Returns a dead letter of `topic`, given up `number` seconds after a fixed time.
pub fn letter(number: i64, topic: &str, key: &str, error: &str) -> DeadLetter {
    let record = Record {
        topic: topic.into(),
        key: Some(key.to_owned().into()),
        value: Some(format!(r#"{{"id":"{key}","number":{number}}}"#).into()),
        headers: vec![sagas::message::Header::text("ce_id", format!("m-{number}"))],
        timestamp: Timestamp::from_millis(0).into(),
    };
    DeadLetter {
        id: sagas::id::MessageId::new(format!("letter-{number}")),
        received: Received { record: record.into(), partition: 0, offset: number },
        event_type: Some("Placed".into()),
        error: error.into(),
        attempts: 3,
        at: Timestamp::from_millis(1_767_225_600_000 + number * 1_000),
        state: DeadLetterState::Open,
        unpublished: None,
    }
}

async fn bury(database: &Database, letters: &[DeadLetter]) {
    let mut tx = database.store().begin().await.unwrap();
    tx.insert_dead_letters("payment", letters).await.unwrap();
    tx.commit().await.unwrap();
}

/// Creates a folder with the database of a stopped service that has four dead letters.
async fn stopped() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let payment = file(folder.path(), "payment").await;
    let letters = [
        letter(1, "orders", "a", "a timeout"),
        letter(2, "orders", "b", "no such card"),
        letter(3, "refunds", "a", "a timeout"),
        letter(4, "orders", "a", "a timeout"),
    ];
    bury(&payment, &letters).await;
    payment.store().close().await;
    folder
}

async fn ids(folder: &Path, args: &[&str]) -> Vec<String> {
    let listed = values(folder, &[&["letters", "list"], args].concat(), 0).await;
    listed.iter().map(|letter| letter["id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn letters_are_listed_by_a_filter_and_shown_with_their_messages() {
    let folder = stopped().await;
    let folder = folder.path();
    assert_eq!(ids(folder, &[]).await, ["letter-4", "letter-3", "letter-2", "letter-1"]);
    assert_eq!(ids(folder, &["--topic", "orders", "--key", "a"]).await, ["letter-4", "letter-1"]);
    assert_eq!(ids(folder, &["--error", "card"]).await, ["letter-2"]);
    assert_eq!(ids(folder, &["--type", "Shipped"]).await, [""; 0]);
    assert_eq!(
        ids(folder, &["--since", "2026-01-01T00:00:02Z", "--until", "2026-01-01T00:00:04Z"]).await,
        ["letter-3", "letter-2"]
    );
    assert_eq!(ids(folder, &["--state", "discarded"]).await, [""; 0]);
    assert_eq!(ids(folder, &["--limit", "1"]).await, ["letter-4"]);
    let listed = text(folder, &["letters", "list", "--limit", "1"], 0).await;
    assert!(listed.contains("letter-4") && listed.contains("orders-0@4") && listed.contains("and 3 more"), "{listed}");
    let shown = text(folder, &["letters", "show", "letter-2"], 0).await;
    for part in ["payment", "no such card", "orders, partition 0, offset 2", "header ce_id", r#"{"id":"b","number":2}"#] {
        assert!(shown.contains(part), "{part:?} is missing: {shown}");
    }
    let shown = &values(folder, &["letters", "show", "letter-2"], 0).await[0];
    assert_eq!((&shown["state"], &shown["headers"]), (&json!("open"), &json!([["ce_id", "m-2"]])));
    let mut command = sagas(["letters", "show", "letter-9", "--data"]);
    command.arg(folder);
    is_refused(command, 1, &["there is no dead letter letter-9"]).await;
}

#[tokio::test]
async fn the_one_that_holds_its_key_is_marked() {
    let folder = stopped().await;
    let payment = file(folder.path(), "payment").await;
    let DeadLetter { received, error, at, .. } = letter(2, "orders", "b", "no such card");
    let mut tx = payment.store().begin().await.unwrap();
    tx.park("payment", &[ParkedMessage { id: 0, received, attempts: 3, due: HELD, error, seen: at }]).await.unwrap();
    tx.commit().await.unwrap();
    payment.store().close().await;
    let listed = values(folder.path(), &["letters", "list"], 0).await;
    let holding: Vec<_> = listed.iter().filter(|letter| letter["holdsKey"] == true).map(|letter| &letter["id"]).collect();
    assert_eq!(holding, ["letter-2"]);
    let listed = text(folder.path(), &["letters", "list"], 0).await;
    assert_eq!(listed.matches("open, holds its key").count(), 1, "{listed}");
    let shown = text(folder.path(), &["letters", "show", "letter-2"], 0).await;
    assert!(shown.contains("open, holds its key"), "{shown}");
}

#[tokio::test]
async fn letters_are_settled_by_a_filter() {
    let folder = stopped().await;
    let folder = folder.path();
    let dry =
        text(folder, &[&["letters", "retry", "--topic", "orders", "--key", "a", "--dry-run"][..], &SERVICE].concat(), 0).await;
    assert!(dry.contains("2 letters would be settled") && dry.contains("letter-4") && !dry.contains("letter-2"), "{dry}");
    assert_eq!(ids(folder, &[]).await.len(), 4, "nothing was done");

    let retried = values(folder, &[&["letters", "retry", "--key", "a", "--limit", "2"][..], &SERVICE].concat(), 0).await;
    assert_eq!(retried, [json!({"service": "payment", "settled": 2, "left": 1, "unsent": 0})]);
    assert_eq!(ids(folder, &["--state", "retried"]).await, ["letter-4", "letter-1"], "those of the first offsets");
    let discarded = text(folder, &[&["letters", "discard", "--all"][..], &SERVICE].concat(), 0).await;
    assert!(discarded.contains("payment: 2 dead letters given up"), "{discarded}");
    assert_eq!(ids(folder, &[]).await.len(), 0);
    // Nothing is left to settle.
    let nothing = text(folder, &[&["letters", "discard", "--all"][..], &SERVICE].concat(), 1).await;
    assert!(nothing.contains("no open dead letter"), "{nothing}");

    let payment = file(folder, "payment").await;
    let parked = payment.store().parked("payment", "orders", b"a", 10).await.unwrap();
    let found: Vec<_> = parked.iter().map(|message| (message.received.offset, message.attempts)).collect();
    assert_eq!(found, [(1, 0), (4, 0)], "in the order of their offsets");
    payment.store().close().await;
}

#[tokio::test]
async fn a_record_that_the_log_refused_is_left_to_its_service() {
    let folder = tempfile::tempdir().unwrap();
    let payment = file(folder.path(), "payment").await;
    let mut unsent = letter(1, "payments", "a", "the log refused it");
    (unsent.received.partition, unsent.received.offset) = (-1, -1);
    bury(&payment, &[unsent, letter(2, "orders", "a", "a timeout")]).await;
    payment.store().close().await;
    let told = text(folder.path(), &[&["letters", "retry", "--all"][..], &SERVICE].concat(), 0).await;
    assert!(told.contains("1 dead letter given back") && told.contains("by the service itself"), "{told}");
    assert_eq!(ids(folder.path(), &[]).await, ["letter-1"]);
}

#[tokio::test]
async fn what_is_not_meant_settles_nothing() {
    let folder = stopped().await;
    for (args, told) in [
        (&["retry", "--all"][..], &["--service"][..]),
        (&["retry", "--service", "payment"], &["--topic", "--all"]),
        (&["discard", "--service", "payment", "--limit", "0", "--all"], &["--limit"]),
        (&["discard", "--service", "payment", "--since", "yesterday"], &["--since", "2026-01-31T12:00:00"]),
        (&["list", "--state", "lost"], &["--state", "replayed", "all"]),
    ] {
        let mut command = sagas([&["letters"], args].concat());
        command.arg("--data").arg(folder.path());
        is_refused(command, 2, told).await;
    }
    let mut command = sagas(["letters", "retry", "--all", "--service", "pyament", "--data"]);
    command.arg(folder.path());
    is_refused(command, 1, &["pyament", "payment"]).await;
    assert_eq!(ids(folder.path(), &[]).await.len(), 4);
}

#[event(topic = "orders", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Placed {
    id: String,
    number: i64,
}

#[handler]
async fn take(On(placed): On<Placed>, State(taken): State<std::sync::Arc<std::sync::Mutex<Vec<i64>>>>) {
    taken.lock().unwrap().push(placed.number);
}

/// The service has the file open and handles messages while the program writes to it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_service_takes_up_what_the_program_gives_back() {
    let folder = tempfile::tempdir().unwrap();
    let payment = file(folder.path(), "payment").await;
    // Given up just now: the service removes old dead letters when it starts.
    let at = Clock::system().now();
    let letter = |number| DeadLetter { at, ..letter(number, "orders", &format!("k{}", number % 50), "nonsense") };
    bury(&payment, &(0..5_000).map(letter).collect::<Vec<_>>()).await;
    let (taken, log) = (std::sync::Arc::<std::sync::Mutex<Vec<i64>>>::default(), std::sync::Arc::new(Memory::new()));
    let service = Service::new("payment", payment.clone()).state(taken.clone()).handlers(handlers![take]);
    let app = App::new("test").service(service).start(log.clone()).await.unwrap();
    let fresh = tokio::spawn({
        let log = log.clone();
        async move {
            for number in 10_000..10_200 {
                let value = format!(r#"{{"id":"fresh","number":{number}}}"#);
                let record = Record {
                    topic: "orders".into(),
                    key: Some("fresh".into()),
                    value: Some(value.into()),
                    headers: vec![],
                    timestamp: Timestamp::from_millis(0).into(),
                };
                assert!(log.publish(vec![record]).await[0].is_ok());
                tokio::task::yield_now().await;
            }
        }
    });
    let some = [&["letters", "discard", "--key", "k7"][..], &SERVICE].concat();
    assert_eq!(values(folder.path(), &some, 0).await[0]["settled"], 100);
    let rest = [&["letters", "retry", "--all", "--limit", "10000"][..], &SERVICE].concat();
    assert_eq!(values(folder.path(), &rest, 0).await[0], json!({"service": "payment", "settled": 4_900, "left": 0, "unsent": 0}));
    fresh.await.unwrap();
    eventually("all that was given back is handled", async || (taken.lock().unwrap().len() >= 5_100).then_some(())).await;
    let mut all = taken.lock().unwrap().clone();
    for key in 0..50 {
        let of_key: Vec<_> = all.iter().filter(|number| **number < 10_000 && **number % 50 == key).collect();
        assert!(of_key.is_sorted(), "the order of a key");
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 5_100, "each once");
    let state = DeadLetterFilter { state: Some(DeadLetterState::Retried), ..DeadLetterFilter::default() };
    assert_eq!(payment.store().find_dead_letters("payment", &state, 0, 0).await.unwrap().1, 4_900);
    assert!(tokio::time::timeout(Duration::from_secs(20), app.stop()).await.is_ok());
}
