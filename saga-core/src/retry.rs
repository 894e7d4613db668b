//! How often and when a failed message is tried again: the policy that a handler states. When the next attempt is due is
//! decided by [`crate::engine`].

use std::time::Duration;

/// How a handler's technical errors are tried again.
///
/// The first retry comes after `first`, each further one after twice the wait before, never more than `longest`; every wait
/// is drawn at random between its half and itself, so that many failures do not come back as one wave.
///
/// ```
/// # use saga_core::retry::RetryPolicy;
/// # use std::time::Duration;
/// let policy = RetryPolicy::default().attempts(5).backoff(Duration::from_millis(200), Duration::from_secs(30));
/// assert_eq!(policy.max_attempts, 5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryPolicy {
    /// Attempts in all, the first one included; at least 1.
    pub max_attempts: u32,
    /// The wait before the second attempt.
    pub first: Duration,
    /// No wait is longer than this.
    pub longest: Duration,
}

impl RetryPolicy {
    /// Ten attempts, 200 ms to 30 s apart: about two minutes in all.
    pub const DEFAULT: Self = Self { max_attempts: 10, first: Duration::from_millis(200), longest: Duration::from_secs(30) };

    /// This policy with `attempts` attempts in all; 0 counts as 1.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// This policy with waits from `first` to `longest`.
    pub const fn backoff(mut self, first: Duration, longest: Duration) -> Self {
        self.first = first;
        self.longest = longest;
        self
    }
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self::DEFAULT
    }
}
