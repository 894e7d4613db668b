//! The owners of partitions, and their applied offsets.

use std::{sync::Arc, time::Duration};

use super::{Subject, samples::record};
use crate::{
    message::TopicPartition,
    store::{KeptClock, Ownership, Store},
    time::Timestamp,
};

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("orders", number)
}

fn applied(number: i32, epoch: i64, applied: impl Into<Option<i64>>) -> Ownership {
    Ownership { partition: partition(number), epoch, applied: applied.into(), log: None }
}

async fn own(store: &Arc<dyn Store>, number: i32) -> Ownership {
    store.acquire_partitions("payments", &[partition(number)]).await.expect("own").remove(0)
}

async fn stands(store: &Arc<dyn Store>, number: i32, epoch: i64) -> bool {
    let mut tx = store.begin().await.expect("begin");
    let stands = tx.check_ownership("payments", &[(partition(number), epoch)]).await.expect("hold")[0];
    tx.commit().await.expect("commit");
    stands
}

/// Checks that acquiring a partition raises the epoch of this partition only.
///
/// # Panics
/// Panics if the check fails.
pub async fn owning_raises_the_epoch(subject: Subject) {
    let store = subject.migrated().await;
    let (first, other) = (own(store, 0).await, own(store, 1).await);
    assert_eq!((first.applied, other.applied), (None, None));
    let second = own(store, 0).await;
    assert!(second.epoch > first.epoch, "{second:?} after {first:?}");
    assert!(stands(store, 1, other.epoch).await);
}

/// Checks that an epoch is valid until the partition is acquired again, and that older, later and unused epochs are not valid.
///
/// # Panics
/// Panics if the check fails.
pub async fn an_epoch_stands_until_the_next(subject: Subject) {
    let store = subject.migrated().await;
    assert!(!stands(store, 0, 0).await && !stands(store, 0, 1).await, "nobody has taken it over");
    let first = own(store, 0).await;
    assert!(stands(store, 0, first.epoch).await);
    assert!(!stands(store, 0, first.epoch + 1).await);
    let second = own(store, 0).await;
    assert!(!stands(store, 0, first.epoch).await);
    assert!(stands(store, 0, second.epoch).await);
}

/// Checks that a transaction that has checked its epoch commits before the partition is acquired again, or not at all.
///
/// # Panics
/// Panics if the check fails.
pub async fn what_is_held_stands_until_the_commit(subject: Subject) {
    let store = subject.migrated().await;
    for number in 0..20 {
        let first = own(store, 0).await;
        let mut tx = store.begin().await.expect("begin");
        tx.append_outbox("payments", &[record(number)]).await.expect("append");
        assert_eq!(tx.check_ownership("payments", &[(partition(0), first.epoch)]).await.expect("hold"), [true]);
        let taken = tokio::spawn({
            let store = Arc::clone(store);
            async move { own(&store, 0).await }
        });
        // Gives the acquisition time to complete too early.
        tokio::time::sleep(Duration::from_millis(5)).await;
        let early = taken.is_finished();
        let committed = tx.commit().await.is_ok();
        assert!(!(early && committed), "it was committed after another had taken the partition over");
        let second = taken.await.expect("the partition is taken over");
        assert!(second.epoch > first.epoch);
        assert!(!stands(store, 0, first.epoch).await);
    }
}

/// Checks that a transaction that is rolled back releases the partitions it has checked.
///
/// # Panics
/// Panics if the check fails.
pub async fn what_is_rolled_back_holds_nothing(subject: Subject) {
    let store = subject.migrated().await;
    let first = own(store, 0).await;
    let mut tx = store.begin().await.expect("begin");
    assert_eq!(tx.check_ownership("payments", &[(partition(0), first.epoch)]).await.expect("hold"), [true]);
    drop(tx);
    assert!(own(store, 0).await.epoch > first.epoch);
}

/// Checks that several transactions can check the same epoch, at least one after the other, and write.
///
/// # Panics
/// Panics if the check fails.
pub async fn many_hold_an_epoch(subject: Subject) {
    let store = subject.migrated().await;
    let owned = own(store, 0).await;
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..20 {
        let (store, owned) = (Arc::clone(store), owned.clone());
        tasks.spawn(async move {
            let mut tx = store.begin().await.expect("begin");
            assert_eq!(tx.check_ownership("payments", &[(partition(0), owned.epoch)]).await.expect("hold"), [true]);
            tx.append_outbox("payments", &[record(number)]).await.expect("append");
            tx.commit().await.expect("commit");
        });
    }
    let advanced = store.advance("payments", &[applied(0, owned.epoch, 7)]).await.expect("advance");
    tasks.join_all().await;
    assert_eq!(advanced, [true]);
    assert_eq!(store.outbox("payments", 0, 100).await.expect("read").len(), 20);
}

/// Checks that the applied offset is returned to the next owner, never decreases, and cannot be changed under an old epoch.
///
/// # Panics
/// Panics if the check fails.
pub async fn the_applied_offset_only_advances(subject: Subject) {
    let store = subject.migrated().await;
    let first = own(store, 0).await;
    for (given, expected) in [(None, None), (Some(5), Some(5)), (Some(3), Some(5)), (None, Some(5)), (Some(9), Some(9))] {
        let epoch = own(store, 0).await.epoch;
        assert_eq!(store.advance("payments", &[applied(0, epoch, given)]).await.expect("advance"), [true]);
        assert_eq!(own(store, 0).await.applied, expected, "after {given:?}");
    }
    let late = store.advance("payments", &[applied(0, first.epoch, 100)]).await.expect("advance");
    assert_eq!((late, own(store, 0).await.applied), (vec![false], Some(9)));
    let never = store.advance("payments", &[applied(7, 0, 100)]).await.expect("advance");
    assert_eq!((never, own(store, 7).await.applied), (vec![false], None));
}

/// Checks that the owner of a partition, and no other process, can set its applied offset back.
///
/// # Panics
/// Panics if the check fails.
pub async fn the_owner_can_rewind(subject: Subject) {
    let store = subject.migrated().await;
    let first = own(store, 0).await;
    store.advance("payments", &[applied(0, first.epoch, 50)]).await.expect("advance");
    let second = own(store, 0).await;
    let rewound = store.rewind("payments", &[applied(0, first.epoch, 1), applied(0, second.epoch, 10)]).await.expect("rewind");
    assert_eq!((rewound, own(store, 0).await.applied), (vec![false, true], Some(10)));
}

/// Checks that the identity of the topic that an applied offset belongs to is returned to the next owner. It is kept if an update has none,
/// and cannot be changed under an old epoch.
///
/// # Panics
/// Panics if the check fails.
pub async fn the_log_of_an_offset_is_kept(subject: Subject) {
    let store = subject.migrated().await;
    let first = own(store, 0).await;
    assert_eq!(first.log, None);
    let of = |epoch, offset: Option<i64>, log: &str| Ownership { log: Some(log.to_owned()), ..applied(0, epoch, offset) };
    assert_eq!(store.advance("payments", &[of(first.epoch, None, "a \0")]).await.expect("advance"), [true]);
    let second = own(store, 0).await;
    assert_eq!((second.applied, second.log.as_deref()), (None, Some("a \0")));
    assert_eq!(store.advance("payments", &[applied(0, second.epoch, 9)]).await.expect("advance"), [true]);
    assert_eq!(store.rewind("payments", &[of(first.epoch, Some(0), "late")]).await.expect("rewind"), [false]);
    let third = own(store, 0).await;
    assert_eq!((third.applied, third.log.as_deref()), (Some(9), Some("a \0")));
    assert_eq!(store.rewind("payments", &[of(third.epoch, Some(0), "b")]).await.expect("rewind"), [true]);
    let fourth = own(store, 0).await;
    assert_eq!((fourth.applied, fourth.log.as_deref()), (Some(0), Some("b")));
    assert_eq!(own(store, 1).await.log, None, "each partition has its own");
}

/// Checks that results for several partitions are returned in the order given.
///
/// # Panics
/// Panics if the check fails.
pub async fn several_partitions_are_answered_in_order(subject: Subject) {
    let store = subject.migrated().await;
    let odd = TopicPartition::new("o'rders \u{e9}", 3);
    own(store, 1).await;
    let asked = [partition(2), odd.clone(), partition(1), partition(10)];
    let owned = store.acquire_partitions("payments", &asked).await.expect("own");
    assert_eq!(owned.iter().map(|owned| owned.partition.clone()).collect::<Vec<_>>(), asked);
    assert!(owned[2].epoch > owned[0].epoch, "it was taken over before");
    let mut tx = store.begin().await.expect("begin");
    let wanted = [(partition(10), owned[3].epoch), (odd, owned[1].epoch + 1), (partition(1), owned[2].epoch), (partition(5), 1)];
    assert_eq!(tx.check_ownership("payments", &wanted).await.expect("hold"), [true, false, true, false]);
    assert_eq!(tx.check_ownership("payments", &[]).await.expect("hold"), [false; 0]);
    drop(tx);
    let late = applied(1, owned[2].epoch - 1, 8);
    let stood = store.advance("payments", &[applied(10, owned[3].epoch, 4), late, applied(2, owned[0].epoch, 6)]).await;
    assert_eq!(stood.expect("advance"), [true, false, true]);
    let offsets: Vec<_> =
        store.acquire_partitions("payments", &asked).await.expect("own").into_iter().map(|owned| owned.applied).collect();
    assert_eq!(offsets, [Some(6), None, None, Some(4)]);
    assert_eq!(store.acquire_partitions("payments", &[]).await.expect("own"), []);
    assert_eq!(store.advance("payments", &[]).await.expect("advance"), [false; 0]);
}

/// Checks that a thousand partitions can be acquired, advanced and checked in one call each.
///
/// # Panics
/// Panics if the check fails.
pub async fn a_thousand_partitions_fit_one_call(subject: Subject) {
    let store = subject.migrated().await;
    let all: Vec<_> = (0..1_000).map(partition).collect();
    let owned = store.acquire_partitions("payments", &all).await.expect("own");
    let ahead: Vec<_> = owned.iter().map(|owned| Ownership { applied: Some(1), ..owned.clone() }).collect();
    assert!(store.advance("payments", &ahead).await.expect("advance").into_iter().all(|stood| stood));
    let mut tx = store.begin().await.expect("begin");
    let epochs: Vec<_> = owned.into_iter().map(|owned| (owned.partition, owned.epoch)).collect();
    assert!(tx.check_ownership("payments", &epochs).await.expect("hold").into_iter().all(|stands| stands));
    drop(tx);
    assert!(store.acquire_partitions("payments", &all).await.expect("own").iter().all(|owned| owned.applied == Some(1)));
}

/// Checks that a service sees only its own partitions.
///
/// # Panics
/// Panics if the check fails.
pub async fn partitions_of_services_are_apart(subject: Subject) {
    let store = subject.migrated().await;
    let owned = own(store, 0).await;
    store.advance("payments", &[applied(0, owned.epoch, 5)]).await.expect("advance");
    let other = store.acquire_partitions("shipping", &[partition(0)]).await.expect("own").remove(0);
    assert_eq!(other.applied, None);
    store.acquire_partitions("shipping", &[partition(0)]).await.expect("own");
    assert!(stands(store, 0, owned.epoch).await);
    assert_eq!(own(store, 0).await.applied, Some(5));
}

/// Checks that a topic whose number of partitions has changed is reported as changed from then on, and only for that service.
///
/// # Panics
/// Panics if the check fails.
pub async fn numbers_of_partitions_are_noted(subject: Subject) {
    let store = subject.migrated().await;
    let topics = |orders, payments| [("orders".to_owned(), orders), ("payments".to_owned(), payments)];
    for (orders, payments, expected) in
        [(6, 6, [false, false]), (6, 6, [false, false]), (12, 6, [true, false]), (12, 3, [true, true]), (6, 6, [true, true])]
    {
        let moved = store.record_partitions("payments", &topics(orders, payments)).await.expect("note");
        assert_eq!(moved, expected, "{orders} and {payments}");
    }
    assert_eq!(store.record_partitions("order", &topics(1, 1)).await.expect("note"), [false, false]);
    assert_eq!(store.record_partitions("order", &[]).await.expect("note"), Vec::<bool>::new());
}

/// Checks that the handled events of a service are stored once each, are separate for each service, and can be removed.
///
/// # Panics
/// Panics if the check fails.
pub async fn handled_events_are_remembered(subject: Subject) {
    let store = subject.migrated().await;
    let handled = store.handled();
    let events = |pairs: &[(&str, &str)]| -> Vec<_> {
        pairs.iter().map(|(topic, event)| ((*topic).to_owned(), (*event).to_owned())).collect()
    };
    assert_eq!(handled.events("payments").await.expect("read"), []);
    handled.note("payments", &events(&[("orders", "Placed"), ("bills", "Due\u{1}\0")]), &[]).await.expect("note");
    handled
        .note("payments", &events(&[("orders", "Placed"), ("orders", "Changed"), ("bills", "Placed")]), &[])
        .await
        .expect("note");
    handled.note("order", &events(&[("orders", "Placed")]), &events(&[("orders", "Changed")])).await.expect("note");
    let all = events(&[("bills", "Due\u{1}\0"), ("bills", "Placed"), ("orders", "Changed"), ("orders", "Placed")]);
    assert_eq!(handled.events("payments").await.expect("read"), all);
    let forget = events(&[("orders", "Placed"), ("bills", "Due\u{1}\0"), ("orders", "Never"), ("orders", "Due\u{1}\0")]);
    handled.note("payments", &[], &forget).await.expect("forget");
    assert_eq!(handled.events("payments").await.expect("read"), events(&[("bills", "Placed"), ("orders", "Changed")]));
    assert_eq!(handled.events("order").await.expect("read"), events(&[("orders", "Placed")]));
}

/// Checks that the clock of a service is stored as it was last written, and that the clock of the database, if it has one, moves forward.
///
/// # Panics
/// Panics if the check fails.
pub async fn the_clock_of_a_service_is_kept(subject: Subject) {
    let store = subject.migrated().await;
    assert_eq!(store.clock("payments").await.expect("read"), None);
    for (seen, offset, stops) in [(1_700_000_000_000, 0, ""), (1, -300_000, "1-2 5-9")] {
        let clock = KeptClock { seen: Timestamp::from_millis(seen), offset, stops: stops.to_owned() };
        store.save_clock("payments", &clock).await.expect("keep");
        assert_eq!(store.clock("payments").await.expect("read"), Some(clock));
    }
    assert_eq!(store.clock("order").await.expect("read"), None);
    let first = store.time().await.expect("time");
    let second = store.time().await.expect("time");
    assert!(first.is_some() == second.is_some() && second >= first, "{first:?} {second:?}");
}
