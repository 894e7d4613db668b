//! A chain of services under all faults at once, at random from a seed: every effect happens once, in the order of its key, and
//! nothing is left over. A failing test prints its seed.

use std::{sync::Arc, time::Duration};

use sagas::{
    Service,
    prelude::*,
    testing::{
        Pump,
        faulty::{Faults as LogFaults, Faulty, FaultyStore},
    },
    transport::{Transport, memory::Memory},
};
use serde::{Deserialize, Serialize};

use crate::support::{
    chance::{Chance, Shares, assert_written, numbered, tell, write},
    store::{fail_at_random, faulty},
    *,
};

#[event(topic = "shipments", key = order_id)]
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Shipped {
    order_id: String,
    number: u32,
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

async fn run(seed: u64) {
    tell(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let clock = clock();
    let mut outside = Vec::new();
    for _ in NAMES {
        outside.push(sqlite().await);
    }
    let stores: Vec<_> = outside.iter().map(faulty).collect();
    let inner = Arc::new(Memory::with_clock(clock.clone()));
    let mut world = World {
        databases: stores.iter().map(FaultyStore::database).collect(),
        log: Arc::new(Faulty::new(inner.clone(), LogFaults::default(), seed, clock.clone())),
        inner,
        clock: clock.clone(),
        chance: Chance::new(rng.fork(), Shares { retry: 8, later: 4, panic: 3 }),
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
    for store in &stores {
        fail_at_random(store, rng.fork(), 3);
    }

    let mut published = 0;
    for _ in 0..25 {
        let records: Vec<_> = (0..rng.u32(0..12))
            .map(|_| {
                let (key, number) = (format!("o{}", published % KEYS), published);
                published += 1;
                numbered("Placed", &key, number)
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
    stores.iter().for_each(FaultyStore::clear);
    world.log.set(LogFaults::default());
    settle(&pump, &NAMES).await;
    advance_until(&clock, "every late delivery has come", || async { world.log.held_back() == 0 }).await;
    settle(&pump, &NAMES).await;

    for (name, database) in NAMES.into_iter().zip(&outside) {
        for key in 0..KEYS {
            assert_written(database, &format!("o{key}"), (key, KEYS), published, &format!("seed {seed}: `{name}`")).await;
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
