//! How old a row is at least, although clocks can jump while the service is stopped.
//!
//! Rows with a retention are removed by age, and an age is only as good as the two clock readings that it comes from. While a service runs,
//! its clock follows the monotonic one. Between a stop and the next start there is only the wall clock, which may have been set meanwhile.
//! So a difference that is too long for a short stop counts as no time at all. Rows are therefore kept for at least their retention, and
//! for longer by the duration of such stops at most.

use std::time::Duration;

use crate::time::Timestamp;

/// The longest stop that counts as elapsed time.
const BELIEVED: Duration = Duration::from_secs(60 * 60);
/// The most stops that are stored. Beyond it, the two oldest become one.
const MOST: usize = 200;

/// The stops that do not count as elapsed time because they exceed the limit, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Downtimes {
    stops: Vec<(Timestamp, Timestamp)>,
}

impl Downtimes {
    /// Parses the result of [`to_text`](Self::to_text). Invalid entries are ignored.
    pub fn parse(text: &str) -> Self {
        let stop = |stop: &str| {
            let (from, to) = stop.split_once('-')?;
            let (from, to) = (from.parse().ok()?, to.parse().ok()?);
            (from < to).then_some((Timestamp::from_millis(from), Timestamp::from_millis(to)))
        };
        Self { stops: text.split_whitespace().filter_map(stop).collect() }
    }

    /// Returns the stops as text. Times before 1970 are omitted.
    pub fn to_text(&self) -> String {
        let stops = self.stops.iter().filter(|(from, _)| from.as_millis() >= 0);
        stops.map(|(from, to)| format!("{}-{}", from.as_millis(), to.as_millis())).collect::<Vec<_>>().join(" ")
    }

    /// Records that the service, which last ran at `seen`, continues at `now`.
    ///
    /// Returns the duration of the stop if it does not count as elapsed time.
    pub fn resume(&mut self, seen: Timestamp, now: Timestamp) -> Option<Duration> {
        let stop = now.since(seen);
        if stop <= BELIEVED {
            return None;
        }
        // After the clock was set back, some stops lie in the future. They are dropped, because no row written after them is known to be
        // old.
        self.stops.retain(|(_, to)| *to <= seen);
        self.stops.push((seen, now));
        if self.stops.len() > MOST {
            let (from, to) = self.stops.remove(0);
            let next = &mut self.stops[0];
            next.0 = next.0.before(to.since(from));
        }
        Some(stop)
    }

    /// Returns the time before which each row that was written is certainly older than `retention` at `now`.
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
        assert_eq!(Downtimes::default().older_than(at(10 * DAY), hours(24)), at(9 * DAY));
    }

    #[test]
    fn a_jump_while_the_service_was_stopped_makes_nothing_old() {
        let (seen, now) = (at(100 * DAY), at(130 * DAY));
        let mut downtimes = Downtimes::default();
        assert_eq!(downtimes.resume(seen, now), Some(hours(30 * 24)));
        let week = hours(7 * 24);
        for (days, expected) in [(0, 93 * DAY), (1, 94 * DAY), (6, 99 * DAY)] {
            assert_eq!(downtimes.older_than(at(now.as_millis() + days * DAY), week), at(expected), "after {days} days");
        }
        // Rows from before the stop are now a week old, and so are rows from its beginning.
        assert_eq!(downtimes.older_than(at(now.as_millis() + 7 * DAY), week), now);
        assert_eq!(downtimes.older_than(at(now.as_millis() + 8 * DAY), week), at(now.as_millis() + DAY));
    }

    #[test]
    fn short_stops_are_believed() {
        let mut downtimes = Downtimes::default();
        assert_eq!(downtimes.resume(at(0), at(HOUR)), None);
        assert_eq!(downtimes.resume(at(DAY), at(HOUR)), None, "a clock that was set back");
        assert_eq!(downtimes, Downtimes::default());
    }

    #[test]
    fn of_many_stops_those_count_that_lie_within_the_retention() {
        // A machine that runs for half of each day.
        let mut downtimes = Downtimes::default();
        for day in 0..1_000 {
            downtimes.resume(at(day * DAY + DAY / 2), at((day + 1) * DAY));
        }
        let now = at(1_000 * DAY);
        assert_eq!(downtimes.older_than(now, hours(7 * 24)), at(986 * DAY));
        assert_eq!(downtimes.stops.len(), MOST);
        assert!(downtimes.older_than(now, hours(400 * 24)) <= at(200 * DAY), "what was merged is not taken for less");
    }

    #[test]
    fn it_is_read_as_it_was_written() {
        let mut downtimes = Downtimes::default();
        downtimes.resume(at(0), at(DAY));
        downtimes.resume(at(2 * DAY), at(4 * DAY));
        assert_eq!(Downtimes::parse(&downtimes.to_text()), downtimes);
        assert_eq!(Downtimes::parse("5-3 x - 7 1-99999999999999999999 1-2"), Downtimes { stops: vec![(at(1), at(2))] });
    }
}
