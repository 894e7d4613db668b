//! Partitions of a topic are added or removed: the parked messages of a key stay one queue, in order, whichever process owns
//! which partition.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{handler::Handler, prelude::*, time::Clock, transport::memory::Memory};

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Faults, failing},
    *,
};

const ORDERS: u32 = 12;

fn orders() -> impl Iterator<Item = String> {
    (0..ORDERS).map(|order| format!("o{order}"))
}

/// A service in which orders with the number 1 wait as long as `outage` is set.
struct World {
    database: Database,
    clock: Clock,
    log: Memory,
    outage: Arc<AtomicBool>,
    plan: Plan,
    handlers: Vec<Handler>,
}

impl World {
    async fn new(handlers: Vec<Handler>) -> Self {
        let (clock, outage) = (clock(), Arc::new(AtomicBool::new(true)));
        let waits = outage.clone();
        let plan = Plan::new(move |placed, _| match placed.number == 1 && waits.load(Ordering::SeqCst) {
            true => Step::Later(Duration::from_secs(1)),
            false => Step::Done,
        });
        let database = failing(&sqlite().await, &Faults::default());
        Self { database, log: Memory::with_clock(clock.clone()), clock, outage, plan, handlers }
    }

    async fn start(&self, seed: u64, count: u32) -> Instance {
        let service = service(&self.database, &self.plan).handlers(self.handlers.clone()).settings(partitions(count));
        Instance::start(service, &self.log, &self.clock, seed).await
    }

    /// Publishes this number of every order; returns the partitions.
    async fn publish(&self, number: u32) -> BTreeMap<String, i32> {
        let mut places = BTreeMap::new();
        for order in orders() {
            let partition = publish(&self.log, &order, number).await;
            places.insert(order, partition);
        }
        places
    }

    async fn parked(&self) -> usize {
        self.database.store().parked_keys("payments").await.unwrap().iter().map(|key| key.count).sum()
    }

    /// Ends the outage, and waits until everything is handled, each order in its order.
    async fn ends(&self, numbers: &[u32]) {
        self.outage.store(false, Ordering::SeqCst);
        advance_until(&self.clock, "everything is handled", || async { self.parked().await == 0 }).await;
        for order in orders() {
            let mut handled = self.plan.numbers(&order);
            handled.dedup();
            assert_eq!(handled, numbers, "{order}");
        }
    }
}

fn moved(before: &BTreeMap<String, i32>, after: &BTreeMap<String, i32>) -> usize {
    before.iter().filter(|(order, partition)| after[*order] != **partition).count()
}

#[tokio::test]
async fn a_key_that_moves_to_a_new_partition_is_handled_in_order_by_one_instance() {
    for handlers in [handlers![bare], handlers![calling]] {
        for restart in [true, false] {
            let world = World::new(handlers.to_vec()).await;
            let first = world.start(1, 3).await;
            let before = world.publish(1).await;
            until("all are parked", || async { world.parked().await == ORDERS as usize }).await;
            let instance = if restart {
                assert!(first.handle.stop().await);
                world.log.add_partitions("orders", 7).await.unwrap();
                world.start(2, 3).await
            } else {
                world.log.add_partitions("orders", 7).await.unwrap();
                first
            };
            let after = world.publish(2).await;
            assert!(moved(&before, &after) > 3, "{before:?} {after:?}");
            until("all are queued behind", || async { world.parked().await == 2 * ORDERS as usize }).await;
            world.ends(&[1, 2]).await;
            world.publish(3).await;
            let all = || async { orders().all(|order| world.plan.numbers(&order).last() == Some(&3)) };
            advance_until(&world.clock, "a key is free again", all).await;
            assert!(instance.handle.stop().await);
        }
    }
}

/// One process owns the old partition and another the new one, whose index does not contain the key.
#[tokio::test]
async fn a_key_that_moves_to_the_partition_of_another_instance_waits_there() {
    for handlers in [handlers![bare], handlers![calling]] {
        let world = World::new(handlers.to_vec()).await;
        let instances = [world.start(1, 3).await, world.start(2, 3).await];
        world.publish(0).await;
        until("both have come to rest", || async {
            world.clock.advance(Duration::from_millis(5));
            orders().all(|order| world.plan.numbers(&order) == [0])
        })
        .await;
        let before = world.publish(1).await;
        until("all are parked", || async { world.parked().await == ORDERS as usize }).await;
        world.log.add_partitions("orders", 6).await.unwrap();
        let after = world.publish(2).await;
        assert!(moved(&before, &after) > 3, "{before:?} {after:?}");
        until("all are queued behind", || async { world.parked().await == 2 * ORDERS as usize }).await;
        world.publish(3).await;
        until("all are queued behind", || async { world.parked().await == 3 * ORDERS as usize }).await;
        world.ends(&[0, 1, 2, 3]).await;
        for instance in instances {
            assert!(instance.handle.stop().await);
        }
    }
}

/// The topic is recreated with fewer partitions: parked messages of removed partitions are still tried, and so is a dead letter.
#[tokio::test]
async fn what_is_parked_of_a_partition_that_is_gone_is_handled() {
    for instances in 1..=2 {
        let world = World::new(handlers![bare].to_vec()).await;
        let first = world.start(1, 6).await;
        let before = world.publish(1).await;
        until("all are parked", || async { world.parked().await == ORDERS as usize }).await;
        assert!(before.values().any(|partition| *partition >= 2));
        assert!(first.handle.stop().await);
        world.log.recreate("orders", 2).await.unwrap();
        let mut running = Vec::new();
        for seed in 0..instances {
            running.push(world.start(10 + seed, 2).await);
        }
        world.ends(&[1]).await;
        for instance in running {
            assert!(instance.handle.stop().await);
        }
    }
}

/// Two processes that come and go, failing handlers, and a topic whose partitions are doubled while keys are parked, at random
/// from a seed. All messages published before the change are consumed before it, because the log has no order between partitions.
async fn grows(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let (clock, draws) = (clock(), std::sync::Mutex::new(rng.fork()));
    let outside = sqlite().await;
    let log = Memory::with_clock(clock.clone());
    let plan = Plan::new(move |_, _| match draws.lock().unwrap().u8(0..10) {
        0..5 => Step::Done,
        5..9 => Step::Later(Duration::from_millis(400)),
        _ => Step::Retry,
    })
    .rows();
    let database = failing(&outside, &Faults::default());
    let start = async |seed: u64| {
        let service = service(&database, &plan).handlers(handlers![patient]).settings(partitions(2));
        Instance::start(service, &log, &clock, seed).await
    };
    let mut slots = [Some(start(seed << 8).await), Some(start((seed << 8) + 1).await)];
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    let (mut starts, mut count) = ((seed << 8) + 2, 2);
    for _ in 0..6 {
        for _ in 0..12 {
            let order = format!("o{}", rng.u32(0..ORDERS));
            let number = numbers.entry(order.clone()).or_default();
            *number += 1;
            publish(&log, &order, *number).await;
            clock.advance(Duration::from_millis(rng.u64(0..100)));
            for _ in 0..rng.u32(0..20) {
                tokio::task::yield_now().await;
            }
        }
        let slot = rng.usize(0..2);
        match slots[slot].take() {
            Some(instance) if rng.bool() && slots[1 - slot].is_some() => drop(instance),
            Some(instance) => slots[slot] = Some(instance),
            None => {
                slots[slot] = Some(start(starts).await);
                starts += 1;
            }
        }
        let topics = ["orders".to_owned()];
        advance_until(&clock, "all is taken", || async {
            use sagas::port::transport::Transport;
            log.lag("payments", &topics).await.unwrap().iter().all(|lag| lag.committed == lag.end)
        })
        .await;
        if count < 12 && rng.bool() {
            count *= 2;
        }
        log.add_partitions("orders", count).await.unwrap();
    }
    let parked = || async { outside.store().parked_keys("payments").await.unwrap().len() };
    advance_until(&clock, "everything is handled", || async { parked().await == 0 }).await;
    for (order, last) in numbers {
        let handled = sqlx::query_scalar::<sqlx::Any, i64>("SELECT number FROM entries WHERE order_id = $1 ORDER BY rowid");
        let handled = handled.bind(order.clone()).fetch_all(&outside).await.unwrap();
        assert_eq!(handled, (1..=i64::from(last)).collect::<Vec<_>>(), "seed {seed}: {order}");
    }
}

#[handler(retry(max = 10000, backoff = "10ms..400ms"), timeout = "10h")]
async fn patient(On(placed): On<Placed>, mut tx: Tx, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure> {
    plan.write(&mut tx, &placed).await?;
    match plan.step(&placed, &meta) {
        Step::Later(after) => Err(Failure::Later(after)),
        Step::Retry => Err(Failure::retry("planned")),
        _ => Ok(()),
    }
}

#[tokio::test]
async fn keys_stay_in_order_while_a_topic_grows() {
    for seed in 0..12 {
        grows(seed).await;
    }
}
