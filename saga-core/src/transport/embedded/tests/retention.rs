//! Which records retention removes, and which it never does.

use std::{sync::Arc, time::Duration};

use super::folder;
use crate::{
    testing::conformance::transport::bench::{Bench, within},
    time::{Clock, Timestamp},
    transport::{
        Transport,
        embedded::{Embedded, EmbeddedOptions},
    },
};

const LIMIT: u64 = 1 << 20;

async fn bench(folder: &tempfile::TempDir, options: EmbeddedOptions) -> (Arc<Embedded>, Bench) {
    let log = Embedded::open(folder, options).await.expect("the log opens");
    let bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 2).await;
    (log, bench)
}

/// Publishes records of 10 KB.
async fn publish(bench: &Bench, count: usize) {
    let value = "x".repeat(10_000);
    bench.publish((0..count).map(|number| bench.record(&number.to_string(), &value)).collect()).await;
}

/// The number of records that are kept.
async fn kept(bench: &Bench) -> i64 {
    bench.lag("nobody").await
}

async fn kept_becomes(bench: &Bench, expected: impl Fn(i64) -> bool) {
    within("retention", async {
        while !expected(kept(bench).await) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn beyond_its_size_the_oldest_records_go() {
    let folder = folder();
    let (_, bench) = bench(&folder, EmbeddedOptions { retention_bytes: LIMIT, ..EmbeddedOptions::default() }).await;
    for _ in 0..10 {
        publish(&bench, 50).await;
    }
    kept_becomes(&bench, |kept| kept <= 105).await;
    assert!(kept(&bench).await > 50, "no more goes than has to");
}

#[tokio::test]
async fn what_a_group_has_not_read_stays() {
    let folder = folder();
    let (log, bench) = bench(&folder, EmbeddedOptions { retention_bytes: LIMIT, ..EmbeddedOptions::default() }).await;
    let (mut fast, mut slow) = (bench.reader("fast").await, bench.reader("slow").await);
    for _ in 0..10 {
        publish(&bench, 50).await;
    }
    let read = fast.read(500).await;
    fast.commit(&read).await;
    publish(&bench, 50).await;
    assert_eq!(kept(&bench).await, 550);
    let read = slow.read(550).await;
    slow.commit(&read).await;
    drop((fast, slow));
    // Shows that it was the unread records that prevented the removal.
    publish(&bench, 50).await;
    kept_becomes(&bench, |kept| kept <= 105).await;
    log.close().await;
}

#[tokio::test]
async fn a_forgotten_group_holds_nothing_back() {
    let folder = folder();
    let (log, bench) = bench(&folder, EmbeddedOptions { retention_bytes: LIMIT, ..EmbeddedOptions::default() }).await;
    drop(bench.reader("gone").await);
    publish(&bench, 500).await;
    assert_eq!(kept(&bench).await, 500);
    log.forget_group(&bench.group("gone")).await.expect("the group is forgotten");
    publish(&bench, 50).await;
    kept_becomes(&bench, |kept| kept <= 105).await;
}

#[tokio::test]
async fn old_records_go() {
    let folder = folder();
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let day = Duration::from_secs(86_400);
    let options = EmbeddedOptions { retention_age: Some(3 * day), clock: clock.clone(), ..EmbeddedOptions::default() };
    let (_, bench) = bench(&folder, options).await;
    publish(&bench, 600).await;
    clock.advance(2 * day);
    publish(&bench, 30).await;
    assert_eq!(kept(&bench).await, 630);
    clock.advance(2 * day);
    kept_becomes(&bench, |kept| kept == 30).await;
}

#[tokio::test]
async fn what_retention_removed_is_a_gap() {
    for tail_bytes in [0, 1 << 20] {
        let folder = folder();
        let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
        let options = EmbeddedOptions { tail_bytes, clock: clock.clone(), ..EmbeddedOptions::default() };
        let log = Embedded::open(&folder, options).await.expect("the log opens");
        let bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 1).await;
        publish(&bench, 10).await;
        clock.advance(Duration::from_secs(30 * 86_400));
        kept_becomes(&bench, |kept| kept == 0).await;
        publish(&bench, 5).await;
        let mut reader = bench.unstarted("g").await;
        reader.start(bench.partition(0), Some(4));
        assert_eq!(reader.gap().await, (4, 10, 15));
        reader.start(bench.partition(0), Some(10));
        assert_eq!(reader.read(5).await[0].offset, 10);
    }
}

#[tokio::test]
async fn offsets_go_on_when_everything_has_gone() {
    let folder = folder();
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let options = EmbeddedOptions { clock: clock.clone(), ..EmbeddedOptions::default() };
    let (log, mut bench) = bench(&folder, options).await;
    let before = bench.publish(vec![bench.record("key", 1)]).await;
    clock.advance(Duration::from_secs(30 * 86_400));
    kept_becomes(&bench, |kept| kept == 0).await;
    log.close().await;
    bench.log = super::open(&folder).await;
    let after = bench.publish(vec![bench.record("key", 2)]).await;
    assert_eq!(after[0].offset, before[0].offset + 1);
}
