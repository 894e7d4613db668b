//! Frequent queries on sagas use an index, even with many ended instances.

use sqlx::{AssertSqlSafe, Row};

use super::{SqliteOptions, SqliteStore, open};
use crate::{
    id::MessageId,
    saga::{InstanceKey, InstanceRecord, InstanceState, StepRecord, StepState},
    store::{
        DeadLetterFilter, InstanceOrder, InstanceQuery, LetterHead, Store,
        sqlite::statements::{dead_letters, instances, letter_queries, steps},
    },
    time::Timestamp,
};

/// A store with a thousand step records and instances, of which one in ten is open.
async fn filled() -> SqliteStore {
    let store = open(SqliteOptions::private()).await;
    let key = |number: i64| InstanceKey { saga: "place-order".into(), id: number.to_string() };
    let steps: Vec<StepRecord> = (0..1_000)
        .map(|number| StepRecord {
            instance: key(number),
            step: "PaymentAuthorized".into(),
            state: StepState::Done,
            record: None,
            message_id: MessageId::new("m"),
            until: None,
            at: Timestamp::from_millis(number),
        })
        .collect();
    let instances: Vec<InstanceRecord> = (0..1_000)
        .map(|number| {
            let at = Timestamp::from_millis(number);
            let open = number % 10 == 0;
            InstanceRecord {
                instance: key(number),
                version: 1,
                state: if open { InstanceState::Running } else { InstanceState::Completed },
                attention: (number % 100 == 0).then(|| "look".into()),
                due: open.then_some(at),
                started_at: at,
                updated_at: at,
                ended_at: (!open).then_some(at),
                body: "{}".into(),
            }
        })
        .collect();
    let mut tx = store.begin().await.unwrap();
    tx.save_steps("orders", &steps).await.unwrap();
    tx.save_instances("orders", &instances).await.unwrap();
    tx.commit().await.unwrap();
    store
}

/// The query plan of SQLite for `sql`, one line for each part.
async fn plan(store: &SqliteStore, sql: &str) -> String {
    let mut connection = store.acquire().await.unwrap();
    let explain = AssertSqlSafe(format!("EXPLAIN QUERY PLAN {sql}"));
    let rows = sqlx::raw_sql(explain).fetch_all(&mut *connection).await.unwrap();
    rows.iter().map(|row| row.get::<String, _>("detail")).collect::<Vec<_>>().join("\n")
}

/// Fails for a plan that scans a table, or that does not use `index` with the condition that ends with `upto`.
async fn assert_uses(store: &SqliteStore, sql: &str, index: &str, upto: &str) -> String {
    let plan = plan(store, sql).await;
    let used = plan.lines().any(|line| line.contains(&format!("INDEX {index} (")) && line.ends_with(upto));
    assert!(used && !plan.contains("SCAN"), "{sql}\n{plan}");
    plan
}

#[tokio::test]
async fn timers_are_read_in_the_order_of_their_index() {
    let store = filled().await;
    for (sql, upto) in [(instances::DUE, "due<?)"), (instances::NEXT_DUE, "due>?)")] {
        let plan = assert_uses(&store, sql, "sagas_instances_due", upto).await;
        assert!(plan.contains("COVERING") && !plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
}

#[tokio::test]
async fn lists_are_read_in_the_order_of_their_index() {
    let store = filled().await;
    let newest = InstanceQuery { limit: 10, ..InstanceQuery::default() };
    let stalest = InstanceQuery { order: InstanceOrder::Stalest, open: true, ..newest.clone() };
    let idle = InstanceQuery { idle_since: Some(Timestamp::from_millis(500)), ..stalest.clone() };
    for (query, index, upto) in [
        (newest, "sagas_instances_newest", "(service=?)"),
        (stalest, "sagas_instances_open", "(service=?)"),
        (idle, "sagas_instances_open", "updated_at<?)"),
    ] {
        let sql = instances::listed("orders", &query).into_sql();
        let plan = assert_uses(&store, sql.as_str(), index, upto).await;
        assert!(!plan.contains("TEMP B-TREE"), "{query:?}\n{plan}");
    }
}

#[tokio::test]
async fn what_few_instances_are_asked_of_leaves_the_others_out() {
    let store = filled().await;
    let all = InstanceQuery { limit: 10, ..InstanceQuery::default() };
    for (query, index) in [
        (InstanceQuery { open: true, ..all.clone() }, "sagas_instances_open"),
        (InstanceQuery { open: true, saga: Some("place-order".into()), ..all.clone() }, "sagas_instances_open"),
        (InstanceQuery { attention: true, ..all.clone() }, "sagas_instances_attention"),
        (InstanceQuery { attention: true, open: true, ..all }, "sagas_instances_attention"),
    ] {
        let sql = instances::listed("orders", &query).into_sql();
        assert_uses(&store, sql.as_str(), index, "(service=?)").await;
    }
    let plan = assert_uses(&store, instances::OPEN_VERSIONS, "sagas_instances_open", "(service=?)").await;
    assert!(plan.contains("COVERING"), "{plan}");
    assert_uses(&store, instances::ATTENTION, "sagas_instances_attention", "(service=?)").await;
}

#[tokio::test]
async fn what_is_forgotten_is_found_by_its_age() {
    let store = filled().await;
    let [history, instances] = instances::PRUNE;
    for (sql, index, upto) in [
        (steps::PRUNE, "sagas_steps_by_age", "at<?)"),
        (history, "sagas_instances_ended", "ended_at<?)"),
        (instances, "sagas_instances_ended", "ended_at<?)"),
    ] {
        let plan = assert_uses(&store, sql, index, upto).await;
        assert!(!plan.contains("TEMP B-TREE"), "{sql}\n{plan}");
    }
    assert_uses(&store, history, "sagas_history_by_instance", "id=?)").await;
}

#[tokio::test]
async fn dead_letters_are_found_by_indexes() {
    let store = filled().await;
    let (open, topic) = (DeadLetterFilter::open(), Some("orders".to_owned()));
    let newest = letter_queries::newest("orders", &open, 0, 10).into_sql();
    let after = LetterHead {
        id: MessageId::new("a"),
        state: crate::store::DeadLetterState::Open,
        partition: crate::message::TopicPartition::new("orders", 0),
        offset: 7,
        key: None,
        bytes: 0,
        handler: None,
    };
    let first = letter_queries::in_order("orders", &open, None, 10).into_sql();
    let next = letter_queries::in_order("orders", &DeadLetterFilter { topic, ..open.clone() }, Some(&after), 10).into_sql();
    for (sql, index) in [
        (newest.as_str(), "sagas_dead_letters_by_state"),
        (first.as_str(), "sagas_dead_letters_by_position"),
        (next.as_str(), "sagas_dead_letters_by_position"),
        (dead_letters::PRUNE_OPEN, "sagas_dead_letters_by_age"),
        (dead_letters::PRUNE_SETTLED, "sagas_dead_letters_settled"),
    ] {
        let plan = plan(&store, sql).await;
        assert!(
            plan.contains(&format!("INDEX {index} (")) && !plan.contains("SCAN") && !plan.contains("TEMP B-TREE"),
            "{sql}\n{plan}"
        );
    }
    let sql = letter_queries::of_messages_sql(2);
    let plan = plan(&store, &sql).await;
    assert!(plan.contains("INDEX sagas_dead_letters_by_message (service=? AND source=? AND message_id=?)"), "{plan}");
}
