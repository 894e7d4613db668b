//! Transactions that need the same instance run one after the other.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    Subject,
    samples::{instance, running, step},
};
use crate::store::{InstanceKey, InstanceRecord, LeftBehind, StepRecord, Store};

/// The number of concurrent transactions.
const TASKS: usize = 24;
/// The time that a check waits for them.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs [`TASKS`] tasks that each count once, and waits for them.
async fn count<F>(store: &Arc<dyn Store>, once: impl Fn(Arc<dyn Store>, usize) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let tasks: JoinSet<()> = (0..TASKS).map(|number| once(Arc::clone(store), number)).collect();
    tokio::time::timeout(PATIENCE, tasks.join_all()).await.expect("one waits for another for ever");
}

fn next(count: &str) -> String {
    (count.parse::<usize>().expect("a number") + 1).to_string()
}

/// Checks that concurrent transactions that change an instance, which does not exist at first, each see what earlier ones have written.
///
/// # Panics
/// Panics if the check fails.
pub async fn instances_are_changed_one_after_the_other(subject: Subject) {
    let store = subject.migrated().await;
    count(store, |store, _| async move {
        let mut tx = store.begin().await.expect("begin");
        let found = tx.load_instances("orders", &[instance("1")]).await.expect("load").pop();
        tokio::task::yield_now().await;
        let mut record = found.unwrap_or_else(|| InstanceRecord { body: "0".into(), ..running("1", 1) });
        record.body = next(&record.body);
        tx.save_instances("orders", &[record]).await.expect("save");
        tx.commit().await.expect("commit");
    })
    .await;
    let found = store.sagas().instance("orders", &instance("1")).await.expect("read");
    assert_eq!(found.map(|record| record.body), Some(TASKS.to_string()));
}

/// Checks that concurrent transactions that change the steps of two instances each see what earlier ones have written. They name the
/// instances in either order, and there are no steps at first.
///
/// # Panics
/// Panics if the check fails.
pub async fn steps_are_changed_one_after_the_other(subject: Subject) {
    let store = subject.migrated().await;
    count(store, |store, number| async move {
        let mut wanted: [InstanceKey; 2] = [instance("1"), instance("2")];
        wanted.rotate_left(number % 2);
        let mut tx = store.begin().await.expect("begin");
        let mut steps = tx.load_steps("orders", &wanted).await.expect("load");
        tokio::task::yield_now().await;
        if steps.is_empty() {
            steps = ["1", "2"]
                .map(|id| StepRecord { record: Some(LeftBehind { value: "0".into(), version: 1 }), ..step(id, 1) })
                .into();
        }
        for step in &mut steps {
            if let Some(record) = &mut step.record {
                record.value = next(&record.value);
            }
        }
        tx.save_steps("orders", &steps).await.expect("save");
        tx.commit().await.expect("commit");
    })
    .await;
    for id in ["1", "2"] {
        let steps = store.sagas().steps("orders", &instance(id)).await.expect("read");
        let counted: Vec<_> = steps.into_iter().filter_map(|step| Some(step.record?.value)).collect();
        assert_eq!(counted, [TASKS.to_string()]);
    }
}

/// Checks that a dropped transaction releases the instances it has loaded, whether they existed or not.
///
/// # Panics
/// Panics if the check fails.
pub async fn what_is_dropped_keeps_no_instance(subject: Subject) {
    let store = subject.migrated().await;
    for _ in 0..2 {
        let loading = async {
            let mut tx = store.begin().await.expect("begin");
            tx.load_steps("orders", &[instance("1")]).await.expect("load");
            tx.load_instances("orders", &[instance("1")]).await.expect("load");
            tx.save_instances("orders", &[running("1", 1)]).await.expect("save");
        };
        tokio::time::timeout(PATIENCE, loading).await.expect("it is kept from others");
    }
    assert_eq!(store.sagas().instance("orders", &instance("1")).await.expect("read"), None);
}
