//! The retention of idempotency keys: a key is removed a week after its first use, and then stands for a new order. This limits
//! the table to the keys of about one week.

use std::time::Duration;

use sagas::{Fault, prelude::*};

/// How long a key is kept.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How often expired keys are removed.
const EVERY: Duration = Duration::from_secs(24 * 60 * 60);
/// The number of keys that one transaction removes: on SQLite, placing an order waits at most for one such transaction.
const BATCH: i64 = 500;

/// Removes expired keys once a day.
pub(super) async fn forget_daily(service: ServiceHandle) {
    loop {
        match forget(&service).await {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(forgotten, "old idempotency keys were removed"),
            Err(error) => tracing::warn!(%error, "old idempotency keys could not be removed; trying again in a day"),
        }
        service.clock().sleep(EVERY).await;
    }
}

/// Removes the keys that have expired, and returns their number.
///
/// # Errors
/// When the database cannot be written.
async fn forget(service: &ServiceHandle) -> Result<u64, Fault> {
    let before = service.older_than(KEPT).as_millis();
    let mut forgotten = 0;
    loop {
        let mut work = service.begin().await?;
        let batch = sqlx::query(
            "DELETE FROM idempotency_keys WHERE idempotency_key IN (
                 SELECT idempotency_key FROM idempotency_keys WHERE placed_at < $1 ORDER BY placed_at LIMIT $2)",
        )
        .bind(before)
        .bind(BATCH)
        .execute(&mut *work)
        .await?
        .rows_affected();
        work.commit().await?;
        forgotten += batch;
        if batch == 0 {
            return Ok(forgotten);
        }
    }
}
