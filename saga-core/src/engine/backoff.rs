//! When the next attempt is due.

use crate::{
    retry::RetryPolicy,
    time::{Timestamp, doubling, spread},
};

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another attempt, at this time.
    At(Timestamp),
    /// No further attempt.
    Exhausted,
}

/// Decides what follows after `failed` attempts under `policy`, the last of which failed at `now`.
///
/// `fraction`, a uniform random number from `[0, 1)`, places the wait between half of its value and all of it.
pub fn next_attempt(policy: &RetryPolicy, failed: u32, now: Timestamp, fraction: f64) -> NextAttempt {
    if failed >= policy.max_attempts {
        return NextAttempt::Exhausted;
    }
    let wait = doubling(policy.first, policy.longest, failed.saturating_sub(1));
    NextAttempt::At(now.after(spread(wait, fraction)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_shortest_wait_is_half_of_the_longest_and_the_last_attempt_has_none() {
        let policy = RetryPolicy::default().attempts(3).backoff(Duration::from_millis(200), Duration::from_secs(30));
        let now = Timestamp::from_millis(0);
        assert_eq!(next_attempt(&policy, 1, now, 0.0), NextAttempt::At(Timestamp::from_millis(100)));
        assert_eq!(next_attempt(&policy, 3, now, 0.0), NextAttempt::Exhausted);
    }

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy::default().attempts(6).backoff(Duration::from_millis(100), Duration::from_millis(500));
        let now = Timestamp::from_millis(1_000);
        let waits: Vec<_> = (1..=6).map(|failed| next_attempt(&policy, failed, now, 1.0)).collect();
        let at = |millis: i64| NextAttempt::At(Timestamp::from_millis(1_000 + millis));
        assert_eq!(waits, [at(100), at(200), at(400), at(500), at(500), NextAttempt::Exhausted]);
    }

    /// The sum of all waits of `policy`, with the lowest and the highest that can be drawn.
    fn waited(policy: &RetryPolicy) -> [Duration; 2] {
        [0.0, 1.0].map(|fraction| {
            let (start, mut now, mut failed) = (Timestamp::from_millis(0), Timestamp::from_millis(0), 1);
            while let NextAttempt::At(due) = next_attempt(policy, failed, now, fraction) {
                (now, failed) = (due, failed + 1);
            }
            now.since(start)
        })
    }

    /// The documentation of `RetryPolicy::DEFAULT` and the guide on handlers state these numbers.
    #[test]
    fn the_waits_of_documented_policies_last_as_long_as_documented() {
        let default = waited(&RetryPolicy::default());
        assert_eq!(default, [Duration::from_millis(40_500), Duration::from_millis(81_000)]);
        let long = RetryPolicy::default().attempts(30).backoff(Duration::from_secs(1), Duration::from_secs(600));
        let minute = Duration::from_secs(60);
        let [lowest, highest] = waited(&long);
        assert!(lowest > 103 * minute && lowest < 104 * minute, "{lowest:?}");
        assert!(highest > 207 * minute && highest < 208 * minute, "{highest:?}");
    }

    proptest! {
        #[test]
        fn a_wait_lies_between_half_and_whole(
            failed in 1_u32..u32::MAX, first in 0_u64..100_000, more in 0_u64..10_000_000, fraction in 0.0..1.0_f64,
        ) {
            let longest = Duration::from_millis(first + more);
            let policy = RetryPolicy::default().attempts(u32::MAX).backoff(Duration::from_millis(first), longest);
            let now = Timestamp::from_millis(0);
            let NextAttempt::At(due) = next_attempt(&policy, failed, now, fraction) else { panic!("attempts are left") };
            prop_assert!(due.since(now) <= longest);
            prop_assert!(due.since(now) >= Duration::from_millis(first / 2));
        }
    }
}
