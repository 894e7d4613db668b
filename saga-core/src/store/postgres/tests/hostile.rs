//! What comes from a log may be anything, and is kept as it came.

use bytes::Bytes;

use super::Schema;
use crate::{
    id::MessageId,
    message::{Header, Received, Record},
    store::{DeadLetter, DeadLetterState, InboxKey, ParkedMessage, StepRecord, Store},
    time::Timestamp,
};

const ODD: &str = "a\0b\u{1}0\u{1}\0";

/// Longer than a row of an index may be, and hard to compress.
fn long() -> String {
    let mut rng = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| rng.alphanumeric()).take(20_000).collect()
}

fn received(topic: &str, key: &str) -> Received {
    let record = Record {
        topic: topic.into(),
        key: Some(Bytes::from(key.to_owned())),
        value: Some(Bytes::from_static(&[0, 255])),
        headers: vec![Header::text(ODD, ODD)],
        timestamp: Timestamp::from_millis(i64::MIN),
    };
    Received { record: record.into(), partition: 0, offset: i64::MAX }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn whatever_a_message_holds_is_kept() {
    let schema = Schema::new();
    let store = schema.store().await;
    let at = Timestamp::from_millis(1);
    for text in [ODD.to_owned(), long(), format!("{}{ODD}", long())] {
        let key = InboxKey { source: text.clone(), id: MessageId::new(text.clone()) };
        let message = ParkedMessage { id: 0, received: received(ODD, &text), attempts: u32::MAX, due: at, error: text.clone() };
        let letter = DeadLetter {
            id: MessageId::new(ODD),
            received: received(ODD, &text),
            event_type: Some(text.clone()),
            error: text.clone(),
            attempts: u32::MAX,
            at,
            state: DeadLetterState::Open,
        };
        let step = StepRecord {
            saga_id: text.clone(),
            step: text.clone(),
            message_id: MessageId::new(text.clone()),
            event_type: text.clone(),
            refused: true,
            published: text.clone(),
            at,
        };
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.claim("orders", std::slice::from_ref(&key), at).await.unwrap(), [true]);
        let parked = tx.park("orders", std::slice::from_ref(&message)).await.unwrap();
        tx.bury("orders", &[letter.clone(), letter.clone()]).await.unwrap();
        tx.record_steps("orders", std::slice::from_ref(&step)).await.unwrap();
        tx.append_outbox("orders", &[message.received.record.as_ref().clone()]).await.unwrap();
        tx.commit().await.unwrap();

        let other = InboxKey { id: MessageId::new(format!("{text}~")), ..key.clone() };
        assert_eq!(store.seen("orders", &[key, other]).await.unwrap(), [true, false]);
        let kept = store.parked("orders", ODD, text.as_bytes(), 10).await.unwrap();
        assert_eq!(kept, [ParkedMessage { id: parked[0], ..message.clone() }]);
        assert_eq!(store.dead_letter("orders", &letter.id).await.unwrap(), Some(letter));
        assert_eq!(store.steps("orders", &text).await.unwrap(), [step]);
        let rows = store.outbox("orders", 0, 10).await.unwrap();
        assert_eq!(rows.last().unwrap().record, *message.received.record);
    }
}
