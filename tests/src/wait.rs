//! Waiting for a condition.

use std::time::Duration;

use tokio::time::Instant;

/// How long a condition may take to come true, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(45);
/// How often it is looked at.
const INTERVAL: Duration = Duration::from_millis(20);

/// Looks again and again until `look` finds something, and gives that.
///
/// # Panics
/// When it finds nothing in 45 seconds; the message says `what` it was looking for.
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
