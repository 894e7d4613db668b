//! Sample rows.

use bytes::Bytes;

use crate::{
    id::MessageId,
    message::{Header, Received, Record},
    store::{
        DeadLetter, DeadLetterState, HistoryEntry, InboxKey, InstanceKey, InstanceRecord, InstanceState, LeftBehind,
        ParkedMessage, StepRecord, StepState,
    },
    time::{LogTime, Timestamp},
};

pub(super) fn key(number: usize) -> InboxKey {
    InboxKey { source: "shop".into(), id: MessageId::new(format!("message-{number}")) }
}

pub(super) fn keys(numbers: std::ops::Range<usize>) -> Vec<InboxKey> {
    numbers.map(key).collect()
}

pub(super) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

pub(super) fn record(number: usize) -> Record {
    Record {
        topic: "orders".into(),
        key: Some(Bytes::from(format!("order-{number}"))),
        value: Some(Bytes::from(format!("{{\"number\":{number}}}"))),
        headers: vec![Header::text("ce_id", number.to_string())],
        timestamp: at(1_700_000_000_000).into(),
    }
}

/// A record with unusual content: bytes that are not text, repeated header names, and missing or empty values.
pub(super) fn odd_record() -> Record {
    Record {
        topic: "Örders".into(),
        key: Some(Bytes::from_static(&[0, 255, 0, b'\'', 128])),
        value: Some(Bytes::from((0..=255).collect::<Vec<u8>>())),
        headers: vec![
            Header { name: "twice".into(), value: Some(Bytes::from_static(&[0xff, 0])) },
            Header { name: "twice".into(), value: None },
            Header { name: String::new(), value: Some(Bytes::new()) },
            Header::text("nul\0inside", "nul\0inside"),
        ],
        timestamp: LogTime::from_millis(i64::MIN),
    }
}

pub(super) fn received(topic: &str, key: Option<&'static [u8]>, offset: i64) -> Received {
    let record = Record { topic: topic.into(), key: key.map(Bytes::from_static), ..record(0) };
    Received { record: record.into(), partition: 3, offset }
}

pub(super) fn parked(received: Received, due: i64) -> ParkedMessage {
    ParkedMessage { id: 0, received, attempts: 1, due: at(due), error: "the gateway is down".into(), seen: at(due - 7) }
}

pub(super) fn letter(id: &str, when: i64) -> DeadLetter {
    DeadLetter {
        id: MessageId::new(id),
        received: received("orders", Some(b"order-1"), 7),
        event_type: Some("OrderCreated".into()),
        error: "retries ended".into(),
        attempts: 10,
        at: at(when),
        state: DeadLetterState::Open,
        unpublished: None,
    }
}

pub(super) fn instance(id: &str) -> InstanceKey {
    InstanceKey { saga: "place-order".into(), id: id.into() }
}

pub(super) fn step(id: &str, number: usize) -> StepRecord {
    StepRecord {
        instance: instance(id),
        step: format!("step-{number}"),
        state: StepState::Done,
        record: Some(LeftBehind { value: r#"{"type":"StockReserved","data":{}}"#.into(), version: 1 + number as u32 % 3 }),
        message_id: key(number).id,
        until: None,
        at: at(number as i64),
    }
}

/// An instance that began and was last updated at `when`.
pub(super) fn running(id: &str, when: i64) -> InstanceRecord {
    InstanceRecord {
        instance: instance(id),
        version: 1,
        state: InstanceState::Running,
        attention: None,
        due: None,
        started_at: at(when),
        updated_at: at(when),
        ended_at: None,
        body: r#"{"steps":{}}"#.into(),
    }
}

pub(super) fn entry(id: &str, event: &str) -> HistoryEntry {
    HistoryEntry {
        instance: instance(id),
        event: event.into(),
        message_id: "message-1".into(),
        causation_id: Some("message-0".into()),
        source: "shop".into(),
        at: at(7),
        seen_at: at(8),
        note: None,
    }
}
