//! Frequent queries on growing tables use an index.

use sqlx::{AssertSqlSafe, Executor, PgConnection, Postgres, postgres::PgArguments, query::QueryScalar};

use super::{
    super::statements::{dead_letters, history, instance_queries as queries, instances, letter_queries, steps},
    Schema,
};
use crate::store::{DeadLetterFilter, HELD, InstanceOrder, InstanceQuery};

/// Every hundredth instance is open, every thousandth has a timer and needs attention, and the times of steps and ends are spread.
const ROWS: &str = "
    INSERT INTO sagas_instances (service, saga, id, version, state, attention, due, started_at, updated_at, ended_at, body)
    SELECT 'orders', 'checkout', 'order-' || n, 1, CASE n % 100 WHEN 0 THEN 'RUNNING' ELSE 'COMPLETED' END,
        CASE n % 1000 WHEN 0 THEN 'stuck' END, CASE n % 1000 WHEN 0 THEN n END, n, n + 5, CASE WHEN n % 100 > 0 THEN n + 9 END, '{}'
    FROM generate_series(1, 20000) AS n;
    INSERT INTO sagas_steps (service, saga, id, step, state, message_id, at)
    SELECT 'orders', 'checkout', 'order-' || n, 'pay', 'done', 'm-' || n, n FROM generate_series(1, 20000) AS n;
    INSERT INTO sagas_history (service, saga, id, event, message_id, source, at, seen_at)
    SELECT 'orders', 'checkout', 'order-' || n, 'OrderPlaced', 'm-' || n, 'orders', n, n FROM generate_series(1, 20000) AS n;
    ANALYZE sagas_instances; ANALYZE sagas_steps; ANALYZE sagas_history;";

type PgQuery = QueryScalar<'static, Postgres, String, PgArguments>;

/// Checks that `index` is used for `sql`, and that no table is scanned.
async fn finds_by(connection: &mut PgConnection, index: &str, sql: &str, bind: impl FnOnce(PgQuery) -> PgQuery) {
    let query = sqlx::query_scalar(AssertSqlSafe(format!("EXPLAIN {sql}"))).bind("orders");
    let plan = bind(query).fetch_all(connection).await.unwrap().join("\n");
    assert!(plan.contains(&format!(" {index} ")), "{index} does not find {sql}:\n{plan}");
    assert!(!plan.contains("Seq Scan on sagas_"), "{sql}:\n{plan}");
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn sagas_are_found_by_indexes() {
    let schema = Schema::new();
    schema.store().await;
    let connection = &mut schema.beside().await;
    connection.execute(sqlx::raw_sql(ROWS)).await.unwrap();

    finds_by(connection, "sagas_instances_due", queries::DUE, |sql| sql.bind(5_000_i64).bind(100_i64)).await;
    finds_by(connection, "sagas_instances_due", queries::NEXT_DUE, |sql| sql).await;
    finds_by(connection, "sagas_instances_open", queries::OPEN_VERSIONS, |sql| sql).await;
    finds_by(connection, "sagas_instances_attention", queries::ATTENTION, |sql| sql).await;
    let page = |query: InstanceQuery| queries::ordered("orders", &query).into_string();
    let stalest = page(InstanceQuery { open: true, order: InstanceOrder::Stalest, ..InstanceQuery::default() });
    let attention = page(InstanceQuery { attention: true, ..InstanceQuery::default() });
    for (index, sql) in [
        ("sagas_instances_newest", page(InstanceQuery::default())),
        ("sagas_instances_open", stalest),
        ("sagas_instances_attention", attention),
    ] {
        finds_by(connection, index, &sql, |sql| sql.bind(20_i64).bind(0_i64)).await;
    }

    let (sagas, ids) = (vec!["checkout"; 20], (1..=20).map(|n| format!("order-{n}")).collect::<Vec<_>>());
    for (index, sql) in [("sagas_steps_pkey", steps::OF), ("sagas_instances_pkey", instances::OF)] {
        finds_by(connection, index, sql, |sql| sql.bind(sagas.clone()).bind(ids.clone())).await;
    }
    finds_by(connection, "sagas_history_by_instance", history::OF, |sql| sql.bind("checkout").bind("order-1")).await;

    finds_by(connection, "sagas_steps_by_age", steps::PRUNE, |sql| sql.bind(500_i64).bind(100_i64)).await;
    finds_by(connection, "sagas_instances_ended", instances::ENDED, |sql| sql.bind(500_i64).bind(100_i64)).await;
    let ended = vec![vec![0_u8; 32]; 20];
    for index in ["sagas_instances_pkey", "sagas_history_by_instance"] {
        finds_by(connection, index, instances::FORGET, |sql| sql.bind(ended.clone()).bind(500_i64)).await;
    }
}

/// Every hundredth dead letter is open; one in a thousand parked messages holds its key.
const LETTERS: &str = "
    INSERT INTO sagas_dead_letters (service, id, event_type, error, attempts, at, state, settled_at, source, message_id, topic,
        \"partition\", \"offset\", record_key, value, headers, timestamp)
    SELECT 'orders', 'letter-' || n, 'OrderCreated', 'no', 1, n, CASE n % 100 WHEN 0 THEN 'open' ELSE 'retried' END,
        CASE WHEN n % 100 > 0 THEN n END, 'shop', 'm-' || n, 'orders', n % 6, n, convert_to('key-' || n, 'UTF8'), '{}', '\\x0100', n
    FROM generate_series(1, 20000) AS n;
    INSERT INTO sagas_parked (service, key, attempts, due, error, topic, \"partition\", \"offset\", headers, timestamp)
    SELECT 'orders', convert_to('key-' || n, 'UTF8'), 1, n, '', 'orders', n % 6, n, '\\x0100', n
    FROM generate_series(1, 20000) AS n;
    ANALYZE sagas_dead_letters; ANALYZE sagas_parked;";

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn dead_letters_are_found_by_indexes() {
    let schema = Schema::new();
    schema.store().await;
    let connection = &mut schema.beside().await;
    connection.execute(sqlx::raw_sql(LETTERS)).await.unwrap();
    let open = DeadLetterFilter::open();
    let newest = letter_queries::newest("orders", &open, 0, 10).into_string();
    finds_by(connection, "sagas_dead_letters_by_state", &newest, |sql| sql.bind(10_i64).bind(0_i64)).await;
    let in_order = letter_queries::in_order("orders", &open, None, 10).into_string();
    finds_by(connection, "sagas_dead_letters_by_position", &in_order, |sql| sql.bind(10_i64)).await;
    let messages = letter_queries::OF_MESSAGES;
    finds_by(connection, "sagas_dead_letters_by_message", messages, |sql| sql.bind(vec!["shop"; 2]).bind(vec!["m-1", "m-2"]))
        .await;
    let held = HELD.as_millis();
    let holding = dead_letters::HOLDING;
    finds_by(connection, "sagas_parked_by_key", holding, |sql| sql.bind(held).bind(vec!["letter-100"; 2])).await;
    let expired = dead_letters::PRUNE_OPEN;
    finds_by(connection, "sagas_dead_letters_by_age", expired, |sql| sql.bind(held).bind(500_i64).bind(10_i64)).await;
    let settled = dead_letters::PRUNE_SETTLED;
    finds_by(connection, "sagas_dead_letters_settled", settled, |sql| sql.bind(500_i64).bind(10_i64)).await;
}
