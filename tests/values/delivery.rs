//! Arbitrary records through one service: admission, retries, parked messages, dead letters and their retry, and published
//! events.

use std::{sync::Arc, time::Duration};

use proptest::{prelude::*, strategy::ValueTree};
use sagas::{
    message::{Envelope, Header, Record, headers},
    prelude::*,
    testing::Pump,
};
use sagas_tests::schema::Schema;
use serde::{Deserialize, Serialize};

use crate::{
    budget::{cases, runner},
    records,
};

#[event(topic = "notes", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noted {
    id: String,
    number: i64,
}

#[event(topic = "echoes", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Echoed {
    id: String,
    number: i64,
}

/// The number of a note decides its outcome.
#[handler(retry(max = 2, backoff = "1s..1s"))]
async fn take(On(noted): On<Noted>, mut tx: Tx) -> Result<Echoed, Failure> {
    sqlx::query::<sqlx::Any>("UPDATE taken SET number = number + 1").execute(&mut tx).await?;
    match noted.number {
        1 => Err(Failure::retry("this number fails")),
        2 => Err(Failure::dead("this number fails for good")),
        3 => panic!("this number panics"),
        number => Ok(Echoed { id: noted.id, number }),
    }
}

const TABLES: &[sagas::store::Migration] = &[sagas::store::Migration {
    version: 1,
    name: "taken",
    sql: "CREATE TABLE taken (number BIGINT NOT NULL); INSERT INTO taken VALUES (0)",
}];

fn record() -> impl Strategy<Value = Record> {
    let number = prop_oneof![4 => 0_i64..4, 1 => any::<i64>()];
    let note = ("[a\u{0}\u{9b}é]{0,3}", number);
    let value = note.prop_map(|(id, number)| serde_json::json!({"id": id, "number": number}).to_string().into_bytes());
    records::record("notes", &["Noted"], value)
}

/// Checks that the service handles the records and one more after them, and keeps those it has given up unchanged.
async fn survives(database: Database, published: &[Record]) {
    let service = Service::new("keeper", database).handlers(handlers![take]).migrations(TABLES);
    let pump = Pump::of([service]).start().await;
    for record in published {
        pump.publish_record(record.clone()).await;
    }
    for round in 0..2 {
        for _ in 0..6 {
            pump.advance(Duration::from_secs(2)).await;
        }
        pump.publish(&Noted { id: "last".to_owned(), number: 100 + round }).await;
        pump.run_until_quiet().await;
        assert_eq!(pump.published::<Echoed>().await.iter().filter(|echo| echo.number == 100 + round).count(), 1, "it goes on");

        let (letters, total) = pump.service("keeper").dead_letters(0, 1_000).await.unwrap();
        assert_eq!(letters.len() as u64, total);
        let topic = pump.records("keeper.dlt").await;
        for letter in &letters {
            let record = &letter.received.record;
            assert!(published.iter().any(|one| is_kept(one, record)), "kept as it came: {record:?}");
            // The headers that a dead letter adds replace headers of the same names on the message.
            let own = record.headers.iter().filter(|header| !headers::DLT.contains(&header.name.as_str()));
            let own: Vec<_> = own.cloned().collect();
            let same = |sent: &Record| {
                let number = sent.headers.iter().rev().find(|header| header.name == headers::DLT_TIMESTAMP);
                (&sent.key, &sent.value) == (&record.key, &record.value)
                    && sent.headers.starts_with(&own)
                    && number.and_then(|number| number.value.as_deref()) == Some(&record.timestamp.as_millis().to_be_bytes())
            };
            assert!(topic.iter().any(|sent| same(&sent.record)), "not on the dead letter topic: {record:?}");
        }
        for echo in pump.records("echoes").await {
            let envelope = Envelope::of(&echo, pump.clock().now()).unwrap();
            assert!(envelope.trace.is_some() && envelope.time <= pump.clock().now(), "{envelope:?}");
        }
        for letter in &letters {
            assert!(pump.service("keeper").retry_dead_letter(&letter.id).await.unwrap());
        }
    }
    pump.stop().await;
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn whatever_is_published_a_service_in_memory_goes_on(published in prop::collection::vec(record(), 1..8)) {
        runtime().block_on(in_memory(&published));
    }

    #[test]
    fn whatever_is_published_a_service_on_sqlite_goes_on(published in prop::collection::vec(record(), 1..8)) {
        runtime().block_on(async { survives(Database::open("sqlite::memory:").await.unwrap(), &published).await });
    }
}

#[handler(retry(max = 2, backoff = "1s..1s"))]
async fn bare(On(noted): On<Noted>) -> Result<Echoed, Failure> {
    match noted.number {
        1 => Err(Failure::retry("this number fails")),
        2 => Err(Failure::dead("this number fails for good")),
        3 => panic!("this number panics"),
        number => Ok(Echoed { id: noted.id, number }),
    }
}

/// Returns whether `kept` is what was `published`, with the handler's name.
fn is_kept(published: &Record, kept: &Record) -> bool {
    let said = |header: &Header| header.name == headers::HANDLER;
    let own = |record: &Record| record.headers.iter().filter(|header| !said(header)).cloned().collect::<Vec<_>>();
    own(published) == own(kept) && *published == Record { headers: published.headers.clone(), ..kept.clone() }
}

/// The same with a handler that runs no statements.
async fn in_memory(published: &[Record]) {
    let service = Service::new("keeper", Database::memory()).handlers(handlers![bare]);
    let pump = Pump::of([service]).start().await;
    for record in published {
        pump.publish_record(record.clone()).await;
    }
    for _ in 0..6 {
        pump.advance(Duration::from_secs(2)).await;
    }
    pump.publish(&Noted { id: "last".to_owned(), number: 100 }).await;
    pump.run_until_quiet().await;
    assert_eq!(pump.published::<Echoed>().await.iter().filter(|echo| echo.number == 100).count(), 1, "it goes on");
    let (letters, _) = pump.service("keeper").dead_letters(0, 1_000).await.unwrap();
    assert!(letters.iter().all(|letter| published.iter().any(|one| is_kept(one, &letter.received.record))));
    pump.stop().await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn whatever_is_published_a_service_on_postgresql_goes_on() {
    let mut runner = runner();
    for _ in 0..cases(4).cases {
        let published = prop::collection::vec(record(), 20..40).new_tree(&mut runner).unwrap().current();
        let schema = Schema::new();
        survives(schema.open().await, &published).await;
    }
}

/// The error names the invalid header; the record is otherwise unchanged.
#[tokio::test]
async fn a_header_that_cannot_be_used_is_a_dead_letter_by_name() {
    let note = br#"{"id":"a","number":7}"#.to_vec();
    let long = "x".repeat(1_001);
    let table: &[(&str, &[u8], &str)] = &[
        ("ce_id", long.as_bytes(), "`ce_id` has 1001 bytes"),
        ("ce_id", b"\xff", "`ce_id` is not UTF-8"),
        ("ce_id", b"a\0b", "U+0000"),
        ("ce_source", b"a\x1b[2J", "U+001B"),
        ("ce_type", b"Noted\xff", "`ce_type` is not UTF-8"),
        ("ce_schemaversion", b"2x", r#"`ce_schemaversion` is no version"#),
        ("ce_schemaversion", b"0", "is no version"),
        ("ce_correlationid", long.as_bytes(), "`ce_correlationid` has 1001 bytes"),
        ("ce_causationid", b"\xc3", "`ce_causationid` is not UTF-8"),
        ("ce_sagaid", b"\r\n", "`ce_sagaid`"),
    ];
    let pump = Pump::of([Service::new("keeper", Database::memory()).handlers(handlers![bare])]).start().await;
    for (number, (name, value, wrong)) in table.iter().enumerate() {
        let mut headers = vec![sagas::message::Header::text("ce_type", "Noted")];
        headers.push(sagas::message::Header { name: (*name).to_owned(), value: Some(value.to_vec().into()) });
        let key = Some(format!("key-{number}").into());
        let record =
            Record { topic: "notes".into(), key, value: Some(note.clone().into()), headers, timestamp: Default::default() };
        pump.publish_record(record.clone()).await;
        pump.run_until_quiet().await;
        let (letters, total) = pump.service("keeper").dead_letters(0, 1).await.unwrap();
        assert_eq!(total, number as u64 + 1, "{name} {value:?}");
        assert_eq!(letters[0].received.record, Arc::new(record), "{name} {value:?}");
        assert!(letters[0].error.contains(wrong), "{name} {value:?}: {}", letters[0].error);
    }
    assert!(pump.published::<Echoed>().await.is_empty());
    let series = r#"sagas_dead_letters_total{service="keeper",reason="bad_header"}"#;
    let metrics = pump.service("keeper").metrics().render();
    assert!(metrics.contains(&format!("{series} {}", table.len())), "{metrics}");
    pump.stop().await;
}

#[tokio::test]
async fn a_unit_of_work_publishes_nothing_that_could_not_be_handled() {
    let pump = Pump::of([Service::new("keeper", Database::memory()).handlers(handlers![bare])]).start().await;
    for id in ["x".repeat(1_001), "a\nb".to_owned()] {
        let mut work = pump.service("keeper").begin().await.unwrap();
        work.correlate(id);
        work.publish(&Noted { id: "a".to_owned(), number: 7 }).unwrap();
        let refused = work.commit().await.unwrap_err().to_string();
        assert!(refused.contains("ce_correlationid"), "{refused}");
    }
    pump.stop().await;
}
