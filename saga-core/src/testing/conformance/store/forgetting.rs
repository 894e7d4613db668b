//! Pruning of what is stored about sagas.

use super::{
    Subject,
    samples::{at, entry, instance, running, step},
    write,
};
use crate::store::{InstanceQuery, InstanceRecord, StepRecord, Store};

async fn left(store: &dyn Store, service: &str) -> (usize, u64) {
    let sagas = store.sagas();
    let steps = sagas.steps(service, &instance("1")).await.expect("read").len();
    (steps, sagas.instances(service, &InstanceQuery::default()).await.expect("list").1)
}

/// Checks that step records written before a time are pruned, up to the limit, and only those of the service.
///
/// # Panics
/// Panics if the check fails.
pub async fn old_steps_are_pruned(subject: Subject) {
    let store = subject.migrated().await;
    let steps: Vec<StepRecord> =
        (0..7).map(|number| StepRecord { at: at(if number < 5 { 10 } else { 20 }), ..step("1", number) }).collect();
    write(store, async |tx| {
        tx.save_steps("orders", &steps).await.expect("save");
        tx.save_steps("payments", &steps).await.expect("save");
        tx.save_instances("orders", &[running("1", 1)]).await.expect("save");
    })
    .await;
    for expected in [3, 2, 0] {
        assert_eq!(store.sagas().prune("orders", at(20), at(20), 3).await.expect("prune"), expected);
    }
    assert_eq!(store.sagas().steps("orders", &instance("1")).await.expect("read"), steps[5..]);
    assert_eq!(left(&**store, "payments").await.0, 7);
}

/// Checks that instances that ended before a time are pruned with their history, up to the limit, and only those of the service.
///
/// # Panics
/// Panics if the check fails.
pub async fn old_instances_are_pruned_with_their_history(subject: Subject) {
    let store = subject.migrated().await;
    let ended = |id, ended| InstanceRecord { ended_at: Some(at(ended)), ..running(id, 1) };
    let records = [running("a", 1), ended("b", 10), ended("c", 10), ended("d", 10), ended("e", 20)];
    write(store, async |tx| {
        for service in ["orders", "payments"] {
            tx.save_instances(service, &records).await.expect("save");
            for id in ["a", "b", "c", "d", "e"] {
                let entries = [entry(id, "OrderPlaced"), entry(id, "OrderShipped")];
                tx.append_history(service, &entries).await.expect("append");
            }
        }
    })
    .await;
    let sagas = store.sagas();
    for (expected, remaining) in [(2, 3), (1, 2), (0, 2)] {
        assert_eq!(sagas.prune("orders", at(20), at(20), 2).await.expect("prune"), expected);
        assert_eq!(left(&**store, "orders").await.1, remaining);
        for id in ["a", "b", "c", "d", "e"] {
            let there = sagas.instance("orders", &instance(id)).await.expect("read").is_some();
            let history = sagas.history("orders", &instance(id)).await.expect("read").len();
            assert_eq!(history, if there { 2 } else { 0 }, "of {id}");
        }
    }
    for id in ["a", "e"] {
        assert!(sagas.instance("orders", &instance(id)).await.expect("read").is_some(), "{id} is forgotten");
    }
    assert_eq!(left(&**store, "payments").await.1, 5);
    assert_eq!(sagas.history("payments", &instance("b")).await.expect("read").len(), 2);
}

/// Checks that pruning returns the larger of the two numbers of removed rows. While that is the limit, there may be more to prune.
///
/// # Panics
/// Panics if the check fails.
pub async fn pruning_says_how_much_of_the_larger(subject: Subject) {
    let store = subject.migrated().await;
    let steps: Vec<StepRecord> = (0..3).map(|number| step("1", number)).collect();
    let ended = ["a", "b"].map(|id| InstanceRecord { ended_at: Some(at(1)), ..running(id, 1) });
    write(store, async |tx| {
        tx.save_steps("orders", &steps).await.expect("save");
        tx.save_instances("orders", &ended).await.expect("save");
    })
    .await;
    assert_eq!(store.sagas().prune("orders", at(100), at(100), 0).await.expect("prune"), 0);
    assert_eq!(store.sagas().prune("orders", at(0), at(1), 10).await.expect("prune"), 0);
    assert_eq!(left(&**store, "orders").await, (3, 2));
    assert_eq!(store.sagas().prune("orders", at(100), at(100), 10).await.expect("prune"), 3);
    assert_eq!(left(&**store, "orders").await, (0, 0));
}
