//! The clock of a service: set before anything is decided by it, kept right while the service runs, compared with others.
//!
//! Processes that share a database share its clock: each measures it at the start, goes on by the monotonic clock of its machine, and
//! measures again every few seconds. Should the database's clock be set, those that run follow it slowly, and note how far they are
//! from it, so that one that starts meanwhile agrees with them. Without a shared database the clock is the machine's as it was at the
//! start. What is believed of the time while the service did not run is in [`Passed`].

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::{conditions::Severity, core::Core, metrics::clock_skew};
use crate::{
    engine::passed::Passed,
    store::{KeptClock, Store, StoreError},
    time::{Clock, Timestamp},
};

/// How often the clocks are compared.
const COMPARE: Duration = Duration::from_secs(5);
/// Comparisons from one note in the database to the next, if the clock is where it should be.
const NOTE: u32 = 12;
/// How many measurements the first time is taken from.
const MEASUREMENTS: u32 = 3;
/// A measurement that took longer says too little.
const SLOWEST: Duration = Duration::from_secs(1);
/// A difference that is worth a word.
const NOTEWORTHY: Duration = Duration::from_secs(2);
/// A difference that starting processes have to know.
const APART: i64 = 50;
/// A record whose time is further ahead says nothing of a clock.
const NO_CLOCK: Duration = Duration::from_secs(24 * 60 * 60);
/// How much of a difference is made up for each millisecond: as a clock follows.
const SLEW: i64 = 100;

/// The clock of a service, and how much time has passed by it.
#[derive(Debug)]
pub(crate) struct Timekeeper {
    pub(crate) clock: Clock,
    pub(crate) passed: Passed,
    /// The record that was furthest ahead of the clock since the last comparison: by how much, and its topic.
    ahead: Mutex<Option<(Duration, String)>>,
}

/// The database's clock, by this machine's monotonic one.
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
    /// Sets the clock of `service`, which was given as `given`. A manual clock is left to its test.
    ///
    /// # Errors
    /// When the database cannot be asked.
    pub(crate) async fn start(service: &str, store: &dyn Store, given: &Clock) -> Result<Self, StoreError> {
        let clock = given.steady();
        let mut passed = Passed::default();
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
                passed = Passed::read(&kept.stops);
                resume(service, &mut passed, kept.seen, clock.now());
            }
            store.keep_clock(service, &KeptClock { seen: clock.now(), offset, stops: passed.write() }).await?;
        }
        Ok(Self { clock, passed, ahead: Mutex::default() })
    }

    /// Notes that a record of `topic` is of `time`.
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

/// How far the clock of a service that runs is from the database's, by what one of its processes has noted.
fn offset_now(kept: &KeptClock, database: Timestamp) -> i64 {
    let noted = Timestamp::from_millis(kept.seen.as_millis().saturating_sub(kept.offset));
    let made_up = i64::try_from(database.since(noted).as_millis()).unwrap_or(i64::MAX) / SLEW;
    let left = i64::try_from(kept.offset.unsigned_abs()).unwrap_or(i64::MAX).saturating_sub(made_up).max(0);
    if left < APART { 0 } else { left * kept.offset.signum() }
}

fn resume(service: &str, passed: &mut Passed, seen: Timestamp, now: Timestamp) {
    if let Some(stop) = passed.resume(seen, now) {
        let hours = stop.as_secs() / 3_600;
        tracing::info!(
            service,
            hours,
            "by the clock the service did not run for this long, and it may have been set meanwhile: what is kept for a time is kept \
             this much longer"
        );
    } else if seen.since(now) > NOTEWORTHY {
        let seconds = seen.since(now).as_secs();
        tracing::warn!(
            service,
            seconds,
            "the clock is behind the time that the service noted last: it was set back, or was ahead before; see that the clock is right"
        );
    }
}

/// Keeps the clock right and compares it with others, for ever.
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
                    "the clock of this machine is {} the database's; the service goes by the database's, what others write here (log \
                     lines, files) does not: set the machine's clock, by NTP for example",
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
        // The database is slow or down, which is said elsewhere; the clock goes on.
        Ok(Some(_)) | Err(_) => return,
    };
    if note || offset.abs() >= APART {
        let kept = KeptClock { seen: clock.now(), offset, stops: core.time.passed.write() };
        if let Err(error) = core.store().keep_clock(&core.name, &kept).await {
            tracing::debug!(service = &*core.name, %error, "the time could not be noted");
        }
    }
}

/// What can be known of clocks behind the log: a record whose time is still to come was given it by a clock that is ahead of ours,
/// its producer's or, where the topic's timestamps are of the type `LogAppendTime`, its broker's. One that is behind looks like delay.
fn compare_log(core: &Core, now: Timestamp) {
    let furthest = core.time.ahead.lock().unwrap_or_else(PoisonError::into_inner).take();
    clock_skew(&core.metrics, "log").set(furthest.as_ref().map_or(0.0, |(ahead, _)| ahead.as_secs_f64()));
    match furthest {
        Some((ahead, topic)) => {
            let detail = format!(
                "records of the topic {topic} carry times up to {} s ahead of the service's clock: set the clock of whoever publishes \
                 them, or of the brokers where the topic has `message.timestamp.type=LogAppendTime`",
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
        // The database's clock was set ahead by 300 s at 1,000 s: those that run were at 1,000 s when it said 1,300 s.
        for (offset, later, expected) in
            [(-300_000, 0, -300_000), (-300_000, 100_000, -299_000), (300_000, 40_000_000, 0), (20, 0, 0)]
        {
            let database = Timestamp::from_millis(1_000_000 - offset + later);
            assert_eq!(offset_now(&kept(offset), database), expected, "{offset} ms, after {later} ms");
        }
        assert_eq!(offset_now(&kept(-300_000), Timestamp::from_millis(0)), -300_000, "set back further since");
    }
}
