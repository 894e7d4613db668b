//! Periodic work of a service: measures the lag, compares the index of parked keys with the database, and removes old rows of the inbox,
//! dead letters, replays and sagas.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_core::future::BoxFuture;

use super::{
    conditions::Severity,
    core::Core,
    handled_before,
    metrics::{ClientSeries, PartitionSeries, PassingGauge, behind_transactions, deadline_overdue, group_lag},
    panics::Panics,
    parked, partitions, saga,
};
use crate::{
    message::TopicPartition,
    runtime::{Tracker, health::CheckResult},
    transport::GroupLag,
};

/// How often the lag is measured.
const MEASURE: Duration = Duration::from_secs(5);
/// The number of measurements between two counts of the open instances. The count takes longer the more instances there are.
const COUNT: u32 = 6;
/// How often the index of parked keys is compared with the database.
const AUDIT: Duration = Duration::from_secs(5);
/// How often old rows are removed.
const PRUNE: Duration = Duration::from_secs(600);
/// The most rows that one transaction removes, so that other transactions do not wait long.
const ROWS: u32 = 1_000;

/// Updates the metrics and the conditions that need queries, until the task is aborted.
pub(crate) async fn measure(core: Arc<Core>) {
    let mut clients = ClientSeries::new(&core.metrics, &core.name);
    let mut gauges: BTreeMap<String, [PassingGauge; 2]> = BTreeMap::new();
    let mut fewer = partitions::Fewer::default();
    for turn in (0..COUNT).cycle() {
        Panics::calm(&core);
        // For a recorder of the program: a scrape of the framework's `/metrics` checks it anew.
        core.metrics.set_ready(core.health.is_ready().await);
        core.put_off.measure(&core);
        clients.show(&core.transport.statistics());
        measure_database(&core).await;
        let topics = core.topics();
        if !topics.is_empty()
            && let Ok(lags) = core.transport.lag(&core.name, &topics).await
        {
            let mut of_topics: BTreeMap<String, [u64; 2]> = BTreeMap::new();
            core.sight.measured(&lags);
            let mut counts = partitions::of(&lags);
            fewer.settle(&core, &mut counts);
            if let Err(error) = partitions::learn(&core, counts).await {
                tracing::debug!(service = &*core.name, %error, "the numbers of partitions could not be recorded");
            }
            for GroupLag { partition: TopicPartition { topic, partition }, committed, end, blocked } in lags {
                let behind = u64::try_from(end - committed).unwrap_or(0);
                PartitionSeries::measured(&core.metrics, &topic, partition, behind);
                let [records, waiting] = of_topics.entry(topic).or_default();
                *records += behind;
                *waiting += u64::try_from(blocked).unwrap_or(0);
            }
            // The lag of a single partition is shown by the process that reads it. Partitions that no process reads are only in the sum,
            // which every process shows.
            for (topic, [records, waiting]) in of_topics {
                let made = || [group_lag(&core.metrics, &topic), behind_transactions(&core.metrics, &topic)];
                let [lag, blocked] = gauges.entry(topic.clone()).or_insert_with(made);
                lag.set_count(records);
                blocked.set_count(waiting);
            }
        }
        if !core.sagas.tracked.is_empty() {
            if turn == 0 {
                measure_open(&core).await;
                saga::look_again(&core).await;
            }
            measure_attention(&core).await;
            measure_overdue(&core).await;
        }
        if let Ok((_, open)) = core.store().dead_letters(&core.name, 0, 0).await {
            core.series.open_dead_letters.set_count(open);
        }
        core.clock.sleep(MEASURE).await;
    }
}

/// Raises the conditions of the database: its own advice to operators, and failing transactions.
async fn measure_database(core: &Core) {
    let now = core.clock.now();
    if let Ok(advice) = core.store().advice().await {
        for condition in ["database_settings", "database_pool", "write_ahead_log"] {
            let holds = advice.iter().filter(|advice| advice.condition == condition).map(|advice| {
                let severity = if advice.critical { Severity::Critical } else { Severity::Warning };
                (advice.subject.clone(), severity, advice.detail.clone())
            });
            core.conditions.set(condition, holds.collect::<Vec<_>>(), now);
        }
    }
    match core.outage.lasting(now) {
        Some(error) => core.conditions.raise(
            "transactions_fail",
            "",
            Severity::Critical,
            format!("no transaction has been committed for a while, and each ended with: {error}"),
            now,
        ),
        None => core.conditions.clear("transactions_fail", "", now),
    }
}

/// Counts the open instances of the tracked sagas. If they cannot be read now, the next measurement tries again.
async fn measure_open(core: &Core) {
    let Ok(open) = core.store().sagas().open_versions(&core.name).await else { return };
    for tracked in &core.sagas.tracked {
        let of_saga = open.iter().filter(|open| open.saga == tracked.definition.name).map(|open| open.instances);
        tracked.series.open.set_count(of_saga.sum());
    }
}

/// Counts the instances that need attention.
async fn measure_attention(core: &Core) {
    let Ok(attention) = core.store().sagas().attention(&core.name).await else { return };
    for tracked in &core.sagas.tracked {
        let of_saga = attention.iter().find(|(saga, _)| *saga == tracked.definition.name);
        tracked.series.attention.set_count(of_saga.map_or(0, |(_, count)| *count));
    }
}

/// Shows by how long the earliest deadline is overdue that no process of the service has handled.
async fn measure_overdue(core: &Core) {
    let Ok(next) = core.store().sagas().next_due(&core.name).await else { return };
    let overdue = next.map_or(Duration::ZERO, |next| core.clock.now().since(next));
    deadline_overdue(&core.metrics).set(overdue.as_secs_f64());
}

/// Compares the parked keys with the database, to find what other processes have changed, until the task is aborted.
pub(crate) async fn audit(core: Arc<Core>) {
    loop {
        tokio::select! {
            () = core.clock.sleep(AUDIT) => {}
            () = core.audit_wake.notified() => {}
        }
        if let Err(error) = parked::audit(&core).await {
            tracing::warn!(service = &*core.name, %error, "the parked keys could not be read");
        }
        // Another process may run a newer program that handles more events.
        if let Err(error) = handled_before::look(&core).await {
            tracing::warn!(service = &*core.name, %error, "the events that the service has handled could not be read");
        }
    }
}

/// Removes old rows regularly, until the task is aborted.
pub(crate) async fn prune(core: Arc<Core>) {
    loop {
        let before = core.older_than(core.settings.inbox_retention());
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
        forget_letters(&core).await;
        forget_sagas(&core).await;
        forget_replays(&core).await;
        core.clock.sleep(PRUNE).await;
    }
}

/// Removes replays that ended long ago, at most 1,000. The rest is removed the next time.
async fn forget_replays(core: &Core) {
    let before = core.older_than(core.settings.inbox_retention());
    if let Err(error) = core.store().replays().prune(&core.name, before, ROWS).await {
        tracing::warn!(service = &*core.name, %error, "old replays could not be removed");
    }
}

/// Removes old dead letters: settled ones, and open ones with a warning.
async fn forget_letters(core: &Core) {
    let open = core.settings.dead_letter_retention().map(|kept| core.older_than(kept));
    let settled = core.settings.settled_letter_retention().map(|kept| core.older_than(kept));
    let mut expired = 0;
    loop {
        match core.store().prune_dead_letters(&core.name, open, settled, ROWS).await {
            Ok(pruned) => {
                expired += pruned.open;
                if pruned.open.max(pruned.settled) < u64::from(ROWS) {
                    break;
                }
                tokio::task::yield_now().await;
            }
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "old dead letters could not be removed");
                break;
            }
        }
    }
    if expired > 0 {
        core.series.letters_expired.add(expired);
        core.series.open_dead_letters.add(-(expired as f64));
        tracing::warn!(
            service = &*core.name,
            letters = expired,
            days = core.settings.dead_letter_retention_days,
            "open dead letters that were not settled in time were removed (setting `dead_letter_retention_days`)"
        );
    }
}

/// Removes step records that no message can refer to any more, and instances that ended long ago.
async fn forget_sagas(core: &Core) {
    // A step record is kept as long as a message can arrive for the step or its compensation. That is the sum of: the deadline of its saga,
    // twice (until the decision, and for what follows it); the time in which an operator can help an instance that needs attention; and the
    // time in which the log can deliver a message again. So a step record can outlive its instance.
    let retention = core.sagas.tracked.iter().map(|tracked| tracked.retention).max().unwrap_or(Tracker::RETENTION);
    let steps = core.older_than(core.settings.inbox_retention() + 2 * core.sagas.longest + retention.max(Tracker::RETENTION));
    loop {
        match core.store().sagas().prune(&core.name, steps, core.older_than(retention), ROWS).await {
            Ok(pruned) if pruned >= u64::from(ROWS) => tokio::task::yield_now().await,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "old sagas could not be removed");
                return;
            }
        }
    }
}

/// Registers the framework's own health checks. Those that ask the database or the log are shared by all callers.
pub(crate) fn checks(core: &Arc<Core>) {
    core.health.check(
        "database",
        of(core, |core| async move {
            core.store().check().await.map_or_else(|error| CheckResult::down(error.to_string()), |()| CheckResult::up())
        }),
    );
    core.health.check(
        "broker",
        of(core, |core| async move {
            core.transport.check().await.map_or_else(|error| CheckResult::down(error.to_string()), |()| CheckResult::up())
        }),
    );
    core.health.check_memory(
        "consumer",
        of(core, |core| async move {
            if !core.topics().is_empty() && !core.consuming.load(Ordering::SeqCst) {
                return CheckResult::down("the consumer is not running; the service's log has the cause");
            }
            let gaps: Vec<_> = core.gaps().values().map(|gap| gap.in_log(&*core.transport).to_string()).collect();
            match gaps.is_empty() {
                true => CheckResult::up(),
                false => CheckResult::down(gaps.join("; ")),
            }
        }),
    );
    core.health.check_memory("conditions", of(core, |core| async move { core.conditions.check() }));
    core.health.watch(
        "lag",
        of(core, |core| async move {
            match core.transport.lag(&core.name, &core.topics()).await {
                Ok(lags) => {
                    let records: i64 = lags.iter().map(|lag| (lag.end - lag.committed).max(0)).sum();
                    let blocked: i64 = lags.iter().map(|lag| lag.blocked.max(0)).sum();
                    CheckResult::up().with("records", records).with("behindOpenTransactions", blocked)
                }
                Err(error) => CheckResult::degraded(error.to_string()),
            }
        }),
    );
    core.health.watch_memory(
        "outbox",
        of(core, |core| async move {
            let result = match core.outbox_full() {
                true => CheckResult::degraded("the outbox is full; publishing is refused until the log takes records"),
                false => CheckResult::up(),
            };
            result.with("rows", core.outbox_rows())
        }),
    );
    core.health.watch_memory(
        "parkedKeys",
        of(core, |core| async move {
            let (keys, messages) = core.parked().totals();
            CheckResult::up().with("keys", keys).with("messages", messages)
        }),
    );
    if !core.sagas.tracked.is_empty() {
        core.health.watch(
            "sagas",
            of(core, |core| async move {
                match core.store().sagas().attention(&core.name).await {
                    Ok(open) => match open.iter().map(|(_, count)| count).sum::<u64>() {
                        0 => CheckResult::up().with("needAttention", 0),
                        count => CheckResult::degraded("instances need attention: see /sagas?attention=true")
                            .with("needAttention", count),
                    },
                    Err(error) => CheckResult::degraded(error.to_string()),
                }
            }),
        );
    }
    core.health.watch(
        "deadLetters",
        of(core, |core| async move {
            match core.store().dead_letters(&core.name, 0, 0).await {
                Ok((_, 0)) => CheckResult::up().with("open", 0),
                Ok((_, open)) => CheckResult::degraded(
                    "dead letters are open: retry or discard them, one by one or by a filter: see /dead-letters",
                )
                .with("open", open),
                Err(error) => CheckResult::degraded(error.to_string()),
            }
        }),
    );
}

/// Creates a check of the service. It holds a weak reference, because the service owns its checks.
fn of<F, Fut>(core: &Arc<Core>, check: F) -> impl Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static
where
    F: Fn(Arc<Core>) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = CheckResult> + Send + 'static,
{
    let core = Arc::downgrade(core);
    move || match core.upgrade() {
        Some(core) => Box::pin(check(core)),
        None => Box::pin(std::future::ready(CheckResult::down("the service has stopped"))),
    }
}
