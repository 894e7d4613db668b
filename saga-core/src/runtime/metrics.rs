//! Metrics of a service, in Prometheus' terms.
//!
//! A [`Metrics`] belongs to one service of one app and is never the process's global recorder: two apps in one process count
//! apart, and so do tests that run in parallel. The framework's own series are named `sagas_…`; a service adds its own beside
//! them. Handles ([`Counter`], [`Gauge`], [`Histogram`]) are made once and kept: using one takes no lock and allocates nothing.
//!
//! ```
//! # use saga_core::runtime::metrics::Metrics;
//! let metrics = Metrics::new("inventory");
//! metrics.describe_counter("units_held_total", "Units put aside.");
//! let held = metrics.counter("units_held_total", &[("product", "tea")]);
//! held.add(3);
//! assert!(metrics.render().contains(r#"units_held_total{service="inventory",product="tea"} 3"#));
//! ```

mod clients;
mod passing;
mod series;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::metrics::{Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use passing::Passing;

#[cfg(feature = "http")]
pub(crate) use series::ready;

pub(crate) use clients::ClientSeries;
pub(crate) use passing::PassingGauge;
pub(crate) use series::{
    HandlerSeries, PartitionSeries, SagaSeries, ServiceSeries, TopicSeries, behind_transactions, clock_skew, condition_gauge,
    deadline_overdue, group_lag, task_panics, without_effect,
};

/// Upper bounds of the buckets of a duration, in seconds: from half a millisecond to half a minute.
const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// Upper bounds of the buckets of a count: powers of two.
const COUNTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// Observations after which the recorder folds what it has gathered into its buckets, read or not. Without it the memory of a
/// service whose metrics nobody reads would grow with every message.
const FOLD_EVERY: u64 = 4_096;

const METADATA: Metadata<'static> = Metadata::new("sagas", Level::INFO, None);

/// The metrics of one service. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    observations: AtomicU64,
    service: String,
    passing: Passing,
}

impl Metrics {
    /// Metrics whose every series carries the label `service`.
    pub fn new(service: &str) -> Self {
        let builder = PrometheusBuilder::new().add_global_label("service", service);
        let builder = with_buckets(builder, Matcher::Suffix("_size".into()), &COUNTS);
        let recorder = with_buckets(builder, Matcher::Suffix("_seconds".into()), &SECONDS).build_recorder();
        let metrics = Self(Arc::new(Shared {
            handle: recorder.handle(),
            recorder,
            observations: AtomicU64::new(0),
            service: service.to_owned(),
            passing: Passing::default(),
        }));
        series::describe(&metrics);
        clients::describe(&metrics);
        metrics
    }

    /// Everything counted so far, in Prometheus' text format (version 0.0.4).
    pub fn render(&self) -> String {
        let mut text = self.0.handle.render();
        self.0.passing.render(&mut text, &self.0.service, |name| series::help(name).or_else(|| clients::help(name)));
        text
    }

    /// The counter called `name` with `labels`; by convention a counter's name ends in `_total`. The same name and labels give
    /// the same counter.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Counter {
        Counter(self.0.recorder.register_counter(&key(name, labels), &METADATA))
    }

    /// The gauge called `name` with `labels`. The same name and labels give the same gauge.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Gauge {
        Gauge(self.0.recorder.register_gauge(&key(name, labels), &METADATA))
    }

    /// The gauge called `name` with `labels`, of something that comes and goes: its series is gone with the last handle of it.
    pub(crate) fn passing(&self, name: &'static str, labels: &[(&'static str, &str)]) -> PassingGauge {
        self.0.passing.gauge(name, labels)
    }

    /// That gauge, if somebody holds it.
    pub(crate) fn held(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Option<PassingGauge> {
        self.0.passing.held(name, labels)
    }

    /// The histogram called `name` with `labels`. A name ending in `_seconds` has buckets from 0.5 ms to 30 s, one ending in
    /// `_size` powers of two up to 1,024; any other becomes a summary with quantiles.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        Histogram { inner: self.0.recorder.register_histogram(&key(name, labels), &METADATA), metrics: self.clone() }
    }

    /// Says what the counter called `name` counts.
    pub fn describe_counter(&self, name: &str, help: &str) {
        self.0.recorder.describe_counter(name.to_owned().into(), None, help.to_owned().into());
    }

    /// Says what the gauge called `name` shows, with its unit.
    pub fn describe_gauge(&self, name: &str, help: &str) {
        self.0.recorder.describe_gauge(name.to_owned().into(), None, help.to_owned().into());
    }

    /// Says what the histogram called `name` measures, with its unit.
    pub fn describe_histogram(&self, name: &str, help: &str) {
        self.0.recorder.describe_histogram(name.to_owned().into(), None, help.to_owned().into());
    }

    fn observed(&self) {
        if self.0.observations.fetch_add(1, Ordering::Relaxed) % FOLD_EVERY == FOLD_EVERY - 1 {
            self.0.handle.run_upkeep();
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn with_buckets(builder: PrometheusBuilder, names: Matcher, bounds: &[f64]) -> PrometheusBuilder {
    builder.set_buckets_for_metric(names, bounds).expect("the bounds are constants, and there are some")
}

fn key(name: &str, labels: &[(&str, &str)]) -> Key {
    let labels: Vec<_> = labels.iter().map(|&(name, value)| Label::new(name.to_owned(), value.to_owned())).collect();
    Key::from_parts(name.to_owned(), labels)
}

/// A number that only grows. Cheap to clone.
#[derive(Clone)]
pub struct Counter(::metrics::Counter);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.0.increment(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.increment(n);
    }
}

/// A number that is what it is now. Cheap to clone.
#[derive(Clone)]
pub struct Gauge(::metrics::Gauge);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
    }

    /// Replaces the value with a count. Beyond 2^53 it is rounded.
    pub fn set_count(&self, count: u64) {
        self.0.set(count as f64);
    }

    /// Adds `by`, which may be negative.
    pub fn add(&self, by: f64) {
        self.0.increment(by);
    }
}

/// How observations are spread. Cheap to clone.
#[derive(Clone)]
pub struct Histogram {
    inner: ::metrics::Histogram,
    metrics: Metrics,
}

impl Histogram {
    /// Adds an observation.
    pub fn record(&self, value: f64) {
        self.inner.record(value);
        self.metrics.observed();
    }

    /// Adds a duration, in seconds.
    pub fn record_duration(&self, duration: Duration) {
        self.record(duration.as_secs_f64());
    }
}

macro_rules! opaque_debug {
    ($($handle:ident),*) => {
        $(impl fmt::Debug for $handle {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($handle))
            }
        })*
    };
}

opaque_debug!(Counter, Gauge, Histogram);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_services_count_apart() {
        let (one, other) = (Metrics::new("one"), Metrics::new("other"));
        one.counter("seen_total", &[]).increment();
        assert!(one.render().contains("seen_total{service=\"one\"} 1"));
        assert!(!other.render().contains("seen_total"));
    }

    #[test]
    fn the_same_name_and_labels_are_the_same_series() {
        let metrics = Metrics::new("s");
        metrics.counter("seen_total", &[("kind", "a")]).add(2);
        metrics.counter("seen_total", &[("kind", "a")]).increment();
        assert!(metrics.render().contains("seen_total{service=\"s\",kind=\"a\"} 3"));
    }

    #[test]
    fn hostile_label_values_stay_inside_their_quotes() {
        let metrics = Metrics::new("s");
        metrics.gauge("level", &[("key", "a\"} 1\nforged 2")]).set(1.5);
        let text = metrics.render();
        assert!(text.contains(r#"level{service="s",key="a\"} 1\nforged 2"} 1.5"#), "{text}");
    }

    #[test]
    fn a_duration_falls_into_buckets() {
        let metrics = Metrics::new("s");
        metrics.histogram("call_seconds", &[]).record_duration(Duration::from_millis(3));
        let text = metrics.render();
        assert!(text.contains("# TYPE call_seconds histogram"), "{text}");
        assert!(text.contains("call_seconds_bucket{service=\"s\",le=\"0.0025\"} 0"), "{text}");
        assert!(text.contains("call_seconds_bucket{service=\"s\",le=\"0.005\"} 1"), "{text}");
        assert!(text.contains("call_seconds_sum{service=\"s\"} 0.003"), "{text}");
    }

    #[test]
    fn folding_loses_no_observation() {
        let metrics = Metrics::new("s");
        let calls = metrics.histogram("call_seconds", &[]);
        for _ in 0..FOLD_EVERY * 2 + 7 {
            calls.record(0.1);
        }
        let text = metrics.render();
        assert!(text.contains(&format!("call_seconds_count{{service=\"s\"}} {}", FOLD_EVERY * 2 + 7)), "{text}");
    }
}
