//! Waiting for a condition.

use std::time::Duration;

use sagas::time::Clock;
use tokio::time::Instant;

/// How long a condition can take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// The interval between two checks.
const INTERVAL: Duration = Duration::from_millis(20);

/// Calls `look` until it returns a value, and returns that value.
///
/// # Panics
/// Panics when it returns none in 45 seconds; the message contains `what`.
pub async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits until `condition` holds, without a pause between two checks: for conditions that other tasks of the same thread bring about.
///
/// # Panics
/// Panics when it does not hold within 20 seconds; the message contains `what`.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(20), waiting).await.is_ok(), "not within 20 s: {what}");
}

/// As [`until`], and advances `clock` by 5 milliseconds before each check.
///
/// # Panics
/// As [`until`].
pub async fn advance_until(clock: &Clock, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until(what, async || {
        clock.advance(Duration::from_millis(5));
        condition().await
    })
    .await;
}
