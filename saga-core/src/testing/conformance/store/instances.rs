//! Instances and their history.

use super::{
    Subject,
    samples::{at, entry, instance, running},
    write,
};
use crate::store::{HistoryEntry, InstanceKey, InstanceQuery, InstanceRecord, InstanceState};

/// Checks that an instance is kept unchanged, and that saving it again replaces it, also within one call.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_are_kept_and_replaced(subject: Subject) {
    let store = subject.migrated().await;
    let mut records: Vec<InstanceRecord> = InstanceState::ALL
        .into_iter()
        .zip(1..)
        .map(|(state, number)| InstanceRecord { state, ..running(&number.to_string(), number) })
        .collect();
    write(store, async |tx| {
        tx.save_instances("orders", &records).await.expect("save");
        tx.save_instances("orders", &[]).await.expect("save nothing");
    })
    .await;
    records[1] = InstanceRecord {
        version: 2,
        state: InstanceState::Aborted,
        attention: Some("the refund was refused".into()),
        due: Some(at(50)),
        started_at: at(-1),
        updated_at: at(60),
        ended_at: Some(at(70)),
        body: r#"{"steps":{"1":"UNDONE"}}"#.into(),
        ..records[1].clone()
    };
    write(store, async |tx| {
        tx.save_instances("orders", &[running("2", 900), records[1].clone()]).await.expect("save");
    })
    .await;
    for record in &records {
        assert_eq!(store.sagas().instance("orders", &record.instance).await.expect("read").as_ref(), Some(record));
    }
    let elsewhere = InstanceKey { saga: "refund".into(), id: "1".into() };
    assert_eq!(store.sagas().instance("orders", &elsewhere).await.expect("read"), None);

    let mut tx = store.begin().await.expect("begin");
    let wanted = [instance("5"), elsewhere, instance("2"), instance("6"), instance("5")];
    let mut loaded = tx.load_instances("orders", &wanted).await.expect("load");
    loaded.sort_by(|one, other| one.instance.cmp(&other.instance));
    assert_eq!(loaded, [records[1].clone(), records[4].clone()]);
    assert_eq!(tx.load_instances("orders", &[]).await.expect("load"), []);
}

/// Checks that a transaction reads the instances that it wrote, and after an undo the previous ones.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_transaction_reads_its_own_instances(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.save_instances("orders", &[running("1", 1)]).await.expect("save")).await;
    let both = [instance("1"), instance("2")];
    let mut tx = store.begin().await.expect("begin");
    tx.load_instances("orders", &both).await.expect("load");
    tx.savepoint().await.expect("savepoint");
    let completed = InstanceRecord { state: InstanceState::Completed, ended_at: Some(at(9)), ..running("1", 1) };
    for _ in 0..2 {
        tx.save_instances("orders", &[running("2", 2), completed.clone()]).await.expect("save");
        let mut changed = tx.load_instances("orders", &both).await.expect("load");
        changed.sort_by(|one, other| one.instance.cmp(&other.instance));
        assert_eq!(changed, [completed.clone(), running("2", 2)]);
        tx.undo().await.expect("undo");
        assert_eq!(tx.load_instances("orders", &both).await.expect("load"), [running("1", 1)]);
    }
}

/// Checks that a service sees only its own instances and their history.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    let theirs = InstanceRecord { due: Some(at(5)), attention: Some("look".into()), ..running("1", 9) };
    write(store, async |tx| {
        tx.save_instances("orders", &[running("1", 1)]).await.expect("save");
        tx.save_instances("payments", std::slice::from_ref(&theirs)).await.expect("save");
        tx.append_history("payments", &[entry("1", "OrderPlaced")]).await.expect("append");
        assert_eq!(tx.load_instances("payments", &[instance("1")]).await.expect("load"), std::slice::from_ref(&theirs));
        assert_eq!(tx.load_instances("shipping", &[instance("1")]).await.expect("load"), []);
    })
    .await;
    let sagas = store.sagas();
    let all = InstanceQuery { limit: 10, ..InstanceQuery::default() };
    assert_eq!(sagas.instance("orders", &instance("1")).await.expect("read"), Some(running("1", 1)));
    assert_eq!(sagas.instances("orders", &all).await.expect("list"), (vec![running("1", 1)], 1));
    assert_eq!(sagas.instances("payments", &all).await.expect("list"), (vec![theirs], 1));
    assert_eq!(sagas.history("orders", &instance("1")).await.expect("read"), []);
    assert_eq!(sagas.due("orders", at(100), 10).await.expect("due"), []);
    assert_eq!(sagas.next_due("orders").await.expect("next"), None);
    assert_eq!(sagas.attention("orders").await.expect("count"), []);
    assert_eq!(sagas.open_versions("shipping").await.expect("count"), []);
}

/// Checks that the history of an instance is kept unchanged, in the order in which it was appended.
///
/// # Panics
/// Panics if the check fails.
pub async fn history_comes_in_the_order_it_was_taken_in(subject: Subject) {
    let store = subject.migrated().await;
    let bare = HistoryEntry { message_id: String::new(), causation_id: None, at: at(3), ..entry("1", "timer.deadline") };
    let noted = HistoryEntry { note: Some("the saga does not allow it".into()), at: at(1), ..entry("1", "OrderShipped") };
    write(store, async |tx| {
        tx.append_history("orders", &[entry("1", "OrderPlaced"), entry("2", "OrderPlaced"), bare.clone()]).await.expect("append");
        tx.append_history("orders", &[]).await.expect("append nothing");
        tx.append_history("orders", std::slice::from_ref(&noted)).await.expect("append");
    })
    .await;
    write(store, async |tx| tx.append_history("orders", std::slice::from_ref(&bare)).await.expect("append")).await;
    let sagas = store.sagas();
    let expected = [entry("1", "OrderPlaced"), bare.clone(), noted, bare];
    assert_eq!(sagas.history("orders", &instance("1")).await.expect("read"), expected);
    assert_eq!(sagas.history("orders", &instance("2")).await.expect("read"), [entry("2", "OrderPlaced")]);
    assert_eq!(sagas.history("orders", &instance("3")).await.expect("read"), []);
}

/// Checks that ten thousand instances and history entries can be saved in one call each, and that the instances can be loaded in one.
///
/// # Panics
/// Panics if the check fails.
pub async fn ten_thousand_instances_fit_one_call(subject: Subject) {
    let store = subject.migrated().await;
    let records: Vec<InstanceRecord> = (0..10_000).map(|number| running(&number.to_string(), number)).collect();
    let history: Vec<HistoryEntry> = (0..10_000).map(|number| entry("1", &number.to_string())).collect();
    write(store, async |tx| {
        tx.save_instances("orders", &records).await.expect("save");
        tx.append_history("orders", &history).await.expect("append");
    })
    .await;
    let keys: Vec<InstanceKey> = (0..10_001).map(|number: usize| instance(&number.to_string())).collect();
    let mut loaded = write(store, async |tx| tx.load_instances("orders", &keys).await.expect("load")).await;
    loaded.sort_by_key(|record| record.started_at);
    assert!(loaded == records, "{} are there", loaded.len());
    let kept = store.sagas().history("orders", &instance("1")).await.expect("read");
    assert!(kept == history, "{} entries are there", kept.len());
}
