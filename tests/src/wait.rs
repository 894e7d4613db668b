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

/// Waits until `condition` holds, and yields to other tasks between two checks. For tests with a clock that they move.
///
/// # Panics
/// Panics when it does not hold within 60 seconds; the message contains `what`.
pub async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    const LIMIT: Duration = Duration::from_secs(60);
    let waiting = async {
        while !condition().await {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(LIMIT, waiting).await.is_ok(), "not within {LIMIT:?}: {what}");
}

/// Moves the clock forward in small steps until `condition` holds.
///
/// # Panics
/// Panics as [`until`] does.
pub async fn advance_until(clock: &Clock, what: &str, mut condition: impl AsyncFnMut() -> bool) {
    until(what, async || {
        clock.advance(Duration::from_millis(5));
        condition().await
    })
    .await;
}
