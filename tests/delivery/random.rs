//! A chain of services under all faults at once, at random from a seed: every effect happens once, in the order of its key, and
//! nothing is left over. A failing test prints its seed.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{
    Service,
    port::transport::Transport,
    prelude::*,
    testing::{
        Pump,
        faulty::{Faults as LogFaults, Faulty},
    },
    transport::memory::Memory,
};
use serde::{Deserialize, Serialize};

use crate::support::{
    store::{Faults, failing},
    *,
};

#[event(topic = "shipments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shipped {
    order_id: String,
    number: u32,
}

/// The random source of handlers.
#[derive(Clone)]
struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    async fn draw(&self) -> Result<(), Failure> {
        let drawn = self.0.lock().unwrap().u8(0..100);
        match drawn {
            0..8 => Err(Failure::retry("drawn")),
            8..12 => Err(Failure::Later(Duration::from_millis(300))),
            12..15 => panic!("drawn"),
            15..40 => {
                tokio::task::yield_now().await;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

async fn write(tx: &mut Tx, order_id: &str, number: u32) -> Result<(), Failure> {
    Ok(Plan::done().rows().write(tx, &placed(order_id, number)).await?)
}

#[handler(retry(max = 10000, backoff = "10ms..100ms"), timeout = "10h")]
async fn charge(On(placed): On<Placed>, mut tx: Tx, State(chance): State<Chance>) -> Result<Charged, Failure> {
    chance.draw().await?;
    write(&mut tx, &placed.order_id, placed.number).await?;
    chance.draw().await?;
    Ok(Charged { order_id: placed.order_id, number: placed.number })
}

#[handler(retry(max = 10000, backoff = "10ms..100ms"), timeout = "10h")]
async fn ship(On(charged): On<Charged>, work: Work, State(chance): State<Chance>) -> Result<Shipped, Failure> {
    chance.draw().await?;
    let mut tx = work.begin().await?;
    write(&mut tx, &charged.order_id, charged.number).await?;
    chance.draw().await?;
    Ok(Shipped { order_id: charged.order_id, number: charged.number })
}

#[handler(retry(max = 10000, backoff = "10ms..100ms"), timeout = "10h")]
async fn project(Batch(shipped): Batch<Shipped>, mut tx: Tx, State(chance): State<Chance>) -> Result<(), Failure> {
    for (shipped, _) in shipped {
        write(&mut tx, &shipped.order_id, shipped.number).await?;
    }
    chance.draw().await
}

const NAMES: [&str; 3] = ["payments", "shipping", "projection"];
const KEYS: u32 = 5;

struct World {
    databases: Vec<Database>,
    log: Arc<Faulty>,
    inner: Arc<Memory>,
    clock: sagas::time::Clock,
    chance: Chance,
    starts: u64,
}

impl World {
    async fn start(&mut self) -> Pump {
        loop {
            self.starts += 1;
            let handlers = [handlers![charge].to_vec(), handlers![ship].to_vec(), handlers![project].to_vec()];
            let services = NAMES.into_iter().zip(&self.databases).zip(handlers).map(|((name, database), handlers)| {
                let service = Service::new(name, database.clone()).migrations(ENTRIES);
                service.state(self.chance.clone()).handlers(handlers)
            });
            let pump = Pump::of(services.collect::<Vec<_>>()).on(self.log.clone()).clock(self.clock.clone());
            // A database fault at this moment makes the start fail.
            match pump.seed(self.starts).try_start(&[]).await {
                Ok(pump) => return pump,
                Err(error) => assert!(error.to_string().contains("a fault that the test asked for"), "{error}"),
            }
        }
    }

    async fn crash(&self, pump: Pump) {
        drop(pump);
        let clock = self.clock.clone();
        advance_until(&clock, "the app has ended", || async {
            self.databases.iter().all(|database| Arc::strong_count(database.store()) == 1)
        })
        .await;
    }
}

#[expect(clippy::print_stdout, reason = "a failing run shows its seed")]
fn tell(seed: u64) {
    println!("seed {seed}");
}

async fn run(seed: u64) {
    tell(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = clock();
    let store_faults = Faults::default();
    let mut outside = Vec::new();
    for _ in NAMES {
        outside.push(sqlite().await);
    }
    let inner = Arc::new(Memory::with_clock(clock.clone()));
    let mut world = World {
        databases: outside.iter().map(|database| failing(database, &store_faults)).collect(),
        log: Arc::new(Faulty::new(inner.clone(), LogFaults::default(), seed, clock.clone())),
        inner,
        clock: clock.clone(),
        chance: Chance(Arc::new(Mutex::new(rng.fork()))),
        starts: seed << 32,
    };
    let mut pump = world.start().await;
    world.log.set(LogFaults {
        duplicate: 0.2,
        delay: 0.2,
        fail_publish: 0.1,
        cut_publish: 0.1,
        lose_answer: 0.1,
        fail_commit: 0.1,
        ..LogFaults::default()
    });
    let mut draws = rng.fork();
    store_faults.set(move |_| draws.u8(0..100) < 3);

    let mut published = 0;
    for _ in 0..25 {
        let records: Vec<_> = (0..rng.u32(0..12))
            .map(|_| {
                let (key, number) = (format!("o{}", published % KEYS), published);
                published += 1;
                let value = format!(r#"{{"order_id":"{key}","number":{number}}}"#);
                let headers = [("ce_id", &*format!("m{number}")), ("ce_source", "shop"), ("ce_type", "Placed")];
                record(Some(key.as_bytes()), Some(value.as_bytes()), &headers)
            })
            .collect();
        assert!(world.inner.publish(records).await.iter().all(Result::is_ok));
        for _ in 0..rng.u32(0..60) {
            clock.advance(Duration::from_millis(5));
            tokio::task::yield_now().await;
        }
        if rng.u8(0..100) < 30 {
            world.crash(pump).await;
            pump = world.start().await;
        }
    }
    store_faults.clear();
    world.log.set(LogFaults::default());
    settle(&pump, &NAMES).await;
    advance_until(&clock, "every late delivery has come", || async { world.log.held_back() == 0 }).await;
    settle(&pump, &NAMES).await;

    for (name, database) in NAMES.into_iter().zip(&outside) {
        for key in 0..KEYS {
            let expected: Vec<_> =
                (0..i64::from(published)).filter(|number| number % i64::from(KEYS) == i64::from(key)).collect();
            let written = sqlx::query_scalar::<sqlx::Any, i64>("SELECT number FROM entries WHERE order_id = $1 ORDER BY rowid");
            let written = written.bind(format!("o{key}")).fetch_all(database).await.unwrap();
            assert_eq!(written, expected, "seed {seed}: `{name}`, key o{key}");
        }
        assert!(pump.service(name).dead_letters(0, 1).await.unwrap().0.is_empty(), "seed {seed}: `{name}` gave up");
    }
}

#[tokio::test]
async fn every_effect_happens_once_and_in_order() {
    for seed in 0..4 {
        run(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_too() {
    for seed in 100..103 {
        run(seed).await;
    }
}
