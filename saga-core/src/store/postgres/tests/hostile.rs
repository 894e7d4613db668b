//! Messages from a log can contain anything, and are stored unchanged.

use bytes::Bytes;

use super::Schema;
use crate::{
    id::MessageId,
    message::{Header, Received, Record},
    store::{
        DeadLetter, DeadLetterState, HistoryEntry, InboxKey, InstanceKey, InstanceQuery, InstanceRecord, InstanceState,
        ParkedMessage, StepRecord, StepState, Store, StoredDefinition,
    },
    time::{LogTime, Timestamp},
};

const ODD: &str = "a\0b\u{1}0\u{1}\0";

/// A text that is longer than the row of an index can be, and hard to compress.
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
        timestamp: LogTime::from_millis(i64::MIN),
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
        let message =
            ParkedMessage { id: 0, received: received(ODD, &text), attempts: u32::MAX, due: at, error: text.clone(), seen: at };
        let letter = DeadLetter {
            id: MessageId::new(ODD),
            received: received(ODD, &text),
            event_type: Some(text.clone()),
            error: text.clone(),
            attempts: u32::MAX,
            at,
            state: DeadLetterState::Open,
            unpublished: None,
        };
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.claim("orders", std::slice::from_ref(&key), at).await.unwrap(), [true]);
        let parked = tx.park("orders", std::slice::from_ref(&message)).await.unwrap();
        tx.insert_dead_letters("orders", &[letter.clone(), letter.clone()]).await.unwrap();
        tx.append_outbox("orders", &[message.received.record.as_ref().clone()]).await.unwrap();
        tx.commit().await.unwrap();

        let other = InboxKey { id: MessageId::new(format!("{text}~")), ..key.clone() };
        assert_eq!(store.seen("orders", &[key, other]).await.unwrap(), [true, false]);
        let kept = store.parked("orders", ODD, text.as_bytes(), 10).await.unwrap();
        assert_eq!(kept, [ParkedMessage { id: parked[0], ..message.clone() }]);
        assert_eq!(store.dead_letter("orders", &letter.id).await.unwrap(), Some(letter));
        let rows = store.outbox("orders", 0, 10).await.unwrap();
        assert_eq!(rows.last().unwrap().record, *message.received.record);
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn whatever_a_saga_is_called_is_kept() {
    let schema = Schema::new();
    let store = schema.store().await;
    let (at, sagas) = (Timestamp::MAX, store.sagas());
    for text in [ODD.to_owned(), long(), format!("{}{ODD}", long()), "\\x00\\".to_owned(), String::new()] {
        let instance = InstanceKey { saga: text.clone(), id: text.clone() };
        // Keys that differ from the instance's at the end, or in the place where the saga's name ends and the id begins.
        let beside = [
            InstanceKey { id: format!("{text}~"), ..instance.clone() },
            InstanceKey { saga: format!("{text}\u{1}~"), ..instance.clone() },
            InstanceKey { saga: format!("{text}\0"), ..instance.clone() },
        ];
        let step = StepRecord {
            instance: instance.clone(),
            step: text.clone(),
            state: StepState::Barred,
            record: Some(crate::store::LeftBehind { value: text.clone(), version: u32::MAX }),
            message_id: MessageId::new(text.clone()),
            until: Some(Timestamp::from_millis(i64::MIN)),
            at,
        };
        let record = InstanceRecord {
            instance: instance.clone(),
            version: u32::MAX,
            state: InstanceState::Aborted,
            attention: Some(text.clone()),
            due: Some(at),
            started_at: Timestamp::from_millis(i64::MIN),
            updated_at: at,
            ended_at: None,
            body: text.clone(),
        };
        let entry = HistoryEntry {
            instance: instance.clone(),
            event: text.clone(),
            message_id: text.clone(),
            causation_id: Some(text.clone()),
            source: text.clone(),
            at,
            seen_at: Timestamp::from_millis(i64::MIN),
            note: Some(text.clone()),
        };
        let mut tx = store.begin().await.unwrap();
        assert_eq!(tx.load_steps("orders", std::slice::from_ref(&instance)).await.unwrap(), []);
        tx.save_steps("orders", &[StepRecord { record: None, ..step.clone() }, step.clone()]).await.unwrap();
        tx.save_instances("orders", &[InstanceRecord { due: None, ..record.clone() }, record.clone()]).await.unwrap();
        tx.append_history("orders", &[entry.clone(), entry.clone()]).await.unwrap();
        assert_eq!(tx.load_steps("orders", &[instance.clone(), instance.clone()]).await.unwrap(), std::slice::from_ref(&step));
        assert_eq!(
            tx.load_instances("orders", &[instance.clone(), instance.clone()]).await.unwrap(),
            std::slice::from_ref(&record)
        );
        assert_eq!(tx.load_steps("orders", &beside).await.unwrap(), []);
        assert_eq!(tx.load_instances("orders", &beside).await.unwrap(), []);
        tx.commit().await.unwrap();

        let definition = StoredDefinition { saga: text.clone(), version: u32::MAX, body: text.clone() };
        sagas.define("orders", &StoredDefinition { body: String::new(), ..definition.clone() }).await.unwrap();
        sagas.define("orders", &definition).await.unwrap();
        assert!(sagas.definitions("orders").await.unwrap().contains(&definition));
        assert_eq!(sagas.steps("orders", &instance).await.unwrap(), [step]);
        assert_eq!(sagas.instance("orders", &instance).await.unwrap(), Some(record.clone()));
        assert_eq!(sagas.history("orders", &instance).await.unwrap(), [entry.clone(), entry]);
        let query = InstanceQuery { saga: Some(text.clone()), limit: 10, ..InstanceQuery::default() };
        assert_eq!(sagas.instances("orders", &query).await.unwrap(), (vec![record], 1));
        assert!(sagas.due("orders", at, 10).await.unwrap().contains(&instance));
    }
}
