//! The clock of a service: set before the service makes any decision by time, corrected while it runs, and compared with other clocks.
//!
//! Processes that share a database share its clock. Each one measures the database's time at the start, continues by the monotonic clock of
//! its machine, and measures again every few seconds. If the database's clock is changed, the running processes follow it slowly and save
//! their offset from it, so that a process that starts meanwhile uses the same time. Without a shared database, the clock starts at the
//! machine's time. [`Downtimes`] accounts for the periods in which the service did not run.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{conditions::Severity, core::Core, metrics::clock_skew};
use crate::{
    engine::downtime::Downtimes,
    store::{KeptClock, Store, StoreError},
    time::{Clock, Timestamp},
};

/// How often the clocks are compared.
const COMPARE: Duration = Duration::from_secs(5);
/// The number of comparisons between two saves of the clock, while the offset is small.
const NOTE: u32 = 12;
/// The number of measurements that the initial time is chosen from.
const MEASUREMENTS: u32 = 3;
/// A measurement with a larger error is ignored.
const SLOWEST: Duration = Duration::from_secs(1);
/// A difference above this raises a condition.
const NOTEWORTHY: Duration = Duration::from_secs(2);
/// An offset, in milliseconds, from which on it is saved for starting processes.
const APART: i64 = 50;
/// A record with a time further ahead is ignored: its time is not from a clock.
const NO_CLOCK: Duration = Duration::from_secs(24 * 60 * 60);
/// The clock is corrected by 1 ms in this many milliseconds.
const SLEW: i64 = 100;

/// The clock of a service, and the periods in which the service did not run.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    pub(crate) clock: Clock,
    pub(crate) passed: Downtimes,
    /// The record that was furthest ahead of the clock since the last comparison: by how much, and its topic.
    ahead: Mutex<Option<(Duration, String)>>,
}

/// The time of the database's clock at an instant of this machine's monotonic clock.
struct Measured {
    time: Timestamp,
    at: Instant,
    error: Duration,
}

impl Measured {
    fn now(&self) -> Timestamp {
        self.time.after(self.at.elapsed())
    }
}

async fn measure(store: &dyn Store) -> Result<Option<Measured>, StoreError> {
    let asked = Instant::now();
    let Some(time) = store.time().await? else { return Ok(None) };
    let half = asked.elapsed() / 2;
    Ok(Some(Measured { time, at: asked + half, error: half + Duration::from_millis(1) }))
}

impl Timekeeper {
    /// Sets the clock of `service`, which is derived from `given`. A manual clock is not changed, because the test controls it.
    ///
    /// # Errors
    /// If the database cannot be read.
    pub(crate) async fn start(service: &str, store: &dyn Store, given: &Clock) -> Result<Self, StoreError> {
        let clock = given.steady();
        let mut passed = Downtimes::default();
        if clock.wall().is_some() {
            let kept = store.clock(service).await?;
            let mut best: Option<Measured> = None;
            for _ in 0..MEASUREMENTS {
                let Some(measured) = measure(store).await? else { break };
                if best.as_ref().is_none_or(|best| measured.error < best.error) {
                    best = Some(measured);
                }
            }
            let mut offset = 0;
            if let Some(measured) = best {
                offset = kept.as_ref().map_or(0, |kept| offset_now(kept, measured.now()));
                clock.anchor(Timestamp::from_millis(measured.now().as_millis().saturating_add(offset)));
            }
            if let Some(kept) = kept {
                passed = Downtimes::parse(&kept.stops);
                resume(service, &mut passed, kept.seen, clock.now());
            }
            store.save_clock(service, &KeptClock { seen: clock.now(), offset, stops: passed.to_text() }).await?;
        }
        Ok(Self { clock, passed, ahead: Mutex::default() })
    }

    /// Records how far the time of a record of `topic` is ahead of the clock.
    pub(crate) fn saw_record(&self, topic: &str, time: Timestamp, now: Timestamp) {
        let ahead = time.since(now);
        if ahead <= NOTEWORTHY || ahead > NO_CLOCK {
            return;
        }
        let mut furthest = self.ahead.lock().unwrap_or_else(PoisonError::into_inner);
        if furthest.as_ref().is_none_or(|(furthest, _)| ahead > *furthest) {
            *furthest = Some((ahead, topic.to_owned()));
        }
    }
}

/// Returns the offset of the running processes' clock from the database's clock, calculated from the last saved offset.
fn offset_now(kept: &KeptClock, database: Timestamp) -> i64 {
    let noted = Timestamp::from_millis(kept.seen.as_millis().saturating_sub(kept.offset));
    let made_up = i64::try_from(database.since(noted).as_millis()).unwrap_or(i64::MAX) / SLEW;
    let left = i64::try_from(kept.offset.unsigned_abs()).unwrap_or(i64::MAX).saturating_sub(made_up).max(0);
    if left < APART { 0 } else { left * kept.offset.signum() }
}

fn resume(service: &str, passed: &mut Downtimes, seen: Timestamp, now: Timestamp) {
    if let Some(stop) = passed.resume(seen, now) {
        let hours = stop.as_secs() / 3_600;
        tracing::info!(
            service,
            hours,
            "by the clock the service did not run for this long, and the clock may have been set in the meantime: what has a retention \
             time is kept this much longer"
        );
    } else if seen.since(now) > NOTEWORTHY {
        let seconds = seen.since(now).as_secs();
        tracing::warn!(
            service,
            seconds,
            "the clock is behind the time that the service recorded last: it was set back, or was ahead before; see that the clock is right"
        );
    }
}

/// Corrects the clock and compares it with others, until the task is aborted.
pub(crate) async fn keep(core: Arc<Core>) {
    for turn in (1..=NOTE).cycle() {
        tokio::time::sleep(COMPARE).await;
        compare(&core, turn == NOTE).await;
    }
}

async fn compare(core: &Core, note: bool) {
    let (clock, now) = (&core.clock, core.clock.now());
    compare_log(core, now);
    let Some(wall) = clock.wall() else { return };
    let offset = match measure(&**core.store()).await {
        Ok(Some(measured)) if measured.error < SLOWEST => {
            let database = measured.now();
            let (wall, now) = (clock.wall().unwrap_or(wall), clock.now());
            clock_skew(&core.metrics, "database").set(seconds(database, wall));
            set(core, "clock_skew", "database", apart(database, wall), || {
                format!(
                    "the clock of this machine is {} the database's; the service uses the database's, and log lines and files use the \
                     machine's: set the machine's clock, by NTP for example",
                    words(wall, database)
                )
            });
            set(core, "clock_jump", "", apart(database, now), || {
                format!(
                    "the database's clock was set while the service runs, and is {} the service's, which follows it by 1 s in 100 s so that \
                     no wait ends early or late; if the clock is wrong, set it right",
                    words(database, now)
                )
            });
            clock.follow(database, measured.error);
            now.as_millis().saturating_sub(database.as_millis())
        }
        Ok(None) => {
            set(core, "clock_jump", "", apart(wall, now), || {
                format!(
                    "the system's clock was set while the service runs (or the machine slept), and is {} the service's, which follows it by \
                     1 s in 100 s so that no wait ends early or late; if the clock is right now, a restart takes its time over at once",
                    words(wall, now)
                )
            });
            clock.follow(wall, Duration::from_millis(1));
            0
        }
        // The database is slow or down, which is reported elsewhere. The clock continues uncorrected.
        Ok(Some(_)) | Err(_) => return,
    };
    if note || offset.abs() >= APART {
        let kept = KeptClock { seen: clock.now(), offset, stops: core.time.passed.to_text() };
        if let Err(error) = core.store().save_clock(&core.name, &kept).await {
            tracing::debug!(service = &*core.name, %error, "the time could not be recorded");
        }
    }
}

/// Raises a condition if records have times in the future. Their time is from a clock that is ahead: the producer's or, if the topic's
/// timestamp type is `LogAppendTime`, the broker's. A clock that is behind cannot be recognized, because it looks like delay.
fn compare_log(core: &Core, now: Timestamp) {
    let furthest = core.time.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
    clock_skew(&core.metrics, "log").set(furthest.as_ref().map_or(0.0, |(ahead, _)| ahead.as_secs_f64()));
    match furthest {
        Some((ahead, topic)) => {
            let detail = format!(
                "records of the topic {topic} carry times up to {} s ahead of the service's clock: set the clock of their producers, or of \
                 the brokers where the topic has `message.timestamp.type=LogAppendTime`",
                ahead.as_secs()
            );
            core.conditions.raise("clock_skew", "log", Severity::Warning, detail, now);
        }
        None => core.conditions.clear("clock_skew", "log", now),
    }
}

fn set(core: &Core, name: &'static str, subject: &str, holds: bool, detail: impl FnOnce() -> String) {
    match holds {
        true => core.conditions.raise(name, subject, Severity::Warning, detail(), core.clock.now()),
        false => core.conditions.clear(name, subject, core.clock.now()),
    }
}

fn seconds(one: Timestamp, other: Timestamp) -> f64 {
    one.since(other).as_secs_f64() - other.since(one).as_secs_f64()
}

fn apart(one: Timestamp, other: Timestamp) -> bool {
    one.since(other).max(other.since(one)) > NOTEWORTHY
}

fn words(one: Timestamp, other: Timestamp) -> String {
    match one > other {
        true => format!("{} s ahead of", one.since(other).as_secs()),
        false => format!("{} s behind", other.since(one).as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_that_starts_agrees_with_those_that_run() {
        let kept = |offset| KeptClock { seen: Timestamp::from_millis(1_000_000), offset, stops: String::new() };
        // The database's clock was set ahead by 300 s: the running processes were at 1,000 s when it showed 1,300 s.
        for (offset, later, expected) in
            [(-300_000, 0, -300_000), (-300_000, 100_000, -299_000), (300_000, 40_000_000, 0), (20, 0, 0)]
        {
            let database = Timestamp::from_millis(1_000_000 - offset + later);
            assert_eq!(offset_now(&kept(offset), database), expected, "{offset} ms, after {later} ms");
        }
        assert_eq!(offset_now(&kept(-300_000), Timestamp::from_millis(0)), -300_000, "set back further since");
    }
}
