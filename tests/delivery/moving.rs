//! Two processes of a service whose partitions move between them, while members freeze, crash and return, and the log and the
//! database fail, at random from a seed: every effect happens once, in the order of its key.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use sagas::{
    port::transport::Transport, prelude::*, testing::faulty::Faults as LogFaults, time::Clock, transport::memory::Memory,
};

use crate::support::{
    instance::{Instance, partitions},
    store::{Faults, failing},
    *,
};

/// The random source of handlers.
#[derive(Clone)]
struct Chance(Arc<Mutex<fastrand::Rng>>);

impl Chance {
    async fn draw(&self) -> Result<(), Failure> {
        let drawn = self.0.lock().unwrap().u8(0..100);
        match drawn {
            0..6 => Err(Failure::retry("drawn")),
            6..9 => Err(Failure::Later(Duration::from_millis(300))),
            9..11 => panic!("drawn"),
            11..40 => {
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
async fn charge(On(placed): On<Placed>, mut tx: Tx, State(chance): State<Chance>) -> Result<(), Failure> {
    chance.draw().await?;
    write(&mut tx, &placed.order_id, placed.number).await?;
    chance.draw().await
}

#[handler(retry(max = 10000, backoff = "10ms..100ms"), timeout = "10h")]
async fn refund(On(charged): On<Charged>, work: Work, State(chance): State<Chance>) -> Result<(), Failure> {
    chance.draw().await?;
    let mut tx = work.begin().await?;
    write(&mut tx, &charged.order_id, charged.number).await?;
    chance.draw().await
}

const KEYS: u32 = 6;

struct World {
    database: Database,
    log: Memory,
    clock: Clock,
    chance: Chance,
    starts: u64,
    slots: [Option<Instance>; 2],
}

impl World {
    async fn start(&mut self, slot: usize) {
        loop {
            self.starts += 1;
            let service = Service::new("payments", self.database.clone()).migrations(ENTRIES).state(self.chance.clone());
            let service = service.handlers(handlers![charge, refund]).settings(partitions(3));
            let log = Arc::new(sagas::testing::faulty::Faulty::new(
                Arc::new(self.log.clone()),
                LogFaults { duplicate: 0.1, delay: 0.1, fail_commit: 0.1, ..LogFaults::default() },
                self.starts,
                self.clock.clone(),
            ));
            let app = App::new("shop").service(service).clock(self.clock.clone());
            match app.ids(sagas::id::IdSource::seeded(self.starts)).start(log.clone()).await {
                Ok(handle) => {
                    self.slots[slot] = Some(Instance { handle, log });
                    return;
                }
                // A database fault at this moment makes the start fail.
                Err(error) => assert!(error.to_string().contains("a fault that the test asked for"), "{error}"),
            }
        }
    }

    async fn pass(&self, step: Duration) {
        self.clock.advance(step);
        for _ in 0..5 {
            tokio::task::yield_now().await;
        }
    }
}

/// Publishes the next message of a key on one of the two topics.
async fn publish(log: &Memory, number: u32) {
    let (key, topic) = (number % KEYS, number % 2);
    let (topic, event, key) =
        [("orders", "Placed", format!("o{key}")), ("payments", "Charged", format!("r{key}"))][topic as usize].clone();
    let value = format!(r#"{{"order_id":"{key}","number":{number}}}"#);
    let headers = [("ce_id", &*format!("m{number}")), ("ce_source", "shop"), ("ce_type", event)];
    let mut record = record(Some(key.as_bytes()), Some(value.as_bytes()), &headers);
    record.topic = topic.to_owned();
    assert!(log.publish(vec![record]).await.iter().all(Result::is_ok));
}

#[expect(clippy::print_stdout, reason = "a failing run shows its seed")]
fn tell(seed: u64) {
    println!("seed {seed}");
}

async fn run(seed: u64) {
    tell(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let (clock, faults, outside) = (clock(), Faults::default(), sqlite().await);
    let mut world = World {
        database: failing(&outside, &faults),
        log: Memory::with_clock(clock.clone()),
        clock: clock.clone(),
        chance: Chance(Arc::new(Mutex::new(rng.fork()))),
        starts: seed << 32,
        slots: [None, None],
    };
    world.start(0).await;
    world.start(1).await;
    let mut draws = rng.fork();
    faults.set(move |_| draws.u8(0..100) < 2);

    let mut published = 0;
    for _ in 0..40 {
        for _ in 0..rng.u32(0..12) {
            publish(&world.log, published).await;
            published += 1;
        }
        for _ in 0..rng.u32(0..30) {
            world.pass(Duration::from_millis(20)).await;
        }
        let slot = rng.usize(0..2);
        match (rng.u8(0..100), &world.slots[slot]) {
            (0..20, Some(instance)) => instance.log.freeze(),
            (20..45, Some(instance)) => instance.log.thaw(),
            // A frozen member loses its partitions.
            (45..60, _) => world.pass(Duration::from_secs(31)).await,
            (60..70, Some(_)) => world.slots[slot] = None,
            (70..75, Some(_)) => {
                let instance = world.slots[slot].take().unwrap();
                instance.log.thaw();
                let clock = clock.clone();
                tokio::select! {
                    _ = instance.handle.stop() => {}
                    () = async { loop { clock.advance(Duration::from_millis(20)); tokio::task::yield_now().await; } } => {}
                }
            }
            (60..100, None) => world.start(slot).await,
            _ => {}
        }
    }
    faults.clear();
    for slot in 0..2 {
        match &world.slots[slot] {
            Some(instance) => instance.log.thaw(),
            None => world.start(slot).await,
        }
    }
    let count = async || rows(&outside).await.len();
    let began = tokio::time::Instant::now();
    while count().await < published as usize || !outside.store().parked_keys("payments").await.unwrap().is_empty() {
        world.pass(Duration::from_millis(100)).await;
        assert!(began.elapsed() < Duration::from_secs(30), "seed {seed}: {} of {published} are done", count().await);
    }
    for key in 0..KEYS {
        let order = format!("{}{key}", ["o", "r"][key as usize % 2]);
        let expected: Vec<_> = (0..i64::from(published)).filter(|number| number % i64::from(KEYS) == i64::from(key)).collect();
        let written = sqlx::query_scalar::<sqlx::Any, i64>("SELECT number FROM entries WHERE order_id = $1 ORDER BY rowid");
        let written = written.bind(order.clone()).fetch_all(&outside).await.unwrap();
        assert_eq!(written, expected, "seed {seed}: {order}");
    }
    assert_eq!(outside.store().dead_letters("payments", 0, 1).await.unwrap().1, 0, "seed {seed}");
}

#[tokio::test]
async fn every_effect_happens_once_and_in_order() {
    for seed in 0..8 {
        run(seed).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_many_threads_too() {
    for seed in 100..108 {
        run(seed).await;
    }
}
