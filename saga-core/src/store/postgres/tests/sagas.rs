//! Sagas on PostgreSQL: locks on instances without rows, and queries with the same results as the store in memory.

use std::{sync::Arc, time::Duration};

use super::{PATIENCE, Schema, run};
use crate::{
    id::MessageId,
    store::{
        HistoryEntry, InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, InstanceState, StepRecord, StepState, Store,
        StoreError, memory::MemoryStore,
    },
    time::Timestamp,
};

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn key(id: &str) -> InstanceKey {
    InstanceKey { saga: "checkout".into(), id: id.into() }
}

fn step(instance: &InstanceKey, when: i64) -> StepRecord {
    StepRecord {
        instance: instance.clone(),
        step: "pay".into(),
        state: StepState::Done,
        record: None,
        message_id: MessageId::new("m-1"),
        until: None,
        at: at(when),
    }
}

fn instance(key: &InstanceKey, ended_at: Option<i64>) -> InstanceRecord {
    InstanceRecord {
        instance: key.clone(),
        version: 1,
        state: InstanceState::Running,
        attention: None,
        due: None,
        started_at: at(0),
        updated_at: at(0),
        ended_at: ended_at.map(at),
        body: "{}".into(),
    }
}

fn entry(instance: &InstanceKey) -> HistoryEntry {
    HistoryEntry {
        instance: instance.clone(),
        event: "OrderPlaced".into(),
        message_id: "m-1".into(),
        causation_id: None,
        source: "orders".into(),
        at: at(0),
        seen_at: at(0),
        note: None,
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn an_instance_without_rows_is_kept_from_others() {
    let (schema, elsewhere) = (Schema::new(), Schema::new());
    let store = schema.store_with(schema.options().lock_timeout(Duration::from_millis(100))).await;
    let mut first = store.begin().await.unwrap();
    first.load_steps("orders", &[key("a"), key("b")]).await.unwrap();
    first.load_instances("orders", &[key("b")]).await.unwrap();

    let mut other = store.begin().await.unwrap();
    other.load_steps("orders", &[key("c")]).await.unwrap();
    other.load_instances("payments", &[key("a")]).await.unwrap();
    let elsewhere = elsewhere.store().await;
    elsewhere.begin().await.unwrap().load_steps("orders", &[key("a")]).await.unwrap();

    let error = other.load_steps("orders", &[key("c"), key("b")]).await.unwrap_err();
    assert!(matches!(error, StoreError::Statement(_)), "{error}");
    first.commit().await.unwrap();
    store.begin().await.unwrap().load_instances("orders", &[key("b")]).await.unwrap();
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn who_has_waited_sees_what_was_written() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut first = store.begin().await.unwrap();
    first.load_steps("orders", &[key("a")]).await.unwrap();
    first.save_steps("orders", &[step(&key("a"), 1)]).await.unwrap();
    let mut second = store.begin().await.unwrap();
    let loaded = tokio::spawn(async move { second.load_steps("orders", &[key("a")]).await });
    schema.until_connections("active", 1).await;
    assert!(!loaded.is_finished());
    first.commit().await.unwrap();
    assert_eq!(loaded.await.unwrap().unwrap(), [step(&key("a"), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn who_wants_the_same_instances_in_another_order_waits() {
    let schema = Schema::new();
    let store = Arc::new(schema.store().await);
    let lanes: Vec<_> = (0..4)
        .map(|lane| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut rng = fastrand::Rng::with_seed(lane);
                let mut keys: Vec<_> = (0..8).map(|n| key(&n.to_string())).collect();
                for _ in 0..25 {
                    rng.shuffle(&mut keys);
                    let mut tx = store.begin().await.unwrap();
                    let found = tx.load_steps("orders", &keys).await.unwrap();
                    let next = found.first().map_or(1, |step| step.at.as_millis() + 1);
                    tx.save_steps("orders", &keys.iter().map(|key| step(key, next)).collect::<Vec<_>>()).await.unwrap();
                    tx.commit().await.unwrap();
                }
            })
        })
        .collect();
    for lane in lanes {
        tokio::time::timeout(PATIENCE, lane).await.expect("nobody waits for ever").unwrap();
    }
    assert_eq!(store.sagas().steps("orders", &key("0")).await.unwrap(), [step(&key("0"), 100)]);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn an_instance_that_is_worked_on_is_not_forgotten() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    tx.save_instances("orders", &[instance(&key("a"), Some(1)), instance(&key("b"), Some(2))]).await.unwrap();
    tx.append_history("orders", &[entry(&key("a")), entry(&key("b"))]).await.unwrap();
    tx.commit().await.unwrap();

    let mut tx = store.begin().await.unwrap();
    tx.load_instances("orders", &[key("a")]).await.unwrap();
    assert_eq!(store.sagas().prune("orders", at(0), at(10), 10).await.unwrap(), 1);
    tx.append_history("orders", &[entry(&key("a"))]).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(store.sagas().history("orders", &key("a")).await.unwrap().len(), 2);
    assert_eq!(store.sagas().history("orders", &key("b")).await.unwrap(), []);
    assert_eq!(store.sagas().prune("orders", at(0), at(10), 10).await.unwrap(), 1);
    assert_eq!(store.sagas().history("orders", &key("a")).await.unwrap(), []);
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn after_a_rollback_of_a_handler_nothing_is_loaded() {
    let schema = Schema::new();
    let store = schema.store().await;
    let mut tx = store.begin().await.unwrap();
    run(&mut *tx, "ROLLBACK").await.unwrap();
    for refused in [
        tx.load_steps("orders", &[key("a")]).await.map(drop),
        tx.load_instances("orders", &[key("a")]).await.map(drop),
        tx.save_steps("orders", &[step(&key("a"), 1)]).await,
        tx.save_instances("orders", &[instance(&key("a"), None)]).await,
        tx.append_history("orders", &[entry(&key("a"))]).await,
    ] {
        assert!(matches!(refused, Err(StoreError::Refused(_))), "{refused:?}");
    }
}

/// Instances of all kinds, with repeated times and names.
fn sample() -> Vec<InstanceRecord> {
    let mut rng = fastrand::Rng::with_seed(7);
    let sometimes = |rng: &mut fastrand::Rng| rng.bool().then(|| at(rng.i64(-3..3)));
    let records = (0..150).map(|_| InstanceRecord {
        instance: InstanceKey {
            saga: rng.choice(["checkout", "Checkout", "check\0out", "check\u{1}out", "é"]).unwrap_or_default().into(),
            id: rng.u8(0..20).to_string(),
        },
        version: rng.u32(1..3),
        state: rng.choice(InstanceState::ALL).unwrap_or(InstanceState::Running),
        attention: rng.bool().then(|| "stuck".into()),
        due: sometimes(&mut rng),
        started_at: at(rng.i64(-3..3)),
        updated_at: at(rng.i64(-3..3)),
        ended_at: sometimes(&mut rng),
        body: rng.u32(..).to_string(),
    });
    records.collect()
}

fn queries() -> Vec<InstanceQuery> {
    let mut queries = vec![InstanceQuery { limit: 200, ..InstanceQuery::default() }];
    let mut vary = |change: &dyn Fn(&mut InstanceQuery)| {
        let varied: Vec<_> = queries.iter().cloned().map(|mut query| (change(&mut query), query).1).collect();
        queries.extend(varied);
    };
    vary(&|query| query.saga = Some("check\0out".into()));
    vary(&|query| query.state = Some(InstanceState::Compensating));
    vary(&|query| query.open = true);
    vary(&|query| query.attention = true);
    vary(&|query| query.idle_since = Some(at(1)));
    vary(&|query| query.order = InstanceOrder::Stalest);
    vary(&|query| (query.offset, query.limit) = (3, 5));
    queries
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn questions_are_answered_as_in_memory() {
    let schema = Schema::new();
    let (store, memory) = (schema.store().await, MemoryStore::default());
    let stores: [&dyn Store; 2] = [&store, &memory];
    let records = sample();
    for store in stores {
        let mut tx = store.begin().await.unwrap();
        for records in records.chunks(50) {
            tx.save_instances("orders", records).await.unwrap();
        }
        tx.save_instances("payments", &records[..3]).await.unwrap();
        tx.commit().await.unwrap();
    }
    let [one, other] = stores.map(Store::sagas);
    for query in queries() {
        let answers = (one.instances("orders", &query).await.unwrap(), other.instances("orders", &query).await.unwrap());
        assert_eq!(answers.0, answers.1, "{query:?}");
    }
    for limit in [0, 3, 200] {
        for now in [-4, 0, 3] {
            assert_eq!(one.due("orders", at(now), limit).await.unwrap(), other.due("orders", at(now), limit).await.unwrap());
        }
    }
    for service in ["orders", "payments", "nobody"] {
        assert_eq!(one.next_due(service).await.unwrap(), other.next_due(service).await.unwrap());
        assert_eq!(one.open_versions(service).await.unwrap(), other.open_versions(service).await.unwrap());
        assert_eq!(one.attention(service).await.unwrap(), other.attention(service).await.unwrap());
    }
    for limit in [0, 5, 200, 200] {
        let pruned = one.prune("orders", at(0), at(0), limit).await.unwrap();
        assert_eq!(pruned, other.prune("orders", at(0), at(0), limit).await.unwrap());
    }
    let all = InstanceQuery { limit: 200, ..InstanceQuery::default() };
    assert_eq!(one.instances("orders", &all).await.unwrap(), other.instances("orders", &all).await.unwrap());
}
