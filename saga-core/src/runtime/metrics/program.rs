//! A recorder of the program, which has the metrics of its services as well.

use std::sync::{Arc, OnceLock};

use ::metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::METADATA;

/// The recorder that the program has installed for the whole process, by `metrics::set_global_recorder` or by an exporter that calls it.
/// Give it to [`App::recorder`](crate::runtime::App::recorder), and install the recorder before the app starts.
#[derive(Debug, Clone, Copy, Default)]
pub struct GlobalRecorder;

impl Recorder for GlobalRecorder {
    fn describe_counter(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        ::metrics::with_recorder(|recorder| recorder.describe_counter(key, unit, description));
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        ::metrics::with_recorder(|recorder| recorder.describe_gauge(key, unit, description));
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        ::metrics::with_recorder(|recorder| recorder.describe_histogram(key, unit, description));
    }

    fn register_counter(&self, key: &Key, metadata: &Metadata<'_>) -> Counter {
        ::metrics::with_recorder(|recorder| recorder.register_counter(key, metadata))
    }

    fn register_gauge(&self, key: &Key, metadata: &Metadata<'_>) -> Gauge {
        ::metrics::with_recorder(|recorder| recorder.register_gauge(key, metadata))
    }

    fn register_histogram(&self, key: &Key, metadata: &Metadata<'_>) -> Histogram {
        ::metrics::with_recorder(|recorder| recorder.register_histogram(key, metadata))
    }
}

/// The recorder of the program, if it has one.
#[derive(Clone, Default)]
pub(crate) struct Program(Option<Arc<dyn Recorder + Send + Sync>>);

impl Program {
    pub(crate) fn new(recorder: impl Recorder + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(recorder)))
    }

    /// Returns the counter `key` on that recorder, or a counter without effect if there is none.
    pub(super) fn counter(&self, key: impl FnOnce() -> Key) -> Counter {
        self.0.as_ref().map_or_else(Counter::noop, |recorder| recorder.register_counter(&key(), &METADATA))
    }

    pub(super) fn gauge(&self, key: impl FnOnce() -> Key) -> Gauge {
        self.0.as_ref().map_or_else(Gauge::noop, |recorder| recorder.register_gauge(&key(), &METADATA))
    }

    pub(super) fn histogram(&self, key: impl FnOnce() -> Key) -> Histogram {
        self.0.as_ref().map_or_else(Histogram::noop, |recorder| recorder.register_histogram(&key(), &METADATA))
    }

    /// Returns a gauge for something temporary. It is registered when its first value is set.
    pub(super) fn passing(&self, key: impl FnOnce() -> Key) -> Option<Passing> {
        self.0.as_ref().map(|recorder| Passing { recorder: recorder.clone(), key: key(), gauge: OnceLock::new() })
    }

    pub(super) fn describe(&self, describe: impl FnOnce(&dyn Recorder)) {
        if let Some(recorder) = &self.0 {
            describe(&**recorder);
        }
    }
}

/// A gauge for something temporary, on a recorder that keeps series forever: it is set to 0 when it is dropped.
pub(super) struct Passing {
    recorder: Arc<dyn Recorder + Send + Sync>,
    key: Key,
    gauge: OnceLock<Gauge>,
}

/// The suffix of gauges for which 0 is an alarm. They keep their last value.
const PRESENCE: &str = "_up";

impl Passing {
    pub(super) fn set(&self, value: f64) {
        self.gauge.get_or_init(|| self.recorder.register_gauge(&self.key, &METADATA)).set(value);
    }
}

impl Drop for Passing {
    fn drop(&mut self) {
        if let Some(gauge) = self.gauge.get().filter(|_| !self.key.name().ends_with(PRESENCE)) {
            gauge.set(0.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

    use super::*;
    use crate::runtime::Metrics;

    fn recorded() -> (Metrics, PrometheusHandle) {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        (Metrics::recorded("shop", Program::new(recorder)), shown)
    }

    #[test]
    fn every_series_is_on_both_with_the_service_it_is_of() {
        let (metrics, shown) = recorded();
        metrics.counter("seen_total", &[("kind", "a")]).add(3);
        metrics.gauge("level", &[]).set(1.5);
        metrics.histogram("call_seconds", &[]).record(0.25);
        metrics.describe_gauge("level", "How high.");
        for text in [metrics.render(), shown.render()] {
            assert!(text.contains("seen_total{service=\"shop\",kind=\"a\"} 3\n"), "{text}");
            assert!(text.contains("level{service=\"shop\"} 1.5\n") && text.contains("# HELP level How high.\n"), "{text}");
            assert!(text.contains("call_seconds_count{service=\"shop\"} 1\n"), "{text}");
        }
    }

    #[test]
    fn what_has_gone_is_zero_there_and_no_broker_is_down() {
        let (metrics, shown) = recorded();
        let (lag, up) = (metrics.passing("sagas_lag", &[("topic", "orders")]), metrics.passing("sagas_broker_up", &[]));
        assert!(!shown.render().contains("sagas_lag{"), "{}", shown.render());
        lag.set(7.0);
        up.set(1.0);
        assert!(shown.render().contains("sagas_lag{service=\"shop\",topic=\"orders\"} 7\n"), "{}", shown.render());
        drop((lag, up));
        let text = shown.render();
        assert!(text.contains("sagas_lag{service=\"shop\",topic=\"orders\"} 0\n"), "{text}");
        assert!(text.contains("sagas_broker_up{service=\"shop\"} 1\n"), "{text}");
        assert!(!metrics.render().contains("sagas_lag{"), "{}", metrics.render());
    }

    #[test]
    fn the_global_recorder_is_the_one_that_is_there() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let shown = recorder.handle();
        ::metrics::with_local_recorder(&recorder, || {
            let metrics = Metrics::recorded("shop", Program::new(GlobalRecorder));
            metrics.counter("seen_total", &[]).increment();
        });
        assert!(shown.render().contains("seen_total{service=\"shop\"} 1\n"), "{}", shown.render());
    }
}
