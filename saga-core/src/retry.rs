//! The retry policy of a handler: how often, and after which waits, a failed message is retried. The engine computes the time of the
//! next attempt.

use std::time::Duration;

/// How a handler's technical errors are retried.
///
/// The wait before the first retry is `first`. It doubles for each further retry, up to `longest`. Each actual wait is random, between half
/// of that value and all of it, so that many messages that failed together are not retried together.
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
    /// The number of attempts, including the first one; at least 1.
    pub max_attempts: u32,
    /// The wait before the second attempt.
    pub first: Duration,
    /// The longest wait.
    pub longest: Duration,
}

impl RetryPolicy {
    /// The default policy: ten attempts with nine waits, the first of at most 200 ms and the longest of at most 30 s. Together the waits last
    /// from 40.5 s to 81 s; the time of the attempts is added.
    pub const DEFAULT: Self = Self { max_attempts: 10, first: Duration::from_millis(200), longest: Duration::from_secs(30) };

    /// Sets the number of attempts, including the first one. 0 is treated as 1.
    pub const fn attempts(mut self, attempts: u32) -> Self {
        self.max_attempts = if attempts == 0 { 1 } else { attempts };
        self
    }

    /// Sets the first and the longest wait.
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
