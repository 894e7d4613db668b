//! The distribution of an outbox among processes, for a store that several processes can use.
//!
//! [`sharing_conformance!`](crate::sharing_conformance) generates tests for these checks.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use futures_util::StreamExt;

use super::{Subject, samples::record, write};
use crate::{
    message::{Record, Shard, Shards},
    store::{Backlog, Lease, PeerNotification, Share, Sharing, Store},
};

/// Longer than any check takes.
const LONG: Duration = Duration::from_secs(600);
/// The time that a check waits for an expected result.
const PATIENCE: Duration = Duration::from_secs(30);

/// Generates one test for each check of sharing. `open` is an `async fn() -> Subject` that returns a new and empty store.
#[macro_export]
macro_rules! sharing_conformance {
    ($open:path $(, ignore = $reason:literal)?) => {
        $crate::sharing_conformance! { @checks $open, ($(#[ignore = $reason])?) =>
            a_share_whose_time_is_over_is_taken,
            instances_that_ask_at_once_share_fairly,
            news_are_heard_by_the_service_they_are_for,
            shards_are_shared_fairly,
            the_backlog_is_counted_up_to_a_limit,
            what_is_given_back_or_left_is_free_at_once,
        }
    };
    (@checks $open:path, $ignore:tt => $($check:ident,)+) => {
        $($crate::sharing_conformance! { @check $open, $ignore, $check })+
    };
    (@check $open:path, ($($ignore:tt)*), $check:ident) => {
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        $($ignore)*
        async fn $check() {
            $crate::testing::conformance::store::sharing::$check($open().await).await;
        }
    };
}

fn sharing(store: &Arc<dyn Store>) -> &dyn Sharing {
    store.sharing().expect("a store that several processes can use")
}

async fn share(store: &Arc<dyn Store>, instance: &str) -> Share {
    sharing(store).acquire_leases("orders", instance, LONG, Shards::default()).await.expect("share")
}

fn shards(share: &Share) -> Shards {
    share.leases.iter().map(|lease| lease.shard).collect()
}

/// Checks that a single process owns all shards, that a new process gets those that are given back, up to its fair share, and that no shard
/// has two owners.
///
/// # Panics
/// Panics if the check fails.
pub async fn shards_are_shared_fairly(subject: Subject) {
    let store = subject.migrated().await;
    let alone = share(store, "a").await;
    assert_eq!((shards(&alone), alone.fair), (Shards::ALL, 16));
    assert!(alone.leases.iter().all(|lease| lease.epoch > 0));
    let second = share(store, "b").await;
    assert_eq!((second.leases.len(), second.fair), (0, 8));
    assert_eq!(share(store, "a").await, Share { fair: 8, ..alone.clone() }, "what is owned is kept under its epoch");

    let surplus: Shards = Shard::all().skip(8).collect();
    let kept = sharing(store).acquire_leases("orders", "a", LONG, surplus).await.expect("share");
    assert_eq!((kept.leases.len(), shards(&kept).bits() & surplus.bits()), (8, 0));
    let second = share(store, "b").await;
    assert_eq!(shards(&second), surplus);
    let epoch = |share: &Share, shard| share.leases.iter().find(|lease| lease.shard == shard).map(|lease| lease.epoch);
    assert!(surplus.iter().all(|shard| epoch(&second, shard) > epoch(&alone, shard)), "a new owner raises the epoch");
    let third = share(store, "c").await;
    assert_eq!((third.leases.len(), third.fair), (0, 6));

    let elsewhere = sharing(store).acquire_leases("payments", "a", LONG, Shards::default()).await.expect("share");
    assert_eq!((shards(&elsewhere), elsewhere.fair), (Shards::ALL, 16), "services are apart");
}

/// Checks that shards that a process gives back, or leaves behind when it leaves, are free at once.
///
/// # Panics
/// Panics if the check fails.
pub async fn what_is_given_back_or_left_is_free_at_once(subject: Subject) {
    let store = subject.migrated().await;
    share(store, "a").await;
    share(store, "b").await;
    sharing(store).leave("orders", "a").await.expect("leave");
    let second = share(store, "b").await;
    assert_eq!((shards(&second), second.fair), (Shards::ALL, 16));
    sharing(store).leave("orders", "a").await.expect("nothing to leave is no error");
    assert_eq!(share(store, "b").await, second);
}

/// Checks that a process without renewals loses its shards when its lease expires, and learns so from its next request.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_share_whose_time_is_over_is_taken(subject: Subject) {
    let store = subject.migrated().await;
    let short = Duration::from_millis(1);
    let first = sharing(store).acquire_leases("orders", "a", short, Shards::default()).await.expect("share");
    let taking = async {
        while share(store, "b").await.leases.len() < Shard::COUNT {
            tokio::task::yield_now().await;
        }
        share(store, "b").await
    };
    let second = tokio::time::timeout(PATIENCE, taking).await.expect("its time is over");
    let older = |(one, other): (&Lease, &Lease)| one.epoch < other.epoch;
    assert!(sorted(&first).iter().zip(&sorted(&second)).all(older), "{first:?} {second:?}");
    assert_eq!(share(store, "a").await, Share { leases: Vec::new(), fair: 8 });
}

fn sorted(share: &Share) -> Vec<Lease> {
    let mut leases = share.leases.clone();
    leases.sort_by_key(|lease| lease.shard);
    leases
}

/// Checks that, however many processes request shards at the same time, no shard has two owners, and in the end each shard is owned.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_that_ask_at_once_share_fairly(subject: Subject) {
    let store = subject.migrated().await;
    let ask = async |instance: String| {
        let mut mine = Share::default();
        for _ in 0..20 {
            let surplus = shards(&mine).iter().skip(mine.fair).collect();
            mine = sharing(store).acquire_leases("orders", &instance, LONG, surplus).await.expect("share");
        }
    };
    futures_util::future::join_all((0..5).map(|number| ask(format!("i{number}")))).await;
    // Each process has at most its fair share now, so the free shards are taken.
    futures_util::future::join_all((0..5).map(|number| ask(format!("i{number}")))).await;
    let mut owned = BTreeSet::new();
    for number in 0..5 {
        let mine = share(store, &format!("i{number}")).await;
        assert!(mine.fair == 4 && mine.leases.len() <= 4, "{mine:?}");
        assert!(mine.leases.iter().all(|lease| owned.insert(lease.shard)), "a shard has two owners: {mine:?}");
    }
    assert_eq!(owned.len(), Shard::COUNT);
}

/// Checks that a notification reaches every listener of its service, in order, and no other.
///
/// # Panics
/// Panics if the check fails.
pub async fn news_are_heard_by_the_service_they_are_for(subject: Subject) {
    let store = subject.migrated().await;
    let mut listeners =
        [sharing(store).listen("orders").await.expect("listen"), sharing(store).listen("orders").await.expect("listen")];
    let some = PeerNotification::Rows(Shard::all().take(3).collect());
    for (service, news) in
        [("orders", PeerNotification::SharesChanged), ("payments", PeerNotification::Rows(Shards::ALL)), ("orders", some)]
    {
        sharing(store).notify(service, news).await.expect("tell");
    }
    for listener in &mut listeners {
        for expected in [PeerNotification::SharesChanged, some] {
            let heard = tokio::time::timeout(PATIENCE, listener.next()).await.expect("the notification arrives");
            assert_eq!(heard.expect("it goes on").expect("it is heard"), expected);
        }
    }
}

/// Checks that the rows of a service from all processes are counted, up to a limit, and that the oldest is known.
///
/// # Panics
/// Panics if the check fails.
pub async fn the_backlog_is_counted_up_to_a_limit(subject: Subject) {
    let store = subject.migrated().await;
    assert_eq!(sharing(store).backlog("orders", 10).await.expect("count"), Backlog::default());
    let records: Vec<Record> = (0..50).map(record).collect();
    write(store, async |tx| {
        tx.append_outbox("orders", &records).await.expect("append");
        tx.append_outbox("payments", &records).await.expect("append");
    })
    .await;
    let oldest = records.iter().map(|record| record.timestamp.time()).min().flatten();
    for (most, rows) in [(1_000, 50), (50, 50), (7, 7)] {
        assert_eq!(sharing(store).backlog("orders", most).await.expect("count"), Backlog { rows, oldest });
    }
}
