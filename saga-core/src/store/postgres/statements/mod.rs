//! The framework's own statements, one module per table.
//!
//! What has many rows goes in one statement, as arrays: one round trip, one text to prepare, whatever their number. What writes
//! does so only in a transaction that is still the one that was begun (see `unit`).

pub(super) mod clock;
pub(super) mod dead_letters;
pub(super) mod definitions;
pub(super) mod history;
pub(super) mod inbox;
pub(super) mod instance_queries;
pub(super) mod instances;
pub(super) mod keys;
pub(super) mod letter_queries;
pub(super) mod outbox;
pub(super) mod parked;
pub(super) mod partitions;
pub(super) mod received;
pub(super) mod replays;
pub(super) mod services;
pub(super) mod sharing;
pub(super) mod steps;
pub(super) mod topics;

use sqlx::{Executor, PgConnection};

use crate::store::StoreError;
pub(in crate::store::postgres) use crate::store::sql_errors::Failed;

/// The condition that the transaction is still the one that was begun. The planner evaluates it once per statement.
macro_rules! in_unit {
    () => {
        "current_setting('sagas.unit', true) <> ''"
    };
}
use in_unit;

/// Runs statements without parameters or rows, separated by semicolons, in one round trip.
pub(in crate::store::postgres) async fn execute(connection: &mut PgConnection, sql: &'static str) -> Result<(), Failed> {
    connection.execute(sqlx::raw_sql(sql)).await?;
    Ok(())
}

/// The ids that a statement gave to its `count` rows, which ascend in the order the rows were given.
fn numbered(ids: Vec<i64>, count: usize) -> Result<Vec<i64>, Failed> {
    if ids.is_empty() && count > 0 {
        return Err(gone());
    }
    if ids.len() != count || !ids.is_sorted_by(|one, next| one < next) {
        return Err(StoreError::Refused("rows were not numbered as they were inserted; are there triggers?".into()).into());
    }
    Ok(ids)
}

/// That nothing was written, since the transaction is not there any more.
fn gone() -> Failed {
    StoreError::Refused(
        "a COMMIT or ROLLBACK among its own statements has ended the transaction; leave that to the framework".into(),
    )
    .into()
}

fn unreadable() -> StoreError {
    StoreError::Incompatible("a row holds what this program did not write".into())
}
