//! Transactions that want the same instance: one after the other.

use std::{sync::Arc, time::Duration};

use tokio::task::JoinSet;

use super::{
    Subject,
    samples::{instance, running, step},
};
use crate::store::{InstanceKey, InstanceRecord, StepRecord, Store};

/// How many come at once.
const TASKS: usize = 24;
/// How long a check waits for them.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has every one of [`TASKS`] count once, and waits for them.
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

/// Of many that change one instance, which is not there at first, each sees what those before it have written.
///
/// # Panics
/// When what one wrote is lost.
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

/// Of many that change the steps of two instances, which they name in either order and of which there are none at first, each
/// sees what those before it have written.
///
/// # Panics
/// When what one wrote is lost, or they wait for each other.
pub async fn steps_are_changed_one_after_the_other(subject: Subject) {
    let store = subject.migrated().await;
    count(store, |store, number| async move {
        let mut wanted: [InstanceKey; 2] = [instance("1"), instance("2")];
        wanted.rotate_left(number % 2);
        let mut tx = store.begin().await.expect("begin");
        let mut steps = tx.load_steps("orders", &wanted).await.expect("load");
        tokio::task::yield_now().await;
        if steps.is_empty() {
            steps = ["1", "2"].map(|id| StepRecord { record: Some("0".into()), ..step(id, 1) }).into();
        }
        for step in &mut steps {
            step.record = step.record.as_deref().map(next);
        }
        tx.save_steps("orders", &steps).await.expect("save");
        tx.commit().await.expect("commit");
    })
    .await;
    for id in ["1", "2"] {
        let steps = store.sagas().steps("orders", &instance(id)).await.expect("read");
        assert_eq!(steps.iter().map(|step| step.record.clone()).collect::<Vec<_>>(), [Some(TASKS.to_string())]);
    }
}

/// A transaction that is dropped lets go of what it has loaded, whether it was there or not.
///
/// # Panics
/// When it does not.
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
