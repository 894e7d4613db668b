//! The order within a key, with many events of each key in flight and several processes that publish and handle them.

use std::{collections::BTreeMap, time::Duration};

use sagas_tests::process::{Program, command, eventually};
use sqlx::{Connection, PgConnection};
use tokio::time::{Instant, sleep};

use super::{
    PATIENCE, seeded,
    servers::Servers,
    topics::{Published, published},
};

const INSTANCES: usize = 3;
const KILLS: usize = 10;
const KEYS: i64 = 40;
const LIMIT: i64 = 250;

/// Three processes increment counters by key and publish each count; the same three record the counts. One of them is killed and
/// restarted ten times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Apache Kafka and PostgreSQL: scripts/kafka start, scripts/postgres start"]
async fn what_several_instances_publish_of_a_key_keeps_its_order_through_kills() {
    let mut rng = seeded();
    let servers = Servers::start().await;
    let (broker, database) = (format!("kafka://{}", servers.bootstrap().await), servers.database().await);
    let start = |seed: u64| {
        let args = [broker.clone(), database.clone(), KEYS.to_string(), LIMIT.to_string(), seed.to_string()];
        Program::start(&mut command(env!("CARGO_BIN_EXE_counters-under-test"), args))
    };
    let mut instances: Vec<_> = (0..INSTANCES).map(|_| start(rng.u64(..))).collect();
    let began = Instant::now();
    eventually(PATIENCE, "they count", async || (sum(&database, "sink.seen").await? > 0).then_some(()).ok_or("0".into())).await;
    for kill in 1..=KILLS {
        // At any time, also during the start.
        sleep(Duration::from_millis(rng.u64(200..2_500))).await;
        let victim = rng.usize(0..instances.len());
        let (up, down) = (sum(&database, "source.counters").await.unwrap(), sum(&database, "sink.seen").await.unwrap());
        println!("kill {kill:>2}: instance {victim} at {up} counted up, {down} taken down");
        let killed = std::mem::replace(&mut instances[victim], start(rng.u64(..)));
        killed.kill().await;
    }
    eventually(PATIENCE, "all is taken down", async || {
        let (up, down) = (sum(&database, "source.counters").await?, sum(&database, "sink.seen").await?);
        (down == KEYS * LIMIT).then_some(()).ok_or_else(|| format!("{up} counted up, {down} taken down"))
    })
    .await;
    println!("{} counts in {:.1?}", KEYS * LIMIT, began.elapsed());
    assert_eq!(surprises(&database).await, [], "counts that did not follow the one before: key, last, this one");
    every_key_counts_up(&published(servers.bootstrap().await, &["counts"]).await);
    for instance in instances {
        instance.signal("INT").await;
        let ended = instance.ends_within(Duration::from_secs(20)).await;
        assert_eq!(ended.status.code(), Some(0), "{ended:#?}");
    }
}

async fn sum(database: &str, table: &'static str) -> Result<i64, String> {
    let sql = match table {
        "source.counters" => "SELECT COALESCE(SUM(n), 0)::BIGINT FROM source.counters",
        _ => "SELECT COALESCE(SUM(n), 0)::BIGINT FROM sink.seen",
    };
    let read = async || sqlx::query_scalar(sql).fetch_one(&mut PgConnection::connect(database).await?).await;
    read().await.map_err(|error: sqlx::Error| error.to_string())
}

async fn surprises(database: &str) -> Vec<(String, i64, i64)> {
    let mut db = PgConnection::connect(database).await.unwrap();
    sqlx::query_as("SELECT key, last, n FROM sink.surprises").fetch_all(&mut db).await.unwrap()
}

/// After a crash, a record can be in the topic twice with the same id; only its first position counts.
fn every_key_counts_up(records: &[Published]) {
    let (mut last, mut ids) = (BTreeMap::<_, i64>::new(), BTreeMap::new());
    for record in records {
        let (n, last) = (record.value["n"].as_i64().unwrap(), last.entry(&record.key).or_default());
        let id = ids.entry((&record.key, n)).or_insert(&record.id);
        assert_eq!(*id, &record.id, "{n} of {} was published as two events", record.key);
        assert!(n <= *last + 1, "of {}, {n} is in the topic before {}", record.key, *last + 1);
        *last = n.max(*last);
    }
    println!("{} records, {} of them a second time", records.len(), records.len() - ids.len());
    assert!(last.len() == KEYS as usize && last.values().all(|last| *last == LIMIT), "{last:?}");
}
