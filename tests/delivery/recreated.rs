//! A topic is deleted and created again: the known offsets belong to another log.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sagas::{
    App, Handle,
    health::Status,
    message::{Header, TopicPartition},
    port::transport::Transport,
    prelude::*,
    replay::{ReplayPoint, ReplayRequest, ReplayState},
    settings::OnGap,
    testing::faulty::{Faults as LogFaults, Faulty},
    time::Clock,
    transport::memory::Memory,
};

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Fault, Faults, failing},
    watch::Watched,
    *,
};

/// A service with its log and its database.
struct World {
    database: Database,
    faults: Faults,
    plan: Plan,
    clock: Clock,
    log: Memory,
    partitions: u32,
}

impl World {
    fn new(plan: Plan, partitions: u32) -> Self {
        let (faults, clock) = (Faults::default(), clock());
        let database = failing(&Database::memory(), &faults);
        Self { database, faults, plan, log: Memory::with_clock(clock.clone()), clock, partitions }
    }

    fn service(&self, on_gap: OnGap) -> Service {
        let mut settings = partitions(self.partitions);
        settings.on_gap = on_gap;
        service(&self.database, &self.plan).handlers(handlers![bare]).settings(settings)
    }

    async fn start(&self, on_gap: OnGap, seed: u64) -> Instance {
        Instance::start(self.service(on_gap), &self.log, &self.clock, seed).await
    }

    /// Starts the service with a log that has faults from the start.
    async fn start_with(&self, on_gap: OnGap, seed: u64, faults: LogFaults) -> Instance {
        let log = Arc::new(Faulty::new(Arc::new(self.log.clone()), faults, seed, self.clock.clone()));
        let app = App::new("shop").service(self.service(on_gap)).clock(self.clock.clone());
        Instance { handle: app.start(log.clone()).await.unwrap(), log }
    }

    /// Publishes orders with these numbers to all partitions.
    async fn publish(&self, numbers: std::ops::Range<u32>) {
        for number in numbers {
            publish(&self.log, &format!("o{number}"), number).await;
        }
    }

    fn handled(&self) -> Vec<u32> {
        let mut numbers: Vec<_> = self.plan.calls().into_iter().map(|(_, number, _)| number).collect();
        numbers.sort_unstable();
        numbers
    }

    async fn passes(&self, seconds: u64) {
        for _ in 0..seconds * 2 {
            self.clock.advance(Duration::from_millis(500));
            for _ in 0..40 {
                tokio::task::yield_now().await;
            }
        }
    }
}

/// Returns why the service is not ready.
async fn complaint(member: &Instance) -> Option<String> {
    let ready = member.service().health().ready().await;
    ready.checks["consumer"].detail.clone()
}

async fn complains(world: &World, member: &Instance) {
    let said = "the topic was deleted and created again";
    // The log itself may report earlier that it is shorter.
    advance_until(&world.clock, "it says so", async || complaint(member).await.is_some_and(|text| text.contains(said))).await;
}

/// Twelve records of the old topic were read; the new one has more, at least as many on each partition, or fewer.
#[tokio::test]
async fn one_made_anew_while_the_service_is_stopped_is_noticed_whatever_its_length() {
    for count in [2, 12, 60] {
        let world = World::new(Plan::done(), 2);
        let member = world.start(OnGap::Stop, 1).await;
        world.publish(0..12).await;
        member.quiet().await;
        assert!(member.handle.stop().await);
        world.log.recreate("orders", 2).await.unwrap();
        world.publish(100..100 + count).await;

        let member = world.start(OnGap::Stop, 2).await;
        complains(&world, &member).await;
        world.passes(60).await;
        assert_eq!(world.handled(), (0..12).collect::<Vec<_>>(), "nothing is read");
        assert!(member.handle.stop().await);

        let member = world.start(OnGap::Oldest, 3).await;
        let all: Vec<_> = (0..12).chain(100..100 + count).collect();
        advance_until(&world.clock, "all of the new one is handled", async || world.handled() == all).await;
        assert_eq!(complaint(&member).await, None);
        assert!(member.handle.stop().await);

        // The database knows the new topic: the service continues where it was.
        world.publish(200..210).await;
        let member = world.start(OnGap::Stop, 4).await;
        let all: Vec<_> = all.into_iter().chain(200..210).collect();
        advance_until(&world.clock, "it goes on", async || world.handled() == all).await;
        assert_eq!(complaint(&member).await, None);
        assert!(member.handle.stop().await);
    }
}

#[tokio::test]
async fn one_made_anew_while_the_service_runs_is_noticed_by_every_instance() {
    for instances in [1, 2] {
        for count in [3, 80] {
            for on_gap in [OnGap::Stop, OnGap::Oldest] {
                let world = World::new(Plan::done(), 4);
                let mut members = Vec::new();
                for seed in 0..instances {
                    members.push(world.start(on_gap, seed).await);
                }
                world.publish(0..40).await;
                advance_until(&world.clock, "all is handled", async || world.handled().len() == 40).await;
                world.log.recreate("orders", 4).await.unwrap();
                world.publish(100..100 + count).await;
                if on_gap == OnGap::Stop {
                    for member in &members {
                        complains(&world, member).await;
                    }
                    world.passes(10).await;
                    // Records at the old offsets may have been read until then; no more follow.
                    let handled = world.handled();
                    world.publish(300..320).await;
                    world.passes(30).await;
                    assert_eq!(world.handled(), handled);
                    for member in std::mem::take(&mut members) {
                        assert!(member.handle.stop().await);
                    }
                    members.push(world.start(OnGap::Oldest, 9).await);
                }
                let mut all: Vec<_> = (0..40).chain(100..100 + count).collect();
                if on_gap == OnGap::Stop {
                    all.extend(300..320);
                }
                advance_until(&world.clock, "all of the new one is handled, once", async || world.handled() == all).await;
                for member in members {
                    assert_eq!(complaint(&member).await, None);
                    assert!(member.handle.stop().await);
                }
            }
        }
    }
}

/// The identity of the topic cannot be read until the partition has been read for a while at the old offsets.
#[tokio::test]
async fn one_that_is_noticed_late_is_read_from_its_beginning_all_the_same() {
    for restarts in [0, 2] {
        let world = World::new(Plan::done(), 2);
        let member = world.start(OnGap::Oldest, 1).await;
        world.publish(0..12).await;
        member.quiet().await;
        assert!(member.handle.stop().await);
        world.log.recreate("orders", 2).await.unwrap();
        world.publish(100..160).await;
        let silent = LogFaults { fail_identities: 1.0, ..LogFaults::default() };
        let mut member = world.start_with(OnGap::Oldest, 2, silent.clone()).await;
        let late = async || world.handled().len() > 12 + 30;
        advance_until(&world.clock, "what lies behind the old offsets is read", late).await;
        for again in 0..restarts {
            world.passes(3).await;
            assert!(member.handle.stop().await);
            member = world.start_with(OnGap::Oldest, 3 + u64::from(again), silent.clone()).await;
            world.publish(160 + again..161 + again).await;
        }
        member.log.set(LogFaults::default());
        let all: Vec<_> = (0..12).chain(100..160 + restarts).collect();
        advance_until(&world.clock, "all of the new one is handled, once", async || world.handled() == all).await;
        world.passes(10).await;
        assert_eq!(world.handled(), all);
        assert!(member.handle.stop().await);
    }
}

/// The offset in the old topic is no longer committed anywhere, not even by messages that end later.
#[tokio::test]
async fn what_runs_is_finished_and_moves_nothing_in_the_new_one() {
    let gate = Arc::new(AtomicBool::new(false));
    let open = gate.clone();
    let plan = Plan::new(move |placed, _| match placed.number < 3 && !open.load(Ordering::SeqCst) {
        true => Step::Later(Duration::from_secs(1)),
        false => Step::Done,
    });
    let world = World::new(plan, 1);
    let member = world.start(OnGap::Stop, 1).await;
    world.publish(0..6).await;
    advance_until(&world.clock, "three are handled", async || world.handled().iter().filter(|number| **number >= 3).count() == 3)
        .await;
    world.log.recreate("orders", 1).await.unwrap();
    world.publish(100..102).await;
    complains(&world, &member).await;
    gate.store(true, Ordering::SeqCst);
    let handled = |number| world.handled().contains(&number);
    let parked = async || world.database.store().parked_keys("payments").await.unwrap().len();
    advance_until(&world.clock, "what waited is handled", async || (0..3).all(handled) && parked().await == 0).await;
    world.passes(5).await;
    assert!(member.handle.stop().await);
    let lag = world.log.lag("payments", &["orders".to_owned()]).await.unwrap().remove(0);
    assert_eq!((lag.committed, lag.end), (0, 2), "nothing of the new one is committed");
    let member = world.start(OnGap::Stop, 2).await;
    complains(&world, &member).await;
    assert!(member.handle.stop().await);
}

/// A database of a version without topic identities, or a log that reports none: the identity is stored when it becomes known.
#[tokio::test]
async fn an_identity_that_was_not_known_is_noted_when_it_is_learned() {
    let world = World::new(Plan::done(), 1);
    let silent = Watched { inner: Arc::new(world.log.clone()), delivered: watch::Watch::default() };
    let app = App::new("shop").service(world.service(OnGap::Stop)).clock(world.clock.clone());
    let handle = app.start(Arc::new(silent)).await.unwrap();
    world.publish(0..5).await;
    advance_until(&world.clock, "all is handled", async || world.handled().len() == 5).await;
    assert!(handle.stop().await);
    let log = async || world.database.store().replays().partitions("payments").await.unwrap()[0].log.clone();
    assert_eq!(log().await, None);
    let member = world.start(OnGap::Stop, 2).await;
    advance_until(&world.clock, "it is noted, though nothing comes", async || log().await.is_some()).await;
    assert!(member.handle.stop().await);
    world.log.recreate("orders", 1).await.unwrap();
    world.publish(100..120).await;
    let member = world.start(OnGap::Stop, 3).await;
    complains(&world, &member).await;
    assert!(member.handle.stop().await);
}

/// Records that are identified by their position.
#[tokio::test]
async fn records_without_an_identity_are_not_taken_for_those_of_before() {
    let world = World::new(Plan::done(), 1);
    let plain = async |number: u32| {
        let value = format!(r#"{{"order_id":"a","number":{number}}}"#);
        let mut record = record(Some(b"a"), Some(value.as_bytes()), &[]);
        record.headers.push(Header::text("ce_type", "Placed"));
        world.log.publish(vec![record]).await.remove(0).unwrap();
    };
    let member = world.start(OnGap::Oldest, 1).await;
    for number in 0..4 {
        plain(number).await;
    }
    member.log.set(LogFaults { duplicate: 1.0, ..LogFaults::default() });
    advance_until(&world.clock, "all is handled", async || world.handled().len() == 4).await;
    world.log.recreate("orders", 1).await.unwrap();
    for number in 10..18 {
        plain(number).await;
    }
    let all: Vec<_> = (0..4).chain(10..18).collect();
    advance_until(&world.clock, "all of the new one is handled, once", async || world.handled() == all).await;
    world.passes(10).await;
    assert_eq!(world.handled(), all);
    assert!(member.handle.stop().await);
}

async fn replay(handle: &Handle, from: i64) {
    let mut request = ReplayRequest::new("orders", ReplayPoint::Offset(from));
    request.again = true;
    handle.service("payments").unwrap().replay(&request).await.unwrap();
}

/// A replay that has begun and one that has not, whether or not the first attempts to record the refusal fail.
#[tokio::test]
async fn a_replay_of_the_log_before_is_refused() {
    for (running, fails) in [(true, false), (true, true), (false, false), (false, true)] {
        for on_gap in [OnGap::Stop, OnGap::Oldest] {
            let hang = Arc::new(AtomicBool::new(false));
            let hangs = hang.clone();
            let world = World::new(
                Plan::new(move |placed, _| match placed.number == 3 && hangs.load(Ordering::SeqCst) {
                    true => Step::Hang,
                    false => Step::Done,
                }),
                1,
            );
            let member = world.start(on_gap, 1).await;
            world.publish(0..5).await;
            member.quiet().await;
            let kept = if running {
                hang.store(true, Ordering::SeqCst);
                replay(&member.handle, 1).await;
                until("it hangs within the range", async || world.plan.calls().len() >= 8).await;
                Some(member)
            } else {
                // No process reads the partition, so the replay waits.
                assert!(member.handle.stop().await);
                let silent = world.start(OnGap::Stop, 7).await;
                silent.log.freeze();
                replay(&silent.handle, 1).await;
                drop(silent);
                until("it has ended", async || Arc::strong_count(world.database.store()) == 1).await;
                None
            };
            hang.store(false, Ordering::SeqCst);
            world.log.recreate("orders", 1).await.unwrap();
            world.publish(100..120).await;
            let open = async || world.database.store().replays().list("payments", true, 10).await.unwrap().len();
            let mut left = 4;
            world.faults.set(move |fault| {
                left -= i32::from(fault == Fault::Step);
                fails && fault == Fault::Step && left > 0
            });
            let member = match kept {
                Some(member) => member,
                None => world.start(on_gap, 2).await,
            };
            if on_gap == OnGap::Oldest || running {
                advance_until(&world.clock, "it has ended", async || open().await == 0).await;
                let ended = world.database.store().replays().list("payments", false, 1).await.unwrap().remove(0);
                assert!(ended.detail.as_deref().is_some_and(|why| why.contains("deleted and created again")), "{ended:?}");
                assert_eq!(ended.state, ReplayState::Refused);
            }
            if on_gap == OnGap::Oldest {
                advance_until(&world.clock, "all of the new one is handled", async || {
                    (100..120).all(|number| world.handled().contains(&number))
                })
                .await;
                replay(&member.handle, 18).await;
                advance_until(&world.clock, "another is done", async || open().await == 0).await;
                assert_eq!(world.handled()[world.handled().len() - 4..], [118, 118, 119, 119]);
            }
            assert!(member.handle.stop().await);
        }
    }
}

/// Topics are recreated at any time, members come and go, the log and the database have faults, at random from a seed: every
/// record of the last topic is handled, and none with the same id twice.
#[tokio::test]
async fn whenever_it_is_made_anew_all_of_the_last_one_is_handled() {
    for seed in 0..16 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let world = World::new(Plan::done(), 2);
        let (draws, mut starts) = (std::sync::Mutex::new(rng.fork()), 2);
        world.faults.set(move |fault| matches!(fault, Fault::Advance | Fault::Own) && draws.lock().unwrap().u8(0..6) == 0);
        let mut slots = [Some(world.start(OnGap::Oldest, 0).await), Some(world.start(OnGap::Oldest, 1).await)];
        let (mut number, mut first) = (0, 0);
        for _ in 0..40 {
            world.publish(number..number + 3).await;
            number += 3;
            if rng.u8(0..8) == 0 {
                world.log.recreate("orders", 2).await.unwrap();
                first = number;
            }
            if rng.bool() {
                world.log.end_transaction(&TopicPartition::new("orders", rng.i32(0..2)));
            }
            if rng.u8(0..6) == 0 {
                let slot = rng.usize(0..2);
                slots[slot] = match slots[slot].take() {
                    Some(_) if slots[1 - slot].is_some() => None,
                    Some(member) => Some(member),
                    None => {
                        starts += 1;
                        Some(world.start(OnGap::Oldest, starts).await)
                    }
                };
            }
            for member in slots.iter().flatten() {
                member.log.set(LogFaults {
                    delay: 0.3,
                    duplicate: 0.2,
                    fail_commit: 0.3,
                    fail_next: 0.1,
                    fail_identities: 0.5,
                    ..LogFaults::default()
                });
            }
            world.clock.advance(Duration::from_millis(rng.u64(0..3_000)));
            for _ in 0..rng.u8(0..60) {
                tokio::task::yield_now().await;
            }
        }
        let all = async || (first..number).all(|number| world.handled().contains(&number));
        advance_until(&world.clock, "all of the last one is handled", all).await;
        world.passes(20).await;
        let topics = ["orders".to_owned()];
        advance_until(&world.clock, "all is committed", async || {
            world.log.lag("payments", &topics).await.unwrap().iter().all(|lag| lag.committed == lag.end)
        })
        .await;
        let mut handled = world.handled();
        let count = handled.len();
        handled.dedup();
        assert_eq!(count, handled.len(), "seed {seed}: something was handled twice");
        for member in slots.into_iter().flatten() {
            assert_eq!(member.service().health().ready().await.checks["consumer"].status, Status::Up);
            assert!(member.handle.stop().await);
        }
    }
}
