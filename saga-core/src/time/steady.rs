//! A time that continues from an anchor and follows another clock slowly.

use std::time::Duration;

use super::Timestamp;

/// The largest rate of correction is one part in `SLEW` of the elapsed time. A wait is longer or shorter by no more than that.
const SLEW: i64 = 100;

/// The time at one moment, and the correction that is applied from then on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Anchor {
    at: Timestamp,
    /// How far it is behind the clock that it follows, in milliseconds.
    behind: i64,
}

impl Anchor {
    pub(super) fn at(at: Timestamp) -> Self {
        Self { at, behind: 0 }
    }

    /// Returns the time when the monotonic clock has advanced by `elapsed`.
    pub(super) fn after(&self, elapsed: Duration) -> Timestamp {
        let elapsed = i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX);
        let most = elapsed / SLEW;
        let moved = self.at.as_millis().saturating_add(elapsed).saturating_add(self.behind.clamp(-most, most));
        Timestamp::from_millis(moved)
    }

    /// Returns the anchor after `elapsed`, when the clock that it follows shows `target`, give or take `error`.
    pub(super) fn following(&self, elapsed: Duration, target: Timestamp, error: Duration) -> Self {
        let at = self.after(elapsed);
        let behind = target.as_millis().saturating_sub(at.as_millis());
        let sure = behind.unsigned_abs() > u64::try_from(error.as_millis()).unwrap_or(u64::MAX);
        Self { at, behind: if sure { behind } else { 0 } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    const fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn it_goes_by_what_has_passed() {
        assert_eq!(Anchor::at(at(7)).after(millis(1_000)), at(1_007));
        assert_eq!(Anchor::at(at(i64::MAX)).after(Duration::MAX), at(i64::MAX));
    }

    #[test]
    fn it_follows_by_one_part_in_a_hundred_until_it_is_there() {
        for (target, after, expected) in [
            (1_000_000, 10_000, 10_100),
            (-1_000_000, 10_000, 9_900),
            (50, 10_000, 10_050),
            (-50, 10_000, 9_950),
            (50, 100, 101),
            (i64::MAX, 100, 101),
            (i64::MIN, 100, 99),
        ] {
            let following = Anchor::at(at(0)).following(Duration::ZERO, at(target), Duration::ZERO);
            assert_eq!(following.after(millis(after)), at(expected), "to {target}, after {after} ms");
        }
    }

    #[test]
    fn what_may_be_an_error_of_the_measurement_is_not_followed() {
        let anchor = Anchor::at(at(0)).following(Duration::ZERO, at(5), millis(5));
        assert_eq!(anchor.after(millis(10_000)), at(10_000));
    }
}
