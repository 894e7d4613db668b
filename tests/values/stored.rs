//! Rows of an earlier program: numbers that exceed the range of times are read as the limit.

use std::{path::Path, time::Duration};

use sagas::{
    dead_letter::{DeadLetter, DeadLetterState},
    message::{Header, Received, Record},
    port::store::ParkedMessage,
    prelude::*,
    testing::Pump,
    time::{LogTime, Timestamp},
};
use serde::{Deserialize, Serialize};
use sqlx::Connection;

#[event(topic = "notes", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Noted {
    id: String,
}

#[event(topic = "echoes", key = id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Echoed {
    id: String,
}

#[handler]
async fn take(On(noted): On<Noted>) -> Echoed {
    Echoed { id: noted.id }
}

fn received() -> Received {
    let record = Record {
        topic: "notes".into(),
        key: Some("held".into()),
        value: Some(r#"{"id":"held"}"#.into()),
        headers: vec![Header::text("ce_type", "Noted"), Header::text("ce_time", "9999-12-31T23:59:59-23:59")],
        timestamp: LogTime::from_millis(i64::MAX),
    };
    Received { record: record.into(), partition: 0, offset: 7 }
}

async fn change(file: &Path, sql: &'static str) {
    let mut connection = sqlx::SqliteConnection::connect(&format!("sqlite://{}", file.display())).await.unwrap();
    let changed = sqlx::query(sql).execute(&mut connection).await.unwrap();
    assert!(changed.rows_affected() > 0, "{sql}");
    connection.close().await.unwrap();
}

/// A key that was held for a dead letter is still held, and released by its retry; the dead letter itself is shown.
#[tokio::test]
async fn what_was_held_until_the_end_of_numbers_is_held_still() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("keeper.sqlite");
    let url = format!("sqlite:{}", file.display());
    {
        let database = Database::open(&url).await.unwrap();
        database.store().migrate().await.unwrap();
        let mut tx = database.store().begin().await.unwrap();
        let parked = ParkedMessage {
            id: 0,
            received: received(),
            attempts: 3,
            due: Timestamp::MAX,
            error: "held".into(),
            seen: Timestamp::MAX,
        };
        tx.park("keeper", &[parked]).await.unwrap();
        let letter = DeadLetter {
            id: sagas::id::MessageId::new("letter"),
            received: received(),
            event_type: Some("Noted".into()),
            error: "held".into(),
            attempts: 3,
            at: Timestamp::MAX,
            state: DeadLetterState::Open,
            unpublished: None,
        };
        tx.insert_dead_letters("keeper", &[letter]).await.unwrap();
        tx.commit().await.unwrap();
        database.store().close().await;
    }
    change(&file, "UPDATE sagas_parked SET due = 9223372036854775807").await;
    change(&file, "UPDATE sagas_dead_letters SET at = 9223372036854775807").await;

    let database = Database::open(&url).await.unwrap();
    let pump = Pump::of([Service::new("keeper", database).handlers(handlers![take])]).start().await;
    pump.publish(&Noted { id: "free".to_owned() }).await;
    pump.advance(Duration::from_secs(3_600)).await;
    let echoes = async || pump.published::<Echoed>().await.into_iter().map(|echo| echo.id).collect::<Vec<_>>();
    assert_eq!(echoes().await, ["free"]);
    let (letters, _) = pump.service("keeper").dead_letters(0, 10).await.unwrap();
    assert_eq!((letters[0].at, &letters[0].received), (Timestamp::MAX, &received()));
    assert_eq!(letters[0].at.to_string(), "9999-12-31T23:59:59.999Z");
    assert!(pump.service("keeper").retry_dead_letter(&letters[0].id).await.unwrap());
    pump.advance(Duration::from_secs(5)).await;
    let mut echoes = echoes().await;
    echoes.sort();
    assert_eq!(echoes, ["free", "held"]);
    pump.stop().await;
}
