//! Waits that grow with each failure in a row.

use std::time::Duration;

/// Returns the wait after a failure that `earlier` other failures in a row preceded: `first`, doubled for each of them, at most `longest`.
///
/// ```
/// # use std::time::Duration;
/// # use saga_core::time::doubling;
/// let (first, longest) = (Duration::from_millis(200), Duration::from_secs(1));
/// let waits = [0, 1, 2, 3].map(|earlier| doubling(first, longest, earlier).as_millis());
/// assert_eq!(waits, [200, 400, 800, 1_000]);
/// ```
pub fn doubling(first: Duration, longest: Duration, earlier: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(earlier)).min(longest)
}

/// Returns a wait between half of `wait` and all of it, so that what failed together is not tried again together. `fraction` is a uniform
/// random number from `[0, 1)`.
pub(crate) fn spread(wait: Duration, fraction: f64) -> Duration {
    wait.mul_f64(0.5 + 0.5 * fraction.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_of_failures_exceeds_the_longest_wait() {
        let longest = Duration::from_secs(30);
        for earlier in [9, 31, 32, 33, u32::MAX] {
            assert_eq!(doubling(Duration::from_millis(100), longest, earlier), longest, "{earlier}");
        }
        assert_eq!(doubling(Duration::ZERO, longest, u32::MAX), Duration::ZERO);
        assert_eq!(doubling(Duration::MAX, Duration::MAX, u32::MAX), Duration::MAX);
    }

    #[test]
    fn a_spread_wait_lies_between_half_and_whole() {
        let wait = Duration::from_secs(4);
        for (fraction, seconds) in [(0.0, 2), (0.5, 3), (1.0, 4), (-1.0, 2), (7.0, 4)] {
            assert_eq!(spread(wait, fraction), Duration::from_secs(seconds), "{fraction}");
        }
    }
}
