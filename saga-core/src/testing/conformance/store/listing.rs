//! Queries over all instances: lists, due timers and counts.

use super::{
    Subject,
    samples::{at, instance, letter, running, step},
    write,
};
use crate::{
    message::TopicPartition,
    store::{InstanceKey, InstanceOrder, InstanceQuery, InstanceRecord, InstanceState, OpenVersion, SagaStore, StoredDefinition},
};

fn all() -> InstanceQuery {
    InstanceQuery { limit: 100, ..InstanceQuery::default() }
}

fn stalest() -> InstanceQuery {
    InstanceQuery { order: InstanceOrder::Stalest, ..all() }
}

fn refund(id: &str) -> InstanceKey {
    InstanceKey { saga: "refund".into(), id: id.into() }
}

/// Five instances. Two began at the same time, and two were updated at the same time. Of each pair, the instance whose saga comes first has
/// the id that comes last.
fn five() -> [InstanceRecord; 5] {
    let moved = |record: InstanceRecord, state, updated| InstanceRecord { state, updated_at: at(updated), ..record };
    let stuck = moved(running("b", 20), InstanceState::Compensating, 30);
    let completed = moved(running("d", 30), InstanceState::Completed, 40);
    let aborted = moved(running("e", 5), InstanceState::Aborted, 70);
    [
        moved(running("c", 10), InstanceState::Running, 50),
        InstanceRecord { attention: Some("stuck".into()), ..stuck },
        InstanceRecord { ended_at: Some(at(60)), ..completed },
        InstanceRecord { instance: refund("a"), ..running("a", 30) },
        InstanceRecord { instance: refund("e"), attention: Some("refused".into()), ended_at: Some(at(80)), ..aborted },
    ]
}

async fn listed(sagas: &dyn SagaStore, query: &InstanceQuery) -> (String, u64) {
    let (page, total) = sagas.instances("orders", query).await.expect("list");
    (page.iter().map(|record| record.instance.id.as_str()).collect(), total)
}

/// Checks that instances are found by saga, by state, by whether they are open, by whether they need attention, and by the time since their
/// last update. They are ordered by their start, latest first, or by their last update, oldest first.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_are_found_by_what_is_asked(subject: Subject) {
    let store = subject.migrated().await;
    write(store, async |tx| tx.save_instances("orders", &five()).await.expect("save")).await;
    let (page, _) = store.sagas().instances("orders", &all()).await.expect("list");
    assert_eq!(page.last(), five().last());
    let (order, open) = ("place-order".to_owned(), InstanceQuery { open: true, ..all() });
    let compensating = Some(InstanceState::Compensating);
    for (query, expected) in [
        (all(), "dabce"),
        (stalest(), "badce"),
        (InstanceQuery { saga: Some("refund".into()), ..all() }, "ae"),
        (InstanceQuery { saga: Some(order.clone()), ..stalest() }, "bdc"),
        (InstanceQuery { saga: Some("unknown".into()), ..all() }, ""),
        (InstanceQuery { state: Some(InstanceState::Running), ..all() }, "ac"),
        (InstanceQuery { state: Some(InstanceState::Completing), ..all() }, ""),
        (open.clone(), "abc"),
        (InstanceQuery { open: true, ..stalest() }, "bac"),
        (InstanceQuery { state: Some(InstanceState::Aborted), ..open.clone() }, ""),
        (InstanceQuery { saga: Some(order.clone()), ..open.clone() }, "bc"),
        (InstanceQuery { attention: true, ..all() }, "be"),
        (InstanceQuery { attention: true, ..open.clone() }, "b"),
        (InstanceQuery { attention: true, saga: Some("refund".into()), ..stalest() }, "e"),
        (InstanceQuery { idle_since: Some(at(40)), ..all() }, "ab"),
        (InstanceQuery { idle_since: Some(at(50)), ..stalest() }, "bad"),
        (InstanceQuery { idle_since: Some(at(51)), open: true, ..stalest() }, "bac"),
        (InstanceQuery { saga: Some(order), state: compensating, attention: true, idle_since: Some(at(31)), ..open }, "b"),
    ] {
        let expected = (expected.to_owned(), expected.len() as u64);
        assert_eq!(listed(store.sagas(), &query).await, expected, "{query:?}");
    }
}

/// Checks that instances are listed in pages, with their total number.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_are_listed_a_page_at_a_time(subject: Subject) {
    let store = subject.migrated().await;
    assert_eq!(listed(store.sagas(), &all()).await, (String::new(), 0));
    write(store, async |tx| tx.save_instances("orders", &five()).await.expect("save")).await;
    for (offset, limit, expected) in
        [(0, 2, "da"), (2, 2, "bc"), (4, 2, "e"), (5, 2, ""), (1, u32::MAX, "abce"), (0, 0, ""), (u64::MAX, u32::MAX, "")]
    {
        let page = InstanceQuery { offset, limit, ..all() };
        assert_eq!(listed(store.sagas(), &page).await, (expected.to_owned(), 5), "from {offset}, at most {limit}");
    }
    let page = InstanceQuery { offset: 1, limit: 1, open: true, ..stalest() };
    assert_eq!(listed(store.sagas(), &page).await, ("a".to_owned(), 3));
}

/// Checks that instances whose timer has expired are listed earliest first, and that the time of the next timer is known, until they are
/// saved without a timer.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_are_due_in_order(subject: Subject) {
    let store = subject.migrated().await;
    let sagas = store.sagas();
    assert_eq!(sagas.next_due("orders").await.expect("next"), None);
    let timed = |id, due| InstanceRecord { due: Some(at(due)), ..running(id, 1) };
    let records = [timed("a", 30), timed("c", 10), timed("b", 10), running("d", 1), timed("e", 20)];
    let other = InstanceRecord { instance: refund("a"), ..timed("a", 10) };
    write(store, async |tx| {
        tx.save_instances("orders", &records).await.expect("save");
        tx.save_instances("orders", &[other]).await.expect("save");
    })
    .await;
    let (a, b, c, e) = (instance("a"), instance("b"), instance("c"), instance("e"));
    for (now, limit, expected) in [
        (9, 10, vec![]),
        (10, 10, vec![b.clone(), c.clone(), refund("a")]),
        (20, 2, vec![b.clone(), c.clone()]),
        (99, 10, vec![b.clone(), c.clone(), refund("a"), e.clone(), a.clone()]),
        (99, 0, vec![]),
    ] {
        assert_eq!(sagas.due("orders", at(now), limit).await.expect("due"), expected, "by {now}, at most {limit}");
    }
    assert_eq!(sagas.next_due("orders").await.expect("next"), Some(at(10)));
    let rest = [running("b", 1), running("c", 1), InstanceRecord { instance: refund("a"), ..timed("a", 40) }];
    write(store, async |tx| tx.save_instances("orders", &rest).await.expect("save")).await;
    assert_eq!(sagas.next_due("orders").await.expect("next"), Some(at(20)));
    assert_eq!(sagas.due("orders", at(99), 10).await.expect("due"), [e, a, refund("a")]);
}

/// Checks that instances that have not ended and were last written after a time are found.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_written_after_a_time_are_found(subject: Subject) {
    let store = subject.migrated().await;
    let written = |id, when| InstanceRecord { updated_at: at(when), ..running(id, 1) };
    let ended = InstanceRecord { ended_at: Some(at(90)), ..written("d", 90) };
    let records = [written("a", 30), written("b", 10), written("c", 20), ended];
    write(store, async |tx| tx.save_instances("orders", &records).await.expect("save")).await;
    for (after, limit, expected) in [(10, 10, 2), (9, 10, 3), (30, 10, 0), (0, 2, 2)] {
        let found = store.sagas().updated_after("orders", at(after), limit).await.expect("find");
        assert_eq!(found.len(), expected, "after {after}, at most {limit}: {found:?}");
        assert!(!found.contains(&instance("d")));
    }
    assert!(store.sagas().updated_after("payments", at(0), 10).await.expect("find").is_empty());
}

/// Checks that instances that have not ended are counted by saga and version, and those that need attention by saga.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_are_counted(subject: Subject) {
    let store = subject.migrated().await;
    let second = |id| InstanceRecord { version: 2, ..running(id, 1) };
    write(store, async |tx| {
        tx.save_instances("orders", &five()).await.expect("save");
        tx.save_instances("orders", &[second("f"), second("g"), second("h")]).await.expect("save");
    })
    .await;
    let sagas = store.sagas();
    let open = |saga: &str, version, instances| OpenVersion { saga: saga.into(), version, instances };
    let versions = [open("place-order", 1, 2), open("place-order", 2, 3), open("refund", 1, 1)];
    assert_eq!(sagas.open_versions("orders").await.expect("count"), versions);
    assert_eq!(sagas.attention("orders").await.expect("count"), [("place-order".to_owned(), 1), ("refund".to_owned(), 1)]);

    let [running, stuck, _, open_refund, refused] = five();
    let settled = InstanceRecord { attention: None, ..refused };
    let stuck_too = InstanceRecord { attention: Some("stuck".into()), ..running };
    let ended = InstanceRecord { ended_at: Some(at(90)), ..open_refund };
    write(store, async |tx| tx.save_instances("orders", &[settled, stuck_too, ended, stuck]).await.expect("save")).await;
    assert_eq!(sagas.open_versions("orders").await.expect("count"), versions[..2]);
    assert_eq!(sagas.attention("orders").await.expect("count"), [("place-order".to_owned(), 2)]);
}

/// Checks that definitions are kept by name and version, and that saving one again replaces it.
///
/// # Panics
/// Panics if the check fails.
pub async fn definitions_are_replaced(subject: Subject) {
    let store = subject.migrated().await;
    let sagas = store.sagas();
    let saga = |saga: &str, version, body: &str| StoredDefinition { saga: saga.into(), version, body: body.into() };
    let (first, second) = (saga("place-order", 2, r#"{"steps":[]}"#), saga("place-order", 10, "{}"));
    for definition in [&second, &first, &saga("ask", u32::MAX, "{}")] {
        sagas.define("orders", definition).await.expect("define");
    }
    let changed = saga("place-order", 2, r#"{"steps":["it's new"]}"#);
    for definition in [&changed, &changed] {
        sagas.define("orders", definition).await.expect("define");
    }
    sagas.define("payments", &first).await.expect("define");
    assert_eq!(sagas.definitions("orders").await.expect("read"), [saga("ask", u32::MAX, "{}"), changed, second]);
    assert_eq!(sagas.definitions("payments").await.expect("read"), [first]);
    assert_eq!(sagas.definitions("shipping").await.expect("read"), []);
}

/// Checks that every service with stored data is listed, whatever kind of data that is.
///
/// # Panics
/// Panics if the check fails.
pub async fn services_are_known(subject: Subject) {
    let store = subject.migrated().await;
    let sagas = store.sagas();
    assert_eq!(sagas.services().await.expect("read"), Vec::<String>::new());
    write(store, async |tx| {
        tx.save_instances("orders", &[running("a", 1), running("b", 2)]).await.expect("save");
        tx.save_steps("orders", &[step("a", 1)]).await.expect("save");
        tx.save_steps("payments", &[step("a", 1), step("b", 2)]).await.expect("save");
        tx.insert_dead_letters("Zoll", &[letter("one", 1), letter("two", 2)]).await.expect("bury");
    })
    .await;
    let saga = StoredDefinition { saga: "place-order".into(), version: 1, body: "{}".into() };
    sagas.define("billing", &saga).await.expect("define");
    store.acquire_partitions("statistics", &[TopicPartition::new("orders", 0)]).await.expect("own");
    let mut services = sagas.services().await.expect("read");
    services.sort();
    assert_eq!(services, ["Zoll", "billing", "orders", "payments", "statistics"]);
}
