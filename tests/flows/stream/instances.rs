//! Two processes of the service behind one address, on PostgreSQL: a reader loses one, and continues at the other.

use std::sync::Arc;

use futures_util::future::join_all;
use sagas::{id::IdSource, transport::memory::Memory};
use sagas_tests::{EventStream, ServerEvent};

use super::{Analytics, Instance, happenings, postgres::Scratch};

const ORDERS: usize = 600;

/// Opens a stream that receives every event.
async fn from_the_start(instance: &Instance) -> EventStream {
    let mut stream = instance.read().await;
    assert_eq!(stream.next_of("snapshot").await.position(), 0);
    stream
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_reader_that_goes_from_one_to_the_other_misses_nothing() {
    let (folder, ids) = (tempfile::tempdir().unwrap(), IdSource::random());
    let database = Scratch::new().await;
    let service = Analytics::on(folder.path(), Arc::new(Memory::new()), database.storage());
    let instances = [service.start().await, service.start().await];

    // Four readers change the process after every few events; one reader stays at each process.
    let all = 4 * ORDERS;
    let (mut wandering, mut staying) = (Vec::new(), Vec::new());
    for _ in 0..4 {
        wandering.push(from_the_start(&instances[0]).await);
    }
    for instance in &instances {
        staying.push(from_the_start(instance).await);
    }
    let wandering = wandering.into_iter().zip(0_u64..).map(|(mut stream, seed)| {
        let instances = &instances;
        async move {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut read: Vec<ServerEvent> = Vec::new();
            while read.len() < all {
                let some = rng.usize(1..=150).min(all - read.len());
                read.extend(stream.orders(some).await);
                let last = read.last().unwrap().id.clone().unwrap();
                stream = instances[rng.usize(0..2)].read_after(&last).await;
            }
            read
        }
    });
    let staying = staying.into_iter().map(async |mut stream| stream.orders(all).await);
    let write = async {
        for _ in 0..ORDERS / 10 {
            service.publish(happenings(&ids, 10).0).await;
            tokio::task::yield_now().await;
        }
    };
    let (wandering, staying, ()) = tokio::join!(join_all(wandering), join_all(staying), write);
    let first = &staying[0];
    let positions: Vec<_> = first.iter().map(ServerEvent::position).collect();
    assert_eq!(positions, (1..=i64::try_from(all).unwrap()).collect::<Vec<_>>());
    for read in wandering.iter().chain(&staying) {
        assert!(read == first, "every reader is told the same in the same order");
    }
    // Both processes have written to the log: each has handled a part.
    for instance in &instances {
        let metrics = instance.answer("/metrics").await.text;
        let handled = metrics
            .lines()
            .find_map(|line| line.strip_prefix(r#"sagas_deliveries_total{service="analytics",handler="count",outcome="done"} "#));
        assert!(handled.is_some_and(|count| count.parse::<u64>().unwrap() > 0), "{metrics}");
    }
    for instance in instances {
        instance.stop().await;
    }
    database.drop().await;
}
