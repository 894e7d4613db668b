//! Metrics of the gateway: the outcomes of calls, their duration, and the state of the circuit breaker.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use failsafe::Instrument;
use sagas::metrics::{Counter, Gauge, Histogram, Metrics};

const CALLS: &str = "payment_gateway_calls_total";
const SECONDS: &str = "payment_gateway_call_duration_seconds";
const OPEN: &str = "payment_gateway_breaker_open";

/// The metrics of calls to the gateway. Nothing is recorded before [`show`](Self::show). Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct GatewaySeries(Arc<Shared>);

#[derive(Default)]
struct Shared {
    open: AtomicBool,
    shown: OnceLock<Shown>,
}

struct Shown {
    answered: Counter,
    failed: Counter,
    not_asked: Counter,
    seconds: Histogram,
    open: Gauge,
}

/// The outcome of a call to the gateway.
#[derive(Debug, Clone, Copy)]
pub(super) enum Ended {
    /// The gateway answered, with a charge or a decline.
    Answered,
    /// The gateway failed or did not answer in time.
    Failed,
    /// The breaker was open, and the gateway was not called.
    NotAsked,
}

impl GatewaySeries {
    /// Registers the series with `metrics`; from now on, calls are recorded.
    pub(super) fn show(&self, metrics: &Metrics) {
        metrics.describe_counter(
            CALLS,
            "Calls of the payment gateway, by how they ended: answered, failed, not_asked (breaker open).",
        );
        metrics.describe_histogram(SECONDS, "Time that the payment gateway took to answer or to fail, in seconds.");
        metrics.describe_gauge(OPEN, "1 while the circuit breaker before the payment gateway is not closed, else 0.");
        let ended = |outcome| metrics.counter(CALLS, &[("outcome", outcome)]);
        let shown = self.0.shown.get_or_init(|| Shown {
            answered: ended("answered"),
            failed: ended("failed"),
            not_asked: ended("not_asked"),
            seconds: metrics.histogram(SECONDS, &[]),
            open: metrics.gauge(OPEN, &[]),
        });
        shown.open.set(f64::from(u8::from(self.0.open.load(Ordering::Relaxed))));
    }

    /// Records a call that ended after `took`.
    pub(super) fn ended(&self, how: Ended, took: Duration) {
        let Some(shown) = self.0.shown.get() else { return };
        match how {
            Ended::Answered => shown.answered.increment(),
            Ended::Failed => shown.failed.increment(),
            Ended::NotAsked => return shown.not_asked.increment(),
        }
        shown.seconds.record_duration(took);
    }

    fn set_open(&self, open: bool) {
        self.0.open.store(open, Ordering::Relaxed);
        if let Some(shown) = self.0.shown.get() {
            shown.open.set(f64::from(u8::from(open)));
        }
    }
}

impl Instrument for GatewaySeries {
    fn on_call_rejected(&self) {}

    fn on_open(&self) {
        self.set_open(true);
    }

    // Half open still counts as open: one call is let through, and its outcome opens or closes the breaker.
    fn on_half_open(&self) {}

    fn on_closed(&self) {
        self.set_open(false);
    }
}
