//! Metrics of a service, in the model of Prometheus.
//!
//! A [`Metrics`] belongs to one service of one app and is never the process's global recorder. So two apps in one process, and tests that
//! run in parallel, have separate counts. A program that has its own recorder passes it to [`App::recorder`](super::App::recorder), and
//! every series is recorded there as well, with the label `service`.
//!
//! The names of the framework's series begin with `sagas_`. A service can add its own series. Create the handles ([`Counter`], [`Gauge`],
//! [`Histogram`]) once and keep them: using a handle takes no lock and does not allocate.
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
mod program;
mod series;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::metrics::{Key, Label, Level, Metadata};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

use passing::Passing;
pub use program::GlobalRecorder;
pub(crate) use program::Program;

pub use ::metrics::Recorder;

pub(crate) use clients::ClientSeries;
pub(crate) use passing::PassingGauge;
pub(crate) use series::{
    HandlerSeries, PartitionSeries, SagaSeries, ServiceSeries, TopicSeries, behind_transactions, clock_skew, condition_gauge,
    deadline_overdue, group_lag, task_panics, without_effect,
};

/// The upper bounds of the buckets for durations, in seconds: from half a millisecond to half a minute. They apply to histograms with a
/// name that ends in `_seconds`.
pub const SECONDS: [f64; 15] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The upper bounds of the buckets for counts: powers of two. They apply to histograms with a name that ends in `_size`.
pub const COUNTS: [f64; 11] = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];

/// The number of observations after which the recorder aggregates the stored samples into buckets. Without this, the memory of a service
/// would grow with every message if its metrics are never read.
const FOLD_EVERY: u64 = 4_096;

const METADATA: Metadata<'static> = Metadata::new("sagas", Level::INFO, None);

/// The metrics of one service. It is cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Shared>);

struct Shared {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    observations: AtomicU64,
    service: String,
    passing: Passing,
    program: Program,
}

impl Metrics {
    /// Creates metrics in which every series has the label `service`.
    pub fn new(service: &str) -> Self {
        Self::recorded(service, Program::default())
    }

    /// Creates metrics that are also recorded by `program`.
    pub(crate) fn recorded(service: &str, program: Program) -> Self {
        let builder = PrometheusBuilder::new().add_global_label("service", service);
        let builder = with_buckets(builder, Matcher::Suffix("_size".into()), &COUNTS);
        let recorder = with_buckets(builder, Matcher::Suffix("_seconds".into()), &SECONDS).build_recorder();
        let metrics = Self(Arc::new(Shared {
            handle: recorder.handle(),
            recorder,
            observations: AtomicU64::new(0),
            service: service.to_owned(),
            passing: Passing::default(),
            program,
        }));
        series::describe(&metrics);
        clients::describe(&metrics);
        metrics
    }

    /// Returns all series in the Prometheus text format, version 0.0.4.
    pub fn render(&self) -> String {
        let mut text = self.0.handle.render();
        self.0.passing.render(&mut text, &self.0.service, |name| series::help(name).or_else(|| clients::help(name)));
        text
    }

    /// Sets the gauge `sagas_ready`, which says whether the service can take work. The service sets it regularly; a server sets it before it
    /// [renders](Self::render) the metrics, so that they show the present state.
    pub fn set_ready(&self, ready: bool) {
        series::readiness(self).set(f64::from(u8::from(ready)));
    }

    /// Returns the counter called `name` with `labels`. By convention, the name of a counter ends in `_total`. The same name and labels
    /// always give the same counter.
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Counter {
        let own = self.0.recorder.register_counter(&key(name, labels), &METADATA);
        Counter(own, self.0.program.counter(|| self.key_of_all(name, labels)))
    }

    /// Returns the gauge called `name` with `labels`. The same name and labels always give the same gauge.
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Gauge {
        let own = self.0.recorder.register_gauge(&key(name, labels), &METADATA);
        Gauge(own, self.0.program.gauge(|| self.key_of_all(name, labels)))
    }

    /// Returns the gauge called `name` with `labels`, for a subject that can disappear. The series is removed when the last handle is
    /// dropped.
    pub(crate) fn passing(&self, name: &'static str, labels: &[(&'static str, &str)]) -> PassingGauge {
        self.0.passing.gauge(name, labels, || self.0.program.passing(|| self.key_of_all(name, labels)))
    }

    /// Returns that gauge, if it has a handle.
    pub(crate) fn held(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Option<PassingGauge> {
        self.0.passing.held(name, labels)
    }

    /// Returns the histogram called `name` with `labels`. If the name ends in `_seconds`, its buckets are from 0.5 ms to 30 s; if it ends
    /// in `_size`, they are powers of two up to 1,024. With any other name it is a summary with quantiles.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        let own = self.0.recorder.register_histogram(&key(name, labels), &METADATA);
        Histogram { own, program: self.0.program.histogram(|| self.key_of_all(name, labels)), metrics: self.clone() }
    }

    /// Sets the help text of the counter called `name`.
    pub fn describe_counter(&self, name: &str, help: &str) {
        let describe = |recorder: &dyn Recorder| recorder.describe_counter(name.to_owned().into(), None, help.to_owned().into());
        describe(&self.0.recorder);
        self.0.program.describe(describe);
    }

    /// Sets the help text of the gauge called `name`. It should state the unit.
    pub fn describe_gauge(&self, name: &str, help: &str) {
        let describe = |recorder: &dyn Recorder| recorder.describe_gauge(name.to_owned().into(), None, help.to_owned().into());
        describe(&self.0.recorder);
        self.0.program.describe(describe);
    }

    /// Sets the help text of the histogram called `name`. It should state the unit.
    pub fn describe_histogram(&self, name: &str, help: &str) {
        let describe =
            |recorder: &dyn Recorder| recorder.describe_histogram(name.to_owned().into(), None, help.to_owned().into());
        describe(&self.0.recorder);
        self.0.program.describe(describe);
    }

    /// Returns the key in a recorder that also contains other services.
    fn key_of_all(&self, name: &str, labels: &[(&str, &str)]) -> Key {
        let all: Vec<_> = [("service", &*self.0.service)].into_iter().chain(labels.iter().copied()).collect();
        key(name, &all)
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

/// A number that only increases. It is cheap to clone.
#[derive(Clone)]
pub struct Counter(::metrics::Counter, ::metrics::Counter);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.increment(n);
        self.1.increment(n);
    }
}

/// A number that can increase and decrease. It is cheap to clone.
#[derive(Clone)]
pub struct Gauge(::metrics::Gauge, ::metrics::Gauge);

impl Gauge {
    /// Replaces the value.
    pub fn set(&self, value: f64) {
        self.0.set(value);
        self.1.set(value);
    }

    /// Replaces the value with a count. Beyond 2^53 it is rounded.
    pub fn set_count(&self, count: u64) {
        self.set(count as f64);
    }

    /// Adds `by`, which can be negative.
    pub fn add(&self, by: f64) {
        self.0.increment(by);
        self.1.increment(by);
    }
}

/// A distribution of values. It is cheap to clone.
#[derive(Clone)]
pub struct Histogram {
    own: ::metrics::Histogram,
    program: ::metrics::Histogram,
    metrics: Metrics,
}

impl Histogram {
    /// Adds an observation.
    pub fn record(&self, value: f64) {
        self.own.record(value);
        self.program.record(value);
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
