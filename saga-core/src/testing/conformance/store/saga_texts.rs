//! Arbitrary text in the data of sagas.

use super::{
    Subject,
    samples::{at, entry, running, step},
    write,
};
use crate::{
    id::MessageId,
    store::{HistoryEntry, InstanceKey, InstanceRecord, LeftBehind, StepRecord, StoredDefinition},
};

/// A text longer than an index row can be in some databases, and hard to compress.
fn long() -> String {
    let mut rng = fastrand::Rng::with_seed(1);
    std::iter::repeat_with(|| rng.alphanumeric()).take(20_000).collect()
}

/// Different keys, some of which would be equal if saga and id were concatenated.
fn keys() -> Vec<InstanceKey> {
    let long = long();
    let longer = format!("{long}\0");
    let texts =
        ["", " ", "a", "A", "a\0b", "a\0", "'; DROP TABLE sagas_steps; --", "é", "e\u{301}", "1", "01", "1.0", &long, &longer];
    let mut keys: Vec<InstanceKey> = texts.into_iter().map(|text| InstanceKey { saga: text.into(), id: text.into() }).collect();
    keys.extend(
        [("ab", "c"), ("a", "bc"), ("a\0", "b"), ("a", "\0b")].map(|(saga, id)| InstanceKey { saga: saga.into(), id: id.into() }),
    );
    keys
}

/// Checks that instances, steps and their texts can be any text: they are kept unchanged, and different texts are different keys.
///
/// # Panics
/// Panics if the check fails.
pub async fn whatever_text_an_instance_is(subject: Subject) {
    let store = subject.migrated().await;
    let keys = keys();
    let steps: Vec<StepRecord> = keys
        .iter()
        .map(|key| StepRecord {
            instance: key.clone(),
            step: key.id.clone(),
            record: Some(LeftBehind { value: r#"{"note":"\u0000 it's"}"#.into(), version: 2 }),
            message_id: MessageId::new(key.id.clone()),
            until: Some(at(-1)),
            ..step("", 1)
        })
        .collect();
    let instances: Vec<InstanceRecord> = keys
        .iter()
        .map(|key| InstanceRecord {
            instance: key.clone(),
            version: u32::MAX,
            attention: Some(key.id.clone()),
            due: Some(at(-1)),
            body: r#"{"note":"\u0000 it's"}"#.into(),
            ..running("", -1)
        })
        .collect();
    let history: Vec<HistoryEntry> = keys
        .iter()
        .map(|key| HistoryEntry {
            instance: key.clone(),
            message_id: key.id.clone(),
            causation_id: Some(key.id.clone()),
            source: key.id.clone(),
            note: Some(key.id.clone()),
            ..entry("", &key.id)
        })
        .collect();
    for _ in 0..2 {
        write(store, async |tx| {
            tx.load_steps("orders", &keys).await.expect("load");
            tx.load_instances("orders", &keys).await.expect("load");
            tx.save_steps("orders", &steps).await.expect("save");
            tx.save_instances("orders", &instances).await.expect("save");
        })
        .await;
    }
    write(store, async |tx| tx.append_history("orders", &history).await.expect("append")).await;

    let sagas = store.sagas();
    for (index, key) in keys.iter().enumerate() {
        let name = || format!("the {index}th, {:?}", key.id.chars().take(30).collect::<String>());
        assert!(sagas.steps("orders", key).await.expect("read") == steps[index..=index], "step of {}", name());
        assert!(sagas.instance("orders", key).await.expect("read").as_ref() == Some(&instances[index]), "{}", name());
        assert!(sagas.history("orders", key).await.expect("read") == history[index..=index], "history of {}", name());
        let saga = StoredDefinition { saga: key.saga.clone(), version: u32::MAX, body: "{}".into() };
        sagas.define("orders", &saga).await.expect("define");
        assert!(sagas.definitions("orders").await.expect("read").contains(&saga), "saga of {}", name());
    }
    let mut due = sagas.due("orders", at(0), u32::MAX).await.expect("due");
    due.sort();
    let mut sorted = keys;
    sorted.sort();
    assert!(due == sorted, "{} are due", due.len());
    assert_eq!(sagas.attention("orders").await.expect("count").iter().map(|(_, count)| count).sum::<u64>(), due.len() as u64);
    assert_eq!(sagas.prune("orders", at(100), at(100), u32::MAX).await.expect("prune"), due.len() as u64);
}
