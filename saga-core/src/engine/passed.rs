//! How much time has surely passed since something was written.
//!
//! What is kept for a time is removed by its age, and an age is only as good as the clocks at its two ends. While a service runs,
//! its clock goes by the monotonic one. Between a stop and the next start there is only the wall clock, which may have been set
//! meanwhile: a difference that a short stop does not explain counts as no time at all. So what is kept is kept for at least as long
//! as it should be, and longer by the stops at most.

use std::time::Duration;

use crate::time::Timestamp;

/// The longest stop that is believed.
const BELIEVED: Duration = Duration::from_secs(60 * 60);
/// So many stops are told apart; of more, the oldest two become one.
const MOST: usize = 200;

/// The stops that are not believed to have taken as long as the clocks say, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Passed {
    stops: Vec<(Timestamp, Timestamp)>,
}

impl Passed {
    /// Reads what [`write`](Self::write) has written. What it has not is left out.
    pub fn read(text: &str) -> Self {
        let stop = |stop: &str| {
            let (from, to) = stop.split_once('-')?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from < to).then_some((Timestamp::from_millis(from), Timestamp::from_millis(to)))
        };
        Self { stops: text.split_whitespace().filter_map(stop).collect() }
    }

    /// As text. Times before 1970 are not written.
    pub fn write(&self) -> String {
        let stops = self.stops.iter().filter(|(from, _)| from.as_millis() >= 0);
        stops.map(|(from, to)| format!("{}-{}", from.as_millis(), to.as_millis())).collect::<Vec<_>>().join(" ")
    }

    /// The service goes on at `now`, and was last known to run at `seen`. Gives the stop, if it is longer than what is believed.
    pub fn resume(&mut self, seen: Timestamp, now: Timestamp) -> Option<Duration> {
        let stop = now.since(seen);
        if stop <= BELIEVED {
            return None;
        }
        // After a jump back some stops lie ahead: nothing was written behind them that is known to be old.
        self.stops.retain(|(_, to)| *to <= seen);
        self.stops.push((seen, now));
        if self.stops.len() > MOST {
            let (from, to) = self.stops.remove(0);
            let next = &mut self.stops[0];
            next.0 = next.0.before(to.since(from));
        }
        Some(stop)
    }

    /// The time before which everything that was written is surely older than `retention` at `now`.
    pub fn older_than(&self, now: Timestamp, retention: Duration) -> Timestamp {
        let mut before = now.before(retention);
        for (from, to) in self.stops.iter().rev().filter(|(_, to)| *to <= now) {
            if *to <= before {
                break;
            }
            before = before.before(to.since(*from));
        }
        before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3_600)
    }

    #[test]
    fn without_stops_an_age_is_what_the_clock_says() {
        assert_eq!(Passed::default().older_than(at(10 * DAY), hours(24)), at(9 * DAY));
    }

    #[test]
    fn a_jump_while_the_service_was_stopped_makes_nothing_old() {
        let (seen, now) = (at(100 * DAY), at(130 * DAY));
        let mut passed = Passed::default();
        assert_eq!(passed.resume(seen, now), Some(hours(30 * 24)));
        let week = hours(7 * 24);
        for (days, expected) in [(0, 93 * DAY), (1, 94 * DAY), (6, 99 * DAY)] {
            assert_eq!(passed.older_than(at(now.as_millis() + days * DAY), week), at(expected), "after {days} days");
        }
        // What was written before the stop has had its week now, and so has what was written at the beginning of it.
        assert_eq!(passed.older_than(at(now.as_millis() + 7 * DAY), week), now);
        assert_eq!(passed.older_than(at(now.as_millis() + 8 * DAY), week), at(now.as_millis() + DAY));
    }

    #[test]
    fn short_stops_are_believed() {
        let mut passed = Passed::default();
        assert_eq!(passed.resume(at(0), at(HOUR)), None);
        assert_eq!(passed.resume(at(DAY), at(HOUR)), None, "a clock that was set back");
        assert_eq!(passed, Passed::default());
    }

    #[test]
    fn of_many_stops_those_count_that_lie_within_the_retention() {
        // A machine that runs for half of each day.
        let mut passed = Passed::default();
        for day in 0..1_000 {
            passed.resume(at(day * DAY + DAY / 2), at((day + 1) * DAY));
        }
        let now = at(1_000 * DAY);
        assert_eq!(passed.older_than(now, hours(7 * 24)), at(986 * DAY));
        assert_eq!(passed.stops.len(), MOST);
        assert!(passed.older_than(now, hours(400 * 24)) <= at(200 * DAY), "what was merged is not taken for less");
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut passed = Passed::default();
        passed.resume(at(0), at(DAY));
        passed.resume(at(2 * DAY), at(4 * DAY));
        assert_eq!(Passed::read(&passed.write()), passed);
        assert_eq!(Passed::read("5-3 x - 7 1-99999999999999999999 1-2"), Passed { stops: vec![(at(1), at(2))] });
    }
}
