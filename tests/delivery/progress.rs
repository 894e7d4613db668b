//! The applied offset is stored in the service's database, and the service continues from it.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use sagas::{
    prelude::*,
    testing::faulty::Faults as LogFaults,
    time::{Clock, Timestamp},
    transport::memory::Memory,
};

use crate::support::{
    instance::{Instance, partitions, publish},
    store::{Fault, Faults, failing},
    *,
};

async fn open(file: &Path) -> Database {
    Database::open(&format!("sqlite://{}", file.display())).await.unwrap()
}

async fn start(database: &Database, plan: &Plan, log: &Memory, clock: &Clock, seed: u64) -> Instance {
    let service = service(database, plan).handlers(handlers![writing]).settings(partitions(1));
    Instance::start(service, log, clock, seed).await
}

/// Returns the applied offset.
async fn applied(database: &Database) -> Option<i64> {
    let applied = sqlx::query_scalar::<sqlx::Any, Option<i64>>("SELECT applied FROM sagas_partitions WHERE topic = 'orders'");
    applied.fetch_one(database).await.unwrap()
}

#[tokio::test]
async fn a_database_restored_from_a_backup_skips_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (file, backup) = (folder.path().join("payments.db"), folder.path().join("backup.db"));
    let (clock, plan) = (clock(), Plan::done().rows());
    let log = Memory::with_clock(clock.clone());
    for (round, numbers) in [(1, 0..5), (2, 5..12)] {
        let database = open(&file).await;
        let member = start(&database, &plan, &log, &clock, round).await;
        for number in numbers {
            publish(&log, "a", number).await;
        }
        member.quiet().await;
        assert!(member.handle.stop().await);
        if round == 1 {
            std::fs::copy(&file, &backup).unwrap();
        }
    }
    for old in std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()) {
        if old != backup {
            std::fs::remove_file(old).unwrap();
        }
    }
    std::fs::rename(&backup, &file).unwrap();
    let database = open(&file).await;
    assert_eq!(rows(&database).await.len(), 5);
    let member = start(&database, &plan, &log, &clock, 3).await;
    until("what the backup did not have is done again", || async { rows(&database).await.len() == 12 }).await;
    assert_eq!(plan.numbers("a"), (0..12).chain(5..12).collect::<Vec<_>>());
    assert!(member.handle.stop().await);
}

/// With the applied offset in the database, not even the inbox is needed, whatever offset the log has committed.
#[tokio::test]
async fn a_log_that_is_behind_delivers_nothing_again() {
    for crash in [false, true] {
        let (outside, clock, plan) = (sqlite().await, clock(), Plan::done().rows());
        let database = failing(&outside, &Faults::default());
        let log = Memory::with_clock(clock.clone());
        let member = start(&database, &plan, &log, &clock, 1).await;
        member.log.set(LogFaults { fail_commit: 1.0, ..LogFaults::default() });
        for number in 0..10 {
            publish(&log, "a", number).await;
        }
        until("all is done", || async { rows(&outside).await.len() == 10 }).await;
        if crash {
            // The applied offset is written once a second, so it can lack what was done in the last second.
            advance_until(&clock, "the database knows", || async { applied(&outside).await == Some(10) }).await;
            drop(member);
            until("the app has ended", || async { Arc::strong_count(database.store()) == 1 }).await;
        } else {
            assert!(member.handle.stop().await);
        }
        assert_eq!(outside.store().prune_inbox("payments", Timestamp::from_millis(i64::MAX), 100).await.unwrap(), 10);
        let member = start(&database, &plan, &log, &clock, 2).await;
        publish(&log, "a", 10).await;
        member.quiet().await;
        assert_eq!(plan.numbers("a"), (0..=10).collect::<Vec<_>>());
        assert!(member.handle.stop().await);
    }
}

#[tokio::test]
async fn the_database_is_told_once_a_second() {
    let (faults, clock, plan) = (Faults::default(), clock(), Plan::done());
    let outside = sqlite().await;
    let database = failing(&outside, &faults);
    let log = Memory::with_clock(clock.clone());
    let member = start_bare(&database, &plan, &log, &clock).await;
    let (told, fails) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (count, failing) = (told.clone(), fails.clone());
    faults.set(move |fault| {
        let tells = fault == Fault::Advance;
        count.fetch_add(usize::from(tells), Ordering::SeqCst);
        tells && failing.load(Ordering::SeqCst) > 0
    });
    for second in 1..=3 {
        for number in 0..50 {
            publish(&log, "a", second * 100 + number).await;
            member.quiet().await;
        }
        assert!(told.load(Ordering::SeqCst) <= second as usize, "{} times in second {second}", told.load(Ordering::SeqCst));
        clock.advance(Duration::from_secs(1));
        until("it is told of the rest", || async { told.load(Ordering::SeqCst) > second as usize }).await;
    }
    // A log that does not acknowledge the commit of an offset gets it again.
    fails.store(1, Ordering::SeqCst);
    publish(&log, "a", 1_000).await;
    member.quiet().await;
    let before = told.load(Ordering::SeqCst);
    advance_until(&clock, "it is asked again", || async { told.load(Ordering::SeqCst) > before + 2 }).await;
    fails.store(0, Ordering::SeqCst);
    let before = told.load(Ordering::SeqCst);
    advance_until(&clock, "it was told", || async { told.load(Ordering::SeqCst) > before }).await;
    assert!(member.handle.stop().await);
    assert_eq!(applied(&outside).await, Some(151));
}

async fn start_bare(database: &Database, plan: &Plan, log: &Memory, clock: &Clock) -> Instance {
    let service = service(database, plan).handlers(handlers![bare]).settings(partitions(1));
    Instance::start(service, log, clock, 1).await
}
