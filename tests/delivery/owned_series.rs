//! A process shows the gauges of its own partitions only.

use std::collections::BTreeSet;

use sagas::{prelude::*, transport::memory::Memory};

use crate::support::{
    instance::{Instance, partitions, publish},
    *,
};

#[handler]
async fn charge(On(placed): On<Placed>, meta: Meta, State(plan): State<Plan>) -> Result<(), Failure> {
    plan.step(&placed, &meta);
    Ok(())
}

/// Returns the partitions in the series `name`.
fn shown(instance: &Instance, name: &str) -> BTreeSet<String> {
    let text = instance.service().metrics().render();
    let series = text.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains("topic=\"orders\""));
    series.filter_map(|line| Some(line.split_once("partition=\"")?.1.split_once('"')?.0.to_owned())).collect()
}

#[tokio::test]
async fn a_partition_that_moves_is_shown_by_its_new_reader_alone() {
    let (database, clock) = (sqlite().await, clock());
    let log = Memory::with_clock(clock.clone());
    let start = async |seed: u64| {
        let service = service(&database, &Plan::done()).handlers(handlers![charge]).settings(partitions(4));
        Instance::start(service, &log, &clock, seed).await
    };
    let all: BTreeSet<_> = (0..4).map(|partition| partition.to_string()).collect();
    let first = start(1).await;
    until("one instance reads all", || async { shown(&first, "sagas_partition_paused") == all }).await;
    let second = start(2).await;
    for series in ["sagas_partition_paused", "sagas_consumer_lag_records"] {
        until("each shows what it reads, and nothing else", || async {
            for order in 0..8 {
                publish(&log, &format!("o{order}"), 0).await;
            }
            // The lag is measured every few seconds.
            clock.advance(std::time::Duration::from_secs(5));
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            let (one, other) = (shown(&first, series), shown(&second, series));
            one.len() == 2 && other.len() == 2 && one.is_disjoint(&other)
        })
        .await;
    }
    until("both show how far the group is behind", || async {
        clock.advance(std::time::Duration::from_secs(5));
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        [&first, &second].iter().all(|one| {
            one.service().metrics().render().contains("sagas_group_lag_records{service=\"payments\",topic=\"orders\"}")
        })
    })
    .await;
    second.handle.stop().await;
    until("one instance reads all again", || async { shown(&first, "sagas_partition_paused") == all }).await;
    first.handle.stop().await;
}
