//! Retention: removes the oldest records when the file is too large or the records are too old, but never a record that a registered group
//! has not read.
//!
//! The writer calls [`Retention::step`] between its batches. A step deletes at most a few hundred records, so that publishers do not wait
//! for a long clean-up.

use std::{collections::HashMap, sync::Arc};

use sqlx::{Row, SqliteConnection};

use super::{EmbeddedOptions, file::pragma, records::first_position};
use crate::{
    time::{Clock, Timestamp},
    transport::local::{Catalog, Partition},
};

/// The maximum number of records that one step deletes.
const STEP: i64 = 500;

/// When retention checks the file next, and what the previous checks have found.
pub(super) struct Retention {
    limit: u64,
    age: Option<std::time::Duration>,
    interval: std::time::Duration,
    /// The bytes appended since the last complete check.
    appended: u64,
    /// Whether a check is due now, because there may be something to delete.
    busy: bool,
    next: Timestamp,
    /// The oldest record and the time when it was stored, by the row of the partition.
    oldest: HashMap<i64, (i64, Timestamp)>,
}

impl Retention {
    pub(super) fn new(options: &EmbeddedOptions) -> Self {
        Self {
            limit: options.retention_bytes,
            age: options.retention_age,
            interval: options.retention_interval,
            appended: 0,
            busy: true,
            next: options.clock.now().after(options.retention_interval),
            oldest: HashMap::new(),
        }
    }

    /// Waits until a check is due.
    pub(super) async fn due(&self, clock: &Clock) {
        if !self.busy {
            clock.sleep_until(self.next).await;
        }
    }

    /// Counts published bytes. After each sixteenth of the limit, a check is due.
    pub(super) fn appended(&mut self, bytes: usize) {
        self.appended = self.appended.saturating_add(bytes as u64);
        self.busy |= self.appended >= self.limit / 16;
    }

    /// Makes a check due after the next write.
    pub(super) fn make_room(&mut self) {
        self.busy = true;
    }

    /// Whether a check is due at `now`.
    pub(super) fn is_due(&self, now: Timestamp) -> bool {
        self.busy || now >= self.next
    }

    /// Deletes the records of one step, if there are any to delete.
    pub(super) async fn step(
        &mut self,
        connection: &mut SqliteConnection,
        catalog: &Catalog,
        now: Timestamp,
    ) -> Result<(), sqlx::Error> {
        let more = self.delete_oldest(connection, catalog, now).await?;
        self.busy = more;
        if !more {
            self.appended = 0;
            self.next = now.after(self.interval);
        }
        Ok(())
    }

    async fn delete_oldest(
        &mut self,
        connection: &mut SqliteConnection,
        catalog: &Catalog,
        now: Timestamp,
    ) -> Result<bool, sqlx::Error> {
        let excess = used_bytes(connection).await?.saturating_sub(self.limit);
        let expired = self.age.map(|age| now.before(age));
        if excess == 0 && expired.is_none() {
            return Ok(false);
        }
        let Some((partition, stored_at)) = self.oldest(connection, catalog).await? else { return Ok(false) };
        let (start, _) = partition.bounds();
        let until = if excess > 0 {
            first_bytes(connection, &partition, excess).await?
        } else if expired.is_some_and(|expired| stored_at < expired) {
            stored_since(connection, &partition, expired.unwrap_or(now)).await?
        } else {
            return Ok(false);
        };
        delete(connection, &partition, start, until).await?;
        Ok(true)
    }

    /// Returns the partition with the oldest record that may be deleted, and the time when that record was stored.
    async fn oldest(
        &mut self,
        connection: &mut SqliteConnection,
        catalog: &Catalog,
    ) -> Result<Option<(Arc<Partition>, Timestamp)>, sqlx::Error> {
        let mut oldest: Option<(Arc<Partition>, Timestamp)> = None;
        for partition in catalog.topics().iter().flat_map(|topic| &topic.partitions) {
            let (start, _) = partition.bounds();
            if start >= partition.unread() {
                continue;
            }
            let stored_at = match self.oldest.get(&partition.row) {
                Some((seen, stored_at)) if *seen == start => *stored_at,
                _ => {
                    let stored_at = stored_at(connection, partition, start).await?;
                    self.oldest.insert(partition.row, (start, stored_at));
                    stored_at
                }
            };
            if oldest.as_ref().is_none_or(|(_, other)| stored_at < *other) {
                oldest = Some((Arc::clone(partition), stored_at));
            }
        }
        Ok(oldest)
    }
}

/// Returns the bytes of the file that are in use. SQLite uses freed pages again, so the file need not shrink.
async fn used_bytes(connection: &mut SqliteConnection) -> Result<u64, sqlx::Error> {
    let pages = pragma(connection, "PRAGMA page_count").await?;
    let free = pragma(connection, "PRAGMA freelist_count").await?;
    let size = pragma(connection, "PRAGMA page_size").await?;
    Ok((pages - free).saturating_mul(size).unsigned_abs())
}

async fn stored_at(connection: &mut SqliteConnection, partition: &Partition, offset: i64) -> Result<Timestamp, sqlx::Error> {
    let zero = first_position(partition.row);
    let (_, end) = partition.bounds();
    let millis: Option<i64> =
        sqlx::query_scalar("SELECT stored_at FROM records WHERE position >= ? AND position < ? ORDER BY position LIMIT 1")
            .bind(zero + offset)
            .bind(zero + end)
            .fetch_optional(connection)
            .await?;
    Ok(millis.map_or(Timestamp::MAX, Timestamp::from_millis))
}

/// Returns the offset up to which the oldest deletable records have `bytes` bytes, limited to one step.
async fn first_bytes(connection: &mut SqliteConnection, partition: &Partition, bytes: u64) -> Result<i64, sqlx::Error> {
    let zero = first_position(partition.row);
    let (start, _) = partition.bounds();
    let until = partition.unread().min(start + STEP);
    let rows = sqlx::query(
        "SELECT position, coalesce(length(key), 0) + length(headers) + coalesce(length(value), 0) FROM records
         WHERE position >= ? AND position < ? ORDER BY position",
    )
    .bind(zero + start)
    .bind(zero + until)
    .fetch_all(connection)
    .await?;
    let mut sum = 0_u64;
    for row in rows {
        sum = sum.saturating_add(row.get::<i64, _>(1).unsigned_abs());
        if sum >= bytes {
            return Ok(row.get::<i64, _>(0) - zero + 1);
        }
    }
    Ok(until)
}

/// Returns the first offset stored at `time` or later, limited to one step from the oldest offset.
async fn stored_since(connection: &mut SqliteConnection, partition: &Partition, time: Timestamp) -> Result<i64, sqlx::Error> {
    let zero = first_position(partition.row);
    let (start, _) = partition.bounds();
    let until = partition.unread().min(start + STEP);
    let first: Option<i64> = sqlx::query_scalar(
        "SELECT position FROM records WHERE position >= ? AND position < ? AND stored_at >= ? ORDER BY position LIMIT 1",
    )
    .bind(zero + start)
    .bind(zero + until)
    .bind(time.as_millis())
    .fetch_optional(connection)
    .await?;
    Ok(first.map_or(until, |position| position - zero))
}

async fn delete(connection: &mut SqliteConnection, partition: &Partition, start: i64, until: i64) -> Result<(), sqlx::Error> {
    let zero = first_position(partition.row);
    sqlx::query("BEGIN IMMEDIATE").execute(&mut *connection).await?;
    sqlx::query("DELETE FROM records WHERE position >= ? AND position < ?")
        .bind(zero + start)
        .bind(zero + until)
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE partitions SET first = ? WHERE id = ?").bind(until).bind(partition.row).execute(&mut *connection).await?;
    sqlx::query("COMMIT").execute(connection).await?;
    partition.drop_before(until);
    Ok(())
}
