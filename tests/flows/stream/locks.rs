//! Lanes that write to the log of changes side by side never wait for each other in a circle.

use std::{sync::Arc, time::Duration};

use sagas::{id::IdSource, transport::memory::Memory};

use super::{Analytics, Instance, analytics::unreadable, happenings, postgres::Scratch};

const ORDERS: usize = 150;
/// After so many records comes one that cannot be read.
const EVERY: usize = 7;

/// How many values a histogram of the service has.
async fn count_of(instance: &Instance, histogram: &str) -> f64 {
    let text = instance.answer("/metrics").await.text;
    let counts = text.lines().filter(|line| line.starts_with(&format!("{histogram}_count{{")));
    counts.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
}

/// The records of an order are on three topics, and so in several lanes. In each batch is a record that cannot be read, so that the others
/// are run one by one: a transaction then makes many calls of the handler, and holds what each has locked until the last has ended.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn transactions_of_several_calls_take_their_locks_in_one_order() {
    let (folder, ids, database) = (tempfile::tempdir().unwrap(), IdSource::random(), Scratch::new().await);
    let service = Analytics::on(folder.path(), Arc::new(Memory::new()), database.storage());
    let instance = service.start().await;

    let (happened, _) = happenings(&ids, ORDERS);
    let mut records = Vec::new();
    for some in happened.chunks(EVERY) {
        records.extend_from_slice(some);
        records.push(unreadable(&ids));
    }
    let bad = happened.len().div_ceil(EVERY);
    service.publish(records).await;
    let all = async {
        loop {
            let counted = instance.answer("/analytics/events").await.is(200);
            let total: u64 = counted.as_object().unwrap().values().map(|count| count.as_u64().unwrap()).sum();
            if total == happened.len() as u64 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(120), all).await.expect("all events are counted");

    let transactions = count_of(&instance, "sagas_batch_size").await;
    let calls = count_of(&instance, "sagas_handler_duration_seconds").await;
    assert!(calls > 2.0 * transactions, "{calls} calls in {transactions} transactions");
    instance.stop().await;
    assert_eq!(database.deadlocks().await, 0, "of {transactions} transactions with {bad} records that cannot be read");
    database.drop().await;
}
