//! What a service does now and then: measure how far behind it is, and forget old inbox rows.

use std::{sync::Arc, time::Duration};

use super::{core::Core, metrics::PartitionSeries};
use crate::{message::TopicPartition, runtime::health::CheckResult, transport::GroupLag};

/// How often the lag is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// How often old inbox rows are looked for.
const PRUNE: Duration = Duration::from_secs(600);
/// Rows forgotten in one transaction, so that no other waits long.
const ROWS: u32 = 1_000;

/// Measures the lag for the metrics, for ever.
pub(crate) async fn measure(core: Arc<Core>) {
    let topics = core.directory.topics();
    loop {
        if let Ok(lags) = core.transport.lag(&core.name, &topics).await {
            for GroupLag { partition: TopicPartition { topic, partition }, committed, end } in lags {
                let behind = u64::try_from(end - committed).unwrap_or(0);
                PartitionSeries::new(&core.metrics, &topic, partition).lag.set_count(behind);
            }
        }
        if let Ok((_, open)) = core.store().dead_letters(&core.name, 0, 1).await {
            core.series.dead_open.set_count(open);
        }
        core.clock.sleep(MEASURE).await;
    }
}

/// Forgets old inbox rows, for ever.
pub(crate) async fn prune(core: Arc<Core>) {
    loop {
        let before = core.clock.now().before(core.settings.inbox_retention());
        loop {
            match core.store().prune_inbox(&core.name, before, ROWS).await {
                Ok(pruned) if pruned == u64::from(ROWS) => tokio::task::yield_now().await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(service = &*core.name, %error, "old inbox rows could not be removed");
                    break;
                }
            }
        }
        core.clock.sleep(PRUNE).await;
    }
}

/// Registers what the framework itself knows about the service's health.
pub(crate) fn checks(core: &Arc<Core>) {
    let health = &core.health;
    let it = core.clone();
    health.check("database", move || {
        let core = it.clone();
        Box::pin(async move {
            match core.store().check().await {
                Ok(()) => CheckResult::up(),
                Err(error) => CheckResult::down(error.to_string()),
            }
        })
    });
    let it = core.clone();
    health.check("broker", move || {
        let core = it.clone();
        Box::pin(async move {
            match core.transport.check().await {
                Ok(()) => CheckResult::up(),
                Err(error) => CheckResult::down(error.to_string()),
            }
        })
    });
    let it = core.clone();
    health.check("consumer", move || {
        let core = it.clone();
        Box::pin(async move {
            if core.directory.topics().is_empty() || core.consuming.load(std::sync::atomic::Ordering::SeqCst) {
                CheckResult::up()
            } else {
                CheckResult::down("the consumer is not running; the log says why")
            }
        })
    });
    let it = core.clone();
    health.watch("lag", move || {
        let core = it.clone();
        Box::pin(async move {
            match core.transport.lag(&core.name, &core.directory.topics()).await {
                Ok(lags) => {
                    let records: i64 = lags.iter().map(|lag| (lag.end - lag.committed).max(0)).sum();
                    CheckResult::up().with("records", records)
                }
                Err(error) => CheckResult::degraded(error.to_string()),
            }
        })
    });
    let it = core.clone();
    health.watch("outbox", move || {
        let core = it.clone();
        Box::pin(async move {
            let rows = core.ledger().len();
            let result = match core.outbox_full() {
                true => CheckResult::degraded("the outbox is full; publishing is refused until the log takes records"),
                false => CheckResult::up(),
            };
            result.with("rows", rows)
        })
    });
    let it = core.clone();
    health.watch("parkedKeys", move || {
        let core = it.clone();
        Box::pin(async move {
            let (keys, messages) = core.lot().totals();
            CheckResult::up().with("keys", keys).with("messages", messages)
        })
    });
    let it = core.clone();
    health.watch("deadLetters", move || {
        let core = it.clone();
        Box::pin(async move {
            match core.store().dead_letters(&core.name, 0, 1).await {
                Ok((_, 0)) => CheckResult::up().with("open", 0),
                Ok((_, open)) => CheckResult::degraded("dead letters are open: retry or discard them").with("open", open),
                Err(error) => CheckResult::degraded(error.to_string()),
            }
        })
    });
}
