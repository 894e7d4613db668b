//! What the PostgreSQL store costs, as ratios within one run: portable against typed statements, and a unit of work against the same
//! statements written by hand.
//!
//! Needs a server (`scripts/postgres start`, or `SAGAS_TEST_POSTGRES`):
//! `cargo bench -p saga-core --bench postgres --features postgres`

#![expect(clippy::print_stdout, reason = "it is what a bench is for")]

use std::{
    error::Error,
    time::{Duration, Instant},
};

use bytes::Bytes;
use saga_core::{
    id::{IdSource, MessageId},
    message::{Header, Record, TopicPartition},
    store::{
        Database, InboxKey, Migration, Store, Tx, TxSlot,
        postgres::{PostgresOptions, PostgresStore},
    },
    time::Timestamp,
};
use sqlx::{Connection, Executor, PgConnection};

type Outcome<T = ()> = Result<T, Box<dyn Error>>;

const SCHEMA: &str = "bench_sagas";
const ROUNDS: usize = 7;
const NOW: Timestamp = Timestamp::from_millis(1);

const ACCOUNTS: &[Migration] = &[Migration {
    version: 1,
    name: "accounts",
    sql: "CREATE TABLE accounts (id BIGINT PRIMARY KEY, amount BIGINT NOT NULL) WITH (fillfactor = 50);
          INSERT INTO accounts (id, amount) SELECT id, 0 FROM generate_series(0, 999) AS id;",
}];

const UPDATE: &str = "UPDATE accounts SET amount = amount + $1 WHERE id = $2";

const UNGUARDED: &str = "ALTER TABLE sagas_inbox DISABLE TRIGGER USER; ALTER TABLE sagas_outbox DISABLE TRIGGER USER";
const GUARDED: &str = "ALTER TABLE sagas_inbox ENABLE TRIGGER USER; ALTER TABLE sagas_outbox ENABLE TRIGGER USER";

fn url() -> String {
    std::env::var("SAGAS_TEST_POSTGRES").unwrap_or_else(|_| "postgres://sagas:sagas@127.0.0.1:5432/sagas".into())
}

#[tokio::main]
async fn main() -> Outcome {
    let mut beside = PgConnection::connect(&url()).await?;
    beside.execute(sqlx::raw_sql("DROP SCHEMA IF EXISTS bench_sagas CASCADE")).await?;
    let store = PostgresStore::open(url().parse::<PostgresOptions>()?.schema(SCHEMA)?).await?;
    store.migrate().await?;
    store.migrate_set("bench", ACCOUNTS).await?;
    beside.execute(sqlx::raw_sql("SET search_path TO bench_sagas")).await?;
    let partition = TopicPartition::new("orders", 0);
    let epoch = store.acquire_partitions("bench", std::slice::from_ref(&partition)).await?[0].epoch;
    let database = Database::new(std::sync::Arc::new(store));

    println!("microseconds per statement or message, median of {ROUNDS} rounds (and how many of them this process computes)");
    let (typed, portable) = statements(&database, 1_000).await?;
    println!("one statement: typed {typed}, portable {portable}");
    println!("one round trip: {}", round_trip(&mut beside, 1_000).await?);
    for (size, count) in [(1, 200), (10, 50), (100, 15)] {
        let mut taken = [const { Vec::new() }; 3];
        // In turn, so that whatever else the machine does falls on all of them.
        for round in 0..=ROUNDS {
            let first = round * size * count;
            let by_hand = by_hand(&mut beside, first, size, count).await?;
            let guarded = units(&database, &partition, epoch, "guarded", first, size, count).await?;
            beside.execute(sqlx::raw_sql(UNGUARDED)).await?;
            let unguarded = units(&database, &partition, epoch, "unguarded", first, size, count).await?;
            beside.execute(sqlx::raw_sql(GUARDED)).await?;
            for (taken, time) in taken.iter_mut().zip([by_hand, guarded, unguarded]) {
                taken.push(time);
            }
        }
        let [by_hand, guarded, unguarded] = taken.map(|taken| Cost::of(&taken, size * count));
        println!("{size} per transaction: by hand {by_hand}, the store {guarded}, without its guard {unguarded}");
    }
    database.store().close().await;
    beside.execute(sqlx::raw_sql("DROP SCHEMA bench_sagas CASCADE")).await?;
    Ok(())
}

/// Microseconds per piece of work: the median of the rounds, and the processor's mean. The first round was for the caches.
struct Cost {
    wall: f64,
    cpu: f64,
}

impl Cost {
    fn of(taken: &[Taken], pieces: usize) -> Self {
        let mut wall: Vec<Duration> = taken[1..].iter().map(|taken| taken.wall).collect();
        wall.sort_unstable();
        let cpu: Duration = taken[1..].iter().map(|taken| taken.cpu).sum();
        let per_piece = |time: Duration, rounds: usize| time.as_secs_f64() * 1e6 / (pieces * rounds) as f64;
        Self { wall: per_piece(wall[wall.len() / 2], 1), cpu: per_piece(cpu, wall.len()) }
    }
}

impl std::fmt::Display for Cost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0} ({:.0} computing)", self.wall, self.cpu)
    }
}

async fn statements(database: &Database, count: usize) -> Outcome<(Cost, Cost)> {
    let (slot, ids) = (TxSlot::default(), IdSource::seeded(1));
    let mut tx = Tx::lend(database.store().begin().await?, slot, false, ids, NOW);
    let (mut typed, mut portable) = (Vec::new(), Vec::new());
    for _ in 0..=ROUNDS {
        let begun = now();
        for number in 0..count as i64 {
            sqlx::query(UPDATE).bind(1_i64).bind(number % 1_000).execute(tx.postgres().await?).await?;
        }
        typed.push(begun.elapsed());
        let begun = now();
        for number in 0..count as i64 {
            sqlx::query(UPDATE).bind(1_i64).bind(number % 1_000).execute(&mut tx).await?;
        }
        portable.push(begun.elapsed());
    }
    Ok((Cost::of(&typed, count), Cost::of(&portable, count)))
}

async fn round_trip(connection: &mut PgConnection, count: usize) -> Outcome<Cost> {
    let mut taken = Vec::new();
    for _ in 0..=ROUNDS {
        let begun = now();
        for _ in 0..count {
            connection.ping().await?;
        }
        taken.push(begun.elapsed());
    }
    Ok(Cost::of(&taken, count))
}

/// Inbox, update and outbox with the fewest statements that somebody would write.
async fn by_hand(connection: &mut PgConnection, first: usize, size: usize, count: usize) -> Outcome<Taken> {
    let begun = now();
    for batch in 0..count {
        let numbers = first + batch * size..first + (batch + 1) * size;
        let ids: Vec<String> = numbers.map(|number| format!("{size}-{number:09}")).collect();
        let values = vec![vec![b'x'; 300]; size];
        connection.execute(sqlx::raw_sql("BEGIN")).await?;
        let claim = "INSERT INTO sagas_inbox (service, source, id, at) SELECT 'hand', 'bench', id, 1 FROM unnest($1::text[]) AS id \
                     ON CONFLICT DO NOTHING RETURNING id";
        sqlx::query(claim).bind(&ids).fetch_all(&mut *connection).await?;
        for number in 0..size as i64 {
            sqlx::query(UPDATE).bind(1_i64).bind(number).execute(&mut *connection).await?;
        }
        let outbox = "INSERT INTO sagas_outbox (service, topic, key, value, headers, timestamp) \
                      SELECT 'hand', 'orders', 'key', value, '', 1 FROM unnest($1::bytea[]) AS value RETURNING id";
        sqlx::query(outbox).bind(&values).fetch_all(&mut *connection).await?;
        connection.execute(sqlx::raw_sql("COMMIT")).await?;
    }
    Ok(begun.elapsed())
}

async fn units(
    database: &Database,
    partition: &TopicPartition,
    epoch: i64,
    service: &str,
    first: usize,
    size: usize,
    count: usize,
) -> Outcome<Taken> {
    let record = Record {
        topic: "orders".into(),
        key: Some(Bytes::from_static(b"key")),
        value: Some(Bytes::from(vec![b'x'; 300])),
        headers: vec![Header::text("ce_id", "1")],
        timestamp: NOW.into(),
    };
    let begun = now();
    for batch in 0..count {
        let numbers = first + batch * size..first + (batch + 1) * size;
        let id = |number| InboxKey { source: "bench".into(), id: MessageId::new(format!("{size}-{number:09}")) };
        let keys: Vec<InboxKey> = numbers.map(id).collect();
        let mut open = database.store().begin().await?;
        open.claim(service, &keys, NOW).await?;
        let slot = TxSlot::default();
        let mut tx = Tx::lend(open, slot.clone(), false, IdSource::seeded(1), NOW);
        for number in 0..size as i64 {
            sqlx::query(UPDATE).bind(1_i64).bind(number).execute(tx.postgres().await?).await?;
        }
        drop(tx);
        let mut open = slot.take().ok_or("the transaction is gone")?.tx;
        open.append_outbox(service, &vec![record.clone(); size]).await?;
        open.check_ownership("bench", &[(partition.clone(), epoch)]).await?;
        open.commit().await?;
    }
    Ok(begun.elapsed())
}

/// How long something takes, and how much of it this process computes.
#[derive(Clone, Copy)]
struct Clocks {
    wall: Instant,
    cpu: Duration,
}

#[derive(Clone, Copy)]
struct Taken {
    wall: Duration,
    cpu: Duration,
}

#[expect(clippy::disallowed_methods, reason = "it measures")]
fn now() -> Clocks {
    Clocks { wall: Instant::now(), cpu: cpu() }
}

impl Clocks {
    fn elapsed(self) -> Taken {
        Taken { wall: self.wall.elapsed(), cpu: cpu().saturating_sub(self.cpu) }
    }
}

/// The processor time of this process, to a hundredth of a second; 0 where `/proc` does not say.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}
