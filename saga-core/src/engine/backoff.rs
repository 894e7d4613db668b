//! When the next attempt is due.

use crate::{retry::RetryPolicy, time::Timestamp};

/// What follows a failed attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NextAttempt {
    /// Another one, at this time.
    At(Timestamp),
    /// None: the attempts have ended.
    Exhausted,
}

/// What follows when `failed` attempts of `policy` have failed, the last one at `now`. `fraction`, drawn evenly from `[0, 1)`,
/// spreads the wait between its half and itself.
///
/// ```
/// # use saga_core::{engine::backoff::{NextAttempt, next_attempt}, retry::RetryPolicy, time::Timestamp};
/// # use std::time::Duration;
/// let policy = RetryPolicy::default().attempts(3).backoff(Duration::from_millis(200), Duration::from_secs(30));
/// let now = Timestamp::from_millis(0);
/// assert_eq!(next_attempt(&policy, 1, now, 0.0), NextAttempt::At(Timestamp::from_millis(100)));
/// assert_eq!(next_attempt(&policy, 3, now, 0.0), NextAttempt::Exhausted);
/// ```
pub fn next_attempt(policy: &RetryPolicy, failed: u32, now: Timestamp, fraction: f64) -> NextAttempt {
    if failed >= policy.max_attempts {
        return NextAttempt::Exhausted;
    }
    let doublings = failed.saturating_sub(1).min(31);
    let wait = policy.first.saturating_mul(1 << doublings).min(policy.longest);
    NextAttempt::At(now.after(wait.mul_f64(0.5 + 0.5 * fraction.clamp(0.0, 1.0))))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let policy = RetryPolicy::default().attempts(6).backoff(Duration::from_millis(100), Duration::from_millis(500));
        let now = Timestamp::from_millis(1_000);
        let waits: Vec<_> = (1..=6).map(|failed| next_attempt(&policy, failed, now, 1.0)).collect();
        let at = |millis: i64| NextAttempt::At(Timestamp::from_millis(1_000 + millis));
        assert_eq!(waits, [at(100), at(200), at(400), at(500), at(500), NextAttempt::Exhausted]);
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
