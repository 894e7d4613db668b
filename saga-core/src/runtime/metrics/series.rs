//! The series of the framework. Each struct is created once, for a service, a handler, a topic or a partition, and keeps its handles, so
//! that a delivery needs no lookup.

use super::{Counter, Gauge, Histogram, Metrics, PassingGauge};

const DELIVERIES: &str = "sagas_deliveries_total";
const HANDLER_SECONDS: &str = "sagas_handler_duration_seconds";
const PANICS: &str = "sagas_handler_panics_total";
const TASK_PANICS: &str = "sagas_task_panics_total";
const SKIPPED: &str = "sagas_skipped_total";
const PUBLISHED: &str = "sagas_published_total";
const LAG: &str = "sagas_consumer_lag_records";
const GROUP_LAG: &str = "sagas_group_lag_records";
const BEHIND_TRANSACTIONS: &str = "sagas_records_behind_open_transactions";
const PAUSED: &str = "sagas_partition_paused";
const BATCH_SIZE: &str = "sagas_batch_size";
const COMMIT_SECONDS: &str = "sagas_commit_duration_seconds";
const STORE_FAILURES: &str = "sagas_store_failures_total";
const FENCED: &str = "sagas_fenced_messages_total";
const GAPS: &str = "sagas_partitions_with_missing_records";
const GAP_RECORDS: &str = "sagas_missing_records_skipped_total";
const DEAD_LETTERS: &str = "sagas_dead_letters_total";
const OPEN_DEAD_LETTERS: &str = "sagas_dead_letters_open";
const SETTLED_DEAD_LETTERS: &str = "sagas_dead_letters_settled_total";
const OUTBOX_ROWS: &str = "sagas_outbox_rows";
const OUTBOX_AGE: &str = "sagas_outbox_oldest_row_age_seconds";
const PARKED_MESSAGES: &str = "sagas_parked_messages";
const PUT_OFF: &str = "sagas_put_off_oldest_seconds";
const PARKED_KEYS: &str = "sagas_parked_keys";
const CONDITIONS: &str = "sagas_conditions";
const CLOCK_SKEW: &str = "sagas_clock_skew_seconds";
const SAGA_NOT_ALLOWED: &str = "sagas_saga_events_not_allowed_total";
const SIGNALS_IGNORED: &str = "sagas_signals_ignored_total";
const SAGA_UNKNOWN: &str = "sagas_saga_events_of_unknown_instances_total";
const SAGA_WITHOUT_EFFECT: &str = "sagas_saga_messages_without_effect_total";
const SAGA_OPEN: &str = "sagas_saga_instances_open";
const SAGA_OVERDUE: &str = "sagas_saga_deadline_overdue_seconds";
const READY: &str = "sagas_ready";
const SAGA_ATTENTION: &str = "sagas_saga_instances_needing_attention";

/// Returns the help text of a gauge for something temporary.
pub(super) fn help(name: &str) -> Option<&'static str> {
    Some(match name {
        LAG => "Records that are not done yet, in a partition that this process reads.",
        GROUP_LAG => {
            "Records of a topic that the service has not done yet, in all partitions, including those that no process reads."
        }
        BEHIND_TRANSACTIONS => "Offsets of a topic that cannot be read yet, because a transaction of a producer is open.",
        PAUSED => "1 while a partition that this process reads is paused, else 0.",
        _ => return None,
    })
}

pub(super) fn describe(metrics: &Metrics) {
    for (name, help) in [
        (DELIVERIES, "Deliveries to a handler, by outcome."),
        (PANICS, "Panics of a handler; each is a failed delivery."),
        (TASK_PANICS, "Panics in the tasks of a service outside handlers, by task; each task restarts."),
        (SKIPPED, "Records that were skipped on purpose, by reason."),
        (PUBLISHED, "Records that the log has acknowledged."),
        (STORE_FAILURES, "Transactions that failed because of the database."),
        (FENCED, "Messages that had no effect here, because another process had taken their partition over."),
        (GAP_RECORDS, "Records that were missing in the log and were skipped."),
        (DEAD_LETTERS, "Messages that were given up, by reason."),
        (SETTLED_DEAD_LETTERS, "Dead letters that are no longer open, by result: retried, replayed, discarded, expired."),
        (SAGA_NOT_ALLOWED, "Events that a saga does not allow in the state of its instance; they are in the history."),
        (SIGNALS_IGNORED, "Messages on the framework's own topics that no participant or tracker has sent; they have no effect."),
        (SAGA_UNKNOWN, "Events of a tracked saga whose instance is not known here."),
        (SAGA_WITHOUT_EFFECT, "Messages of a saga to which the barrier gave no effect, by reason."),
    ] {
        metrics.describe_counter(name, help);
    }
    for (name, help) in [
        (GAPS, "Partitions that wait, because the log removed records before they were read."),
        (OPEN_DEAD_LETTERS, "Dead letters that are open: neither retried nor discarded."),
        (OUTBOX_ROWS, "Committed records that the log has not acknowledged yet."),
        (OUTBOX_AGE, "Age of the oldest row in the outbox, in seconds; 0 when it is empty."),
        (PARKED_MESSAGES, "Messages that wait for a retry, or behind one of the same key."),
        (
            PUT_OFF,
            "Time since the first sight of the oldest message that is put off without a counted attempt, in seconds; 0 for none.",
        ),
        (PARKED_KEYS, "Keys that have parked messages."),
        (
            CLOCK_SKEW,
            "Seconds by which a clock is ahead: the database's clock of the machine's, the time of records of the service's clock.",
        ),
        (CONDITIONS, "Standing conditions of the service, by name; health gives the cause and the fix of each."),
        (SAGA_OPEN, "Instances of a saga that have not ended."),
        (SAGA_ATTENTION, "Instances of a saga that need attention."),
        (SAGA_OVERDUE, "Time since the earliest deadline that has passed and is not carried out yet, in seconds; 0 for none."),
        (
            READY,
            "1 when the service can take work, as /health/ready reports, else 0; checked at a scrape and every five seconds.",
        ),
    ] {
        metrics.describe_gauge(name, help);
    }
    for (name, help) in [
        (HANDLER_SECONDS, "Time in a handler, in seconds."),
        (BATCH_SIZE, "Messages handled in one transaction."),
        (COMMIT_SECONDS, "Time that a commit took, in seconds."),
    ] {
        metrics.describe_histogram(name, help);
    }
}

/// The series of a tracked saga.
pub(crate) struct SagaSeries {
    pub(crate) not_allowed: Counter,
    pub(crate) unknown: Counter,
    pub(crate) open: Gauge,
    pub(crate) attention: Gauge,
}

impl SagaSeries {
    pub(crate) fn new(metrics: &Metrics, saga: &str) -> Self {
        let labels = [("saga", saga)];
        Self {
            not_allowed: metrics.counter(SAGA_NOT_ALLOWED, &labels),
            unknown: metrics.counter(SAGA_UNKNOWN, &labels),
            open: metrics.gauge(SAGA_OPEN, &labels),
            attention: metrics.gauge(SAGA_ATTENTION, &labels),
        }
    }
}

/// Returns the counter of a step's messages without an effect, by reason. It is created at the first such message, because these are rare.
pub(crate) fn without_effect(metrics: &Metrics, saga: &str, step: &str, reason: &str) -> Counter {
    metrics.counter(SAGA_WITHOUT_EFFECT, &[("saga", saga), ("step", step), ("reason", reason)])
}

/// Returns the gauge of a topic's records that the whole group has not done yet.
pub(crate) fn group_lag(metrics: &Metrics, topic: &str) -> PassingGauge {
    metrics.passing(GROUP_LAG, &[("topic", topic)])
}

/// Returns the gauge of a topic's offsets that wait behind an open transaction.
pub(crate) fn behind_transactions(metrics: &Metrics, topic: &str) -> PassingGauge {
    metrics.passing(BEHIND_TRANSACTIONS, &[("topic", topic)])
}

/// Returns the gauge of how long ago the earliest deadline has passed that the service has not handled.
pub(crate) fn deadline_overdue(metrics: &Metrics) -> Gauge {
    metrics.gauge(SAGA_OVERDUE, &[])
}

/// Returns the gauge of the service's readiness.
pub(super) fn readiness(metrics: &Metrics) -> Gauge {
    metrics.gauge(READY, &[])
}

/// Returns the gauge of how many seconds the clock `against` is ahead.
pub(crate) fn clock_skew(metrics: &Metrics, against: &str) -> Gauge {
    metrics.gauge(CLOCK_SKEW, &[("against", against)])
}

/// Returns the counter of panics of `task`, created at the first one.
pub(crate) fn task_panics(metrics: &Metrics, task: &str) -> Counter {
    metrics.counter(TASK_PANICS, &[("task", task)])
}

/// Returns the gauge of standing conditions named `condition`, created at the first one.
pub(crate) fn condition_gauge(metrics: &Metrics, condition: &str) -> Gauge {
    metrics.gauge(CONDITIONS, &[("condition", condition)])
}

/// The series of a service as a whole.
#[derive(Debug, Clone)]
pub(crate) struct ServiceSeries {
    /// Messages per transaction.
    pub(crate) batch_size: Histogram,
    /// The duration of commits.
    pub(crate) commit_duration: Histogram,
    /// Transactions that failed because of the database.
    pub(crate) store_failures: Counter,
    /// Messages whose partition was acquired by another process.
    pub(crate) fenced: Counter,
    /// Partitions that wait because of a gap.
    pub(crate) gaps: Gauge,
    /// Missing records that were skipped.
    pub(crate) gap_records: Counter,
    /// Dead letters: the last attempt has failed.
    pub(crate) dead_exhausted: Counter,
    /// Dead letters: the handler gave the message up.
    pub(crate) dead_by_handler: Counter,
    /// Messages on the framework's own topics that have no effect.
    pub(crate) signals_ignored: Counter,
    /// Dead letters: the value cannot be decoded.
    pub(crate) dead_undecodable: Counter,
    /// Dead letters: no event type, where several are possible.
    pub(crate) dead_untyped: Counter,
    /// Dead letters: a version that this program does not know.
    pub(crate) dead_unknown_version: Counter,
    /// Dead letters: an event type, but no value.
    pub(crate) dead_no_value: Counter,
    pub(crate) dead_no_handler: Counter,
    pub(crate) dead_unhandled: Counter,
    pub(crate) dead_bad_header: Counter,
    /// Dead letters: their other rows could not be written.
    pub(crate) dead_unwritable: Counter,
    /// Dead letters: the value exceeds the size limit.
    pub(crate) dead_too_large: Counter,
    /// Open dead letters.
    pub(crate) open_dead_letters: Gauge,
    /// Dead letters that were delivered again.
    pub(crate) letters_retried: Counter,
    /// Dead letters whose messages were produced again.
    pub(crate) letters_replayed: Counter,
    /// Dead letters that were discarded.
    pub(crate) letters_discarded: Counter,
    /// Open dead letters that were removed because of their age.
    pub(crate) letters_expired: Counter,
    /// Rows in the outbox.
    pub(crate) outbox_rows: Gauge,
    /// The age of the oldest row, in seconds.
    pub(crate) outbox_age_seconds: Gauge,
    /// Parked messages.
    pub(crate) parked_messages: Gauge,
    /// Keys with parked messages.
    pub(crate) parked_keys: Gauge,
    /// The age of the oldest message that is put off.
    pub(crate) put_off_oldest: Gauge,
}

/// The series of a handler.
#[derive(Debug, Clone)]
pub(crate) struct HandlerSeries {
    /// Deliveries that were committed.
    pub(crate) done: Counter,
    /// Deliveries with a refusal.
    pub(crate) rejected: Counter,
    /// Deliveries that failed and will be retried.
    pub(crate) retried: Counter,
    /// Deliveries that were put off without a counted attempt.
    pub(crate) later: Counter,
    /// Messages that were given up.
    pub(crate) dead: Counter,
    /// Duplicates.
    pub(crate) duplicate: Counter,
    /// Messages that were parked behind another message of their key.
    pub(crate) parked: Counter,
    /// Panics of the handler.
    pub(crate) panics: Counter,
    /// The duration of the handler.
    pub(crate) duration: Histogram,
}

/// The series of a topic.
#[derive(Debug, Clone)]
pub(crate) struct TopicSeries {
    /// Skipped records whose type no handler takes.
    pub(crate) skipped_unknown_type: Counter,
    /// Skipped records without a value.
    pub(crate) skipped_tombstone: Counter,
    /// Records that the log has stored.
    pub(crate) published: Counter,
}

/// The series of a partition, which exist while this process owns it.
#[derive(Debug, Clone)]
pub(crate) struct PartitionSeries {
    /// The number of records not done yet. It is only held here; [`PartitionSeries::measured`] sets it.
    _lag: PassingGauge,
    /// 1 while the partition is paused.
    pub(crate) paused: PassingGauge,
}

impl ServiceSeries {
    pub(crate) fn new(metrics: &Metrics) -> Self {
        let dead = |reason| metrics.counter(DEAD_LETTERS, &[("reason", reason)]);
        let settled = |how| metrics.counter(SETTLED_DEAD_LETTERS, &[("how", how)]);
        Self {
            batch_size: metrics.histogram(BATCH_SIZE, &[]),
            commit_duration: metrics.histogram(COMMIT_SECONDS, &[]),
            store_failures: metrics.counter(STORE_FAILURES, &[]),
            fenced: metrics.counter(FENCED, &[]),
            gaps: metrics.gauge(GAPS, &[]),
            gap_records: metrics.counter(GAP_RECORDS, &[]),
            signals_ignored: metrics.counter(SIGNALS_IGNORED, &[]),
            dead_exhausted: dead("exhausted"),
            dead_by_handler: dead("handler"),
            dead_undecodable: dead("undecodable"),
            dead_untyped: dead("untyped"),
            dead_unknown_version: dead("unknown_version"),
            dead_no_value: dead("no_value"),
            dead_no_handler: dead("no_handler"),
            dead_unhandled: dead("unhandled"),
            dead_bad_header: dead("bad_header"),
            dead_unwritable: dead("unwritable"),
            dead_too_large: dead("too_large"),
            open_dead_letters: metrics.gauge(OPEN_DEAD_LETTERS, &[]),
            letters_retried: settled("retried"),
            letters_replayed: settled("replayed"),
            letters_discarded: settled("discarded"),
            letters_expired: settled("expired"),
            outbox_rows: metrics.gauge(OUTBOX_ROWS, &[]),
            outbox_age_seconds: metrics.gauge(OUTBOX_AGE, &[]),
            parked_messages: metrics.gauge(PARKED_MESSAGES, &[]),
            parked_keys: metrics.gauge(PARKED_KEYS, &[]),
            put_off_oldest: metrics.gauge(PUT_OFF, &[]),
        }
    }
}

impl HandlerSeries {
    pub(crate) fn new(metrics: &Metrics, handler: &str) -> Self {
        let outcome = |outcome| metrics.counter(DELIVERIES, &[("handler", handler), ("outcome", outcome)]);
        Self {
            done: outcome("done"),
            rejected: outcome("rejected"),
            retried: outcome("retried"),
            later: outcome("later"),
            dead: outcome("dead"),
            duplicate: outcome("duplicate"),
            parked: outcome("parked"),
            panics: metrics.counter(PANICS, &[("handler", handler)]),
            duration: metrics.histogram(HANDLER_SECONDS, &[("handler", handler)]),
        }
    }
}

impl TopicSeries {
    pub(crate) fn new(metrics: &Metrics, topic: &str) -> Self {
        let skipped = |reason| metrics.counter(SKIPPED, &[("topic", topic), ("reason", reason)]);
        Self {
            skipped_unknown_type: skipped("unknown_type"),
            skipped_tombstone: skipped("tombstone"),
            published: metrics.counter(PUBLISHED, &[("topic", topic)]),
        }
    }
}

impl PartitionSeries {
    pub(crate) fn new(metrics: &Metrics, topic: &str, partition: i32) -> Self {
        let partition = partition.to_string();
        let labels = [("topic", topic), ("partition", partition.as_str())];
        let paused = metrics.passing(PAUSED, &labels);
        paused.set_count(0);
        Self { _lag: metrics.passing(LAG, &labels), paused }
    }

    /// Sets the lag of a partition if this process owns it.
    pub(crate) fn measured(metrics: &Metrics, topic: &str, partition: i32, behind: u64) {
        if let Some(lag) = metrics.held(LAG, &[("topic", topic), ("partition", &partition.to_string())]) {
            lag.set_count(behind);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, start: &str) -> String {
        text.lines().find(|line| line.starts_with(start)).unwrap_or_else(|| panic!("no `{start}` in\n{text}")).to_owned()
    }

    #[test]
    fn a_handler_shows_every_outcome_from_the_start() {
        let metrics = Metrics::new("inventory");
        HandlerSeries::new(&metrics, "reserve").rejected.increment();
        let text = metrics.render();
        for (outcome, count) in
            [("done", 0), ("rejected", 1), ("retried", 0), ("later", 0), ("dead", 0), ("duplicate", 0), ("parked", 0)]
        {
            let series = format!("{DELIVERIES}{{service=\"inventory\",handler=\"reserve\",outcome=\"{outcome}\"}}");
            assert_eq!(line(&text, &series), format!("{series} {count}"));
        }
    }

    #[test]
    fn every_series_says_what_it_is() {
        let metrics = Metrics::new("s");
        let service = ServiceSeries::new(&metrics);
        service.batch_size.record(3.0);
        service.commit_duration.record(0.01);
        HandlerSeries::new(&metrics, "h").duration.record(0.01);
        TopicSeries::new(&metrics, "orders");
        let _partition = PartitionSeries::new(&metrics, "orders", 0);
        PartitionSeries::measured(&metrics, "orders", 0, 1);
        let group = group_lag(&metrics, "orders");
        group.set_count(1);
        let blocked = behind_transactions(&metrics, "orders");
        blocked.set_count(1);
        SagaSeries::new(&metrics, "PlaceOrder");
        without_effect(&metrics, "PlaceOrder", "ReserveInventory", "duplicate");
        condition_gauge(&metrics, "clock_skew");
        task_panics(&metrics, "relay");
        clock_skew(&metrics, "log");
        deadline_overdue(&metrics);
        metrics.set_ready(true);
        let text = metrics.render();
        let described: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")?.split(' ').next()).collect();
        for series in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
            assert!(described.contains(&series), "{series} has no HELP");
        }
        assert_eq!(described.len(), 34, "{described:?}");
    }

    #[test]
    fn lag_is_per_partition() {
        let metrics = Metrics::new("s");
        let owned = [0, 1].map(|partition| PartitionSeries::new(&metrics, "orders", partition));
        for (partition, behind) in [(0, 5), (1, 7), (2, 9)] {
            PartitionSeries::measured(&metrics, "orders", partition, behind);
        }
        let text = metrics.render();
        assert!(text.contains("sagas_consumer_lag_records{service=\"s\",topic=\"orders\",partition=\"0\"} 5"), "{text}");
        assert!(text.contains("sagas_consumer_lag_records{service=\"s\",topic=\"orders\",partition=\"1\"} 7"), "{text}");
        assert!(!text.contains("partition=\"2\""), "another instance reads it: {text}");
        drop(owned);
        let text = metrics.render();
        assert!(!text.contains("sagas_consumer_lag_records{") && !text.contains("sagas_partition_paused{"), "{text}");
    }

    #[test]
    fn a_batch_is_counted_in_messages() {
        let metrics = Metrics::new("s");
        ServiceSeries::new(&metrics).batch_size.record(100.0);
        let text = metrics.render();
        assert!(text.contains("sagas_batch_size_bucket{service=\"s\",le=\"64\"} 0"), "{text}");
        assert!(text.contains("sagas_batch_size_bucket{service=\"s\",le=\"128\"} 1"), "{text}");
    }
}
