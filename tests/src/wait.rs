//! Waiting for a condition.

use std::time::Duration;

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
