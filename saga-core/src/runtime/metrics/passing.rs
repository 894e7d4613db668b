//! Gauges of temporary things: an owned partition, an open client, a known broker.
//!
//! The recorder of the Prometheus crate keeps a series forever. These gauges are kept here instead, as long as a handle exists, and are
//! rendered after their first value was set: a process shows nothing that it no longer has.

use std::{
    collections::BTreeMap,
    fmt::{self, Write},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use super::program;

/// The labels of a series: names and values.
type Labels = Vec<(&'static str, String)>;

/// The gauges that have a handle, by name and labels.
#[derive(Default)]
pub(super) struct Passing {
    series: Mutex<BTreeMap<&'static str, BTreeMap<Labels, Weak<Shown>>>>,
}

/// A gauge whose series disappears with its last handle. Cheap to clone.
#[derive(Clone)]
pub(crate) struct PassingGauge(Arc<Shown>);

struct Shown {
    value: AtomicU64,
    /// The same gauge on the program's recorder.
    program: Option<program::Passing>,
}

/// The value of a gauge that was not set yet.
const UNSET: u64 = u64::MAX;

impl PassingGauge {
    /// Replaces the value.
    pub(crate) fn set(&self, value: f64) {
        self.0.value.store(value.to_bits(), Ordering::Relaxed);
        if let Some(program) = &self.0.program {
            program.set(value);
        }
    }

    /// Replaces the value with a count. Beyond 2^53 it is rounded.
    pub(crate) fn set_count(&self, count: u64) {
        self.set(count as f64);
    }
}

impl fmt::Debug for PassingGauge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PassingGauge")
    }
}

fn labels(labels: &[(&'static str, &str)]) -> Labels {
    labels.iter().map(|&(name, value)| (name, value.to_owned())).collect()
}

impl Passing {
    /// Returns the gauge `name` with these labels: the existing one, or a new one, with `program` on the program's recorder.
    pub(super) fn gauge(
        &self,
        name: &'static str,
        of: &[(&'static str, &str)],
        program: impl FnOnce() -> Option<program::Passing>,
    ) -> PassingGauge {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = series.entry(name).or_default().entry(labels(of)).or_default();
        PassingGauge(kept.upgrade().unwrap_or_else(|| {
            let gauge = Arc::new(Shown { value: AtomicU64::new(UNSET), program: program() });
            *kept = Arc::downgrade(&gauge);
            gauge
        }))
    }

    /// Returns the gauge `name` with these labels, if it has a handle.
    pub(super) fn held(&self, name: &'static str, of: &[(&'static str, &str)]) -> Option<PassingGauge> {
        let series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        series.get(name)?.get(&labels(of))?.upgrade().map(PassingGauge)
    }

    /// Appends the gauges to `text` in the format of Prometheus, each with the label `service`. `help` returns their help texts.
    pub(super) fn render(&self, text: &mut String, service: &str, help: impl Fn(&str) -> Option<&'static str>) {
        let mut series = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, of_name) in series.iter_mut() {
            of_name.retain(|_, gauge| gauge.strong_count() > 0);
            let shown = of_name.iter().filter_map(|(labels, gauge)| {
                let value = gauge.upgrade()?.value.load(Ordering::Relaxed);
                (value != UNSET).then(|| (labels, f64::from_bits(value)))
            });
            let mut shown = shown.peekable();
            if shown.peek().is_none() {
                continue;
            }
            if let Some(help) = help(name) {
                let _ = writeln!(text, "# HELP {name} {help}");
            }
            let _ = writeln!(text, "# TYPE {name} gauge");
            for (labels, value) in shown {
                let _ = write!(text, "{name}{{service=\"{}\"", escaped(service));
                for (label, value) in labels {
                    let _ = write!(text, ",{label}=\"{}\"", escaped(value));
                }
                let _ = writeln!(text, "}} {value}");
            }
            text.push('\n');
        }
    }
}

/// Escapes `value` for a place between quotes.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(passing: &Passing) -> String {
        let mut text = String::new();
        passing.render(&mut text, "s", |_| Some("What it is."));
        text
    }

    #[test]
    fn a_series_is_shown_from_its_first_value_until_its_last_handle_is_gone() {
        let passing = Passing::default();
        let one = passing.gauge("lag", &[("topic", "orders"), ("partition", "0")], || None);
        assert_eq!(rendered(&passing), "");
        passing.held("lag", &[("topic", "orders"), ("partition", "0")]).expect("held").set_count(7);
        let other = passing.gauge("lag", &[("topic", "a\"\\\nb"), ("partition", "1")], || None);
        other.set(1.5);
        assert_eq!(
            rendered(&passing),
            "# HELP lag What it is.\n# TYPE lag gauge\nlag{service=\"s\",topic=\"a\\\"\\\\\\nb\",partition=\"1\"} 1.5\n\
             lag{service=\"s\",topic=\"orders\",partition=\"0\"} 7\n\n"
        );
        let again = one.clone();
        drop((one, other));
        assert_eq!(
            rendered(&passing),
            "# HELP lag What it is.\n# TYPE lag gauge\nlag{service=\"s\",topic=\"orders\",partition=\"0\"} 7\n\n"
        );
        drop(again);
        assert_eq!(rendered(&passing), "");
        assert!(passing.held("lag", &[("topic", "orders"), ("partition", "0")]).is_none());
    }
}
