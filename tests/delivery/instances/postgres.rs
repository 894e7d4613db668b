//! On a real PostgreSQL.

use std::sync::{Arc, mpsc::sync_channel};

use sagas_tests::{eventually, schema::Schema};

use super::*;

/// Returns the number of shards of each owner, the smallest first.
async fn shares(schema: &Schema) -> Vec<i64> {
    let sql = "SELECT count(*) FROM sagas_shards WHERE expires > now() GROUP BY owner ORDER BY 1";
    let database = schema.open().await;
    let shares = sqlx::query_scalar::<sqlx::Any, i64>(sql).fetch_all(&database).await.unwrap();
    database.store().close().await;
    shares
}

async fn fair<const N: usize>(schema: &Schema, expected: [i64; N]) {
    eventually("the shards are divided", async || (shares(schema).await == expected).then_some(())).await;
}

async fn pair(schema: &Schema) -> [Instance; 2] {
    let log = Arc::new(Log::default());
    let first = Instance::start(schema.open().await, log.clone()).await;
    let second = Instance::start(schema.open().await, log.beside()).await;
    fair(schema, [8, 8]).await;
    [first, second]
}

fn in_order(log: &Log, keys: u32, numbers: u32) {
    for key in 0..keys {
        assert_eq!(firsts(log, &format!("o{key}")), (0..numbers).collect::<Vec<_>>(), "key o{key}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_goodbye_frees_shards_at_once_and_sends_nothing_twice() {
    let schema = Schema::new();
    let [first, second] = pair(&schema).await;
    in_turn([&first, &second], 20, 0..10).await;
    let log = second.log.clone();
    first.stop().await;
    let began = tokio::time::Instant::now();
    fair(&schema, [16]).await;
    assert!(began.elapsed() < LEASE, "nobody waits for a lease to run out: {:?}", began.elapsed());
    in_turn([&second, &second], 20, 10..20).await;
    nothing_left(&schema.open().await).await;
    in_order(&log, 20, 20);
    assert_eq!(twice(&log), 0);
    second.stop().await;
    assert!(shares(&schema).await.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn the_shards_of_a_killed_instance_are_adopted_and_sent_in_order() {
    let schema = Schema::new();
    let [first, second] = pair(&schema).await;
    first.log.set_down(true);
    in_turn([&first, &second], 20, 0..10).await;
    let log = second.log.clone();
    first.kill();
    let began = tokio::time::Instant::now();
    in_turn([&second, &second], 20, 10..20).await;
    nothing_left(&schema.open().await).await;
    assert!(began.elapsed() < LEASE * 4, "{:?}", began.elapsed());
    in_order(&log, 20, 20);
    assert_eq!(twice(&log), 0);
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn one_that_stands_still_past_its_lease_breaks_no_order() {
    let schema = Schema::new();
    let log = Arc::new(Log::default());
    // The process runs in its own thread, which can be suspended.
    let (freeze, frozen) = sync_channel::<std::time::Duration>(1);
    let (started, start) = sync_channel(1);
    let (database, its_log) = (schema.url(), log.beside());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let instance = Instance::start(Database::open(&database).await.unwrap(), its_log).await;
            started.send(()).unwrap();
            for number in 0..60 {
                for key in (0..20).filter(|key| (key + number) % 2 == 0) {
                    instance.commit(&format!("f{key}"), number).await;
                }
                if let Ok(still) = frozen.try_recv() {
                    // Its last commits are in its relay now, which cannot send them.
                    let (_keep, never) = sync_channel::<()>(1);
                    let _ = never.recv_timeout(still);
                }
            }
            instance.stop().await;
        });
    });
    tokio::task::spawn_blocking(move || start.recv().unwrap()).await.unwrap();
    let other = Instance::start(schema.open().await, log.clone()).await;
    fair(&schema, [8, 8]).await;
    freeze.send(LEASE * 2).unwrap();
    eventually("the other has all", async || (shares(&schema).await == [16]).then_some(())).await;
    for number in 0..20 {
        for key in 0..20 {
            other.commit(&format!("o{key}"), number).await;
        }
    }
    tokio::task::spawn_blocking(move || thread.join().unwrap()).await.unwrap();
    nothing_left(&schema.open().await).await;
    in_order(&log, 20, 20);
    for key in 0..20 {
        let committed: Vec<_> = (0..60).filter(|number| (key + number) % 2 == 0).collect();
        assert_eq!(firsts(&log, &format!("f{key}")), committed);
    }
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_notification_wakes_the_owner() {
    const ROWS: u32 = 100;
    let schema = Schema::new();
    let [first, second] = pair(&schema).await;
    let began = tokio::time::Instant::now();
    for number in 0..ROWS {
        first.commit(&format!("o{number}"), number).await;
        until("it is sent", || async { first.log.records().len() as u32 > number }).await;
    }
    // Without notifications, the owner scans every 2 s: half of the rows would have waited for a second on average.
    assert!(began.elapsed() < Duration::from_secs(u64::from(ROWS) / 4), "{:?}", began.elapsed());
    assert!(second.log.brought() > 25, "{} were the other's", second.log.brought());
    first.stop().await;
    second.stop().await;
}
