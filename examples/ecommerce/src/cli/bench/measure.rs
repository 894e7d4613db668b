//! The results of the bench.

use std::{collections::BTreeMap, fmt, fs};

use serde::Serialize;

use super::drive::Driven;
use crate::percentile::percentile;

/// The result of a run. Times are in milliseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Measured {
    orders: usize,
    unfinished: usize,
    seconds: f64,
    orders_per_second: f64,
    /// What the times in `outcomes` measure.
    measured: &'static str,
    outcomes: BTreeMap<&'static str, Times>,
    /// The memory of this process; `None` if the system runs in another process, or if the operating system does not report it.
    memory: Option<Memory>,
    /// Whether the system runs in this process.
    own: bool,
}

/// The time from an order's POST to its end.
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
    /// Computes the results of `orders`. `at_a_rate` states that they were sent at a fixed rate; with `own`, the system runs in
    /// this process.
    pub(super) fn of(orders: &[Driven], at_a_rate: bool, own: bool) -> Self {
        let ended: Vec<_> = orders.iter().filter(|order| order.status.is_final()).collect();
        let first = ended.iter().map(|order| order.sent).min();
        let last = ended.iter().map(|order| order.reached).max();
        let seconds = first.zip(last).map_or(0.0, |(first, last)| last.since(first).as_secs_f64());
        let mut took = BTreeMap::<_, Vec<_>>::new();
        for order in &ended {
            took.entry(order.status.as_str()).or_default().push(order.reached.since(order.sent).as_millis());
        }
        Self {
            orders: orders.len(),
            unfinished: orders.len() - ended.len(),
            seconds,
            orders_per_second: if seconds > 0.0 { ended.len() as f64 / seconds } else { 0.0 },
            outcomes: took.into_iter().map(|(outcome, took)| (outcome, Times::of(took))).collect(),
            measured: if at_a_rate {
                "from when the POST was due to the final state"
            } else {
                "from the POST to the final state"
            },
            memory: if own { Memory::of_this_process() } else { None },
            own,
        }
    }

    /// Returns whether every order has ended.
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
    /// Reads the memory of this process; `None` if the operating system does not report it.
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
        writeln!(f, "  {}, by this machine's clock:", self.measured)?;
        for (outcome, times) in &self.outcomes {
            let Times { count, p50, p95, p99 } = times;
            writeln!(f, "  {outcome:<10} {count:>7}   p50 {p50:>6} ms   p95 {p95:>6} ms   p99 {p99:>6} ms")?;
        }
        if self.unfinished > 0 {
            writeln!(f, "  {} orders have not ended", self.unfinished)?;
        }
        match &self.memory {
            Some(Memory { resident_kib, peak_kib }) => {
                writeln!(f, "  memory {} MiB, at most {} MiB, the bench included", resident_kib / 1024, peak_kib / 1024)
            }
            None if self.own => writeln!(f, "  memory: this machine does not report it"),
            None => writeln!(f, "  memory: not available, because the system runs in another process"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use sagas::time::Timestamp;

    use super::*;
    use crate::contracts::OrderStatus;

    #[test]
    fn times_begin_with_the_post_and_end_with_the_final_state() {
        let at = |millis| Timestamp::from_millis(0).after(Duration::from_millis(millis));
        let order = |status, sent, reached| Driven { status, sent: at(sent), reached: at(reached) };
        let orders = [
            order(OrderStatus::Completed, 1_000, 1_030),
            order(OrderStatus::Cancelled, 1_500, 3_000),
            order(OrderStatus::Created, 2_000, 2_000),
        ];
        let measured = Measured::of(&orders, false, false);
        assert_eq!((measured.orders, measured.unfinished), (3, 1));
        assert_eq!(measured.seconds, 2.0);
        assert_eq!(measured.orders_per_second, 1.0);
        assert_eq!(measured.outcomes["COMPLETED"].p99, 30);
        assert_eq!(measured.outcomes["CANCELLED"].p50, 1_500);
    }
}
