//! What the bench found.

use std::{collections::BTreeMap, fmt, fs};

use serde::Serialize;

use super::drive::Order;
use crate::percentile::percentile;

/// The result of a run. Times are in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    orders: usize,
    unfinished: usize,
    seconds: f64,
    orders_per_second: f64,
    outcomes: BTreeMap<&'static str, Times>,
    /// Of this process, when the system runs in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<Memory>,
}

/// From an order's arrival to its end.
#[derive(Debug, Serialize)]
struct Times {
    count: usize,
    p50: u128,
    p95: u128,
    p99: u128,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Memory {
    resident_kib: u64,
    peak_kib: u64,
}

impl Measured {
    /// What `orders` say; with `memory`, this process is the system.
    pub(super) fn of(orders: &[Order], memory: bool) -> Self {
        let ended: Vec<_> = orders.iter().filter(|order| order.status.is_final()).collect();
        let first = ended.iter().map(|order| order.created_at).min();
        let last = ended.iter().map(|order| order.updated_at).max();
        let seconds = first.zip(last).map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        let mut took = BTreeMap::<_, Vec<_>>::new();
        for order in &ended {
            took.entry(order.status.as_str()).or_default().push(order.updated_at.since(order.created_at).as_millis());
        }
        Self {
            orders: orders.len(),
            unfinished: orders.len() - ended.len(),
            seconds,
            orders_per_second: if seconds > 0.0 { ended.len() as f64 / seconds } else { 0.0 },
            outcomes: took.into_iter().map(|(outcome, took)| (outcome, Times::of(took))).collect(),
            memory: memory.then(Memory::of_this_process).flatten(),
        }
    }

    /// Whether every order has ended.
    pub(super) fn all_ended(&self) -> bool {
        self.unfinished == 0
    }
}

impl Times {
    fn of(mut took: Vec<u128>) -> Self {
        took.sort_unstable();
        let at = |percent| percentile(&took, percent).unwrap_or(0);
        Self { count: took.len(), p50: at(50), p95: at(95), p99: at(99) }
    }
}

impl Memory {
    /// `None` where the system does not say it.
    fn of_this_process() -> Option<Self> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim_start_matches(':').trim().trim_end_matches("kB").trim().parse().ok()
        };
        Some(Self { resident_kib: kib("VmRSS")?, peak_kib: kib("VmHWM")? })
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  {} orders in {:.2} s: {:.0} orders/s", self.orders, self.seconds, self.orders_per_second)?;
        for (outcome, times) in &self.outcomes {
            let Times { count, p50, p95, p99 } = times;
            writeln!(f, "  {outcome:<10} {count:>7}   p50 {p50:>6} ms   p95 {p95:>6} ms   p99 {p99:>6} ms")?;
        }
        if self.unfinished > 0 {
            writeln!(f, "  {} orders have not ended", self.unfinished)?;
        }
        if let Some(memory) = &self.memory {
            writeln!(f, "  memory {} MiB, at most {} MiB", memory.resident_kib / 1024, memory.peak_kib / 1024)?;
        }
        Ok(())
    }
}
