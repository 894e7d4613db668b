//! The framework's own statements, one module per table.
//!
//! Many rows are written with one statement, as arrays: in one round trip, with one text to prepare for any number of rows. Statements that
//! write check that the transaction is still the one that the framework has begun (see `unit`).

pub(super) mod clock;
pub(super) mod dead_letters;
pub(super) mod definitions;
pub(super) mod handled;
pub(super) mod history;
pub(super) mod inbox;
pub(super) mod instance_queries;
pub(super) mod instances;
pub(super) mod keys;
pub(super) mod letter_queries;
pub(super) mod outbox;
pub(super) mod parked;
pub(super) mod partitions;
mod publish;
pub(super) mod received;
pub(super) mod replays;
pub(super) mod services;
pub(super) mod sharing;
pub(super) mod steps;
pub(super) mod tables;
pub(super) mod takers;
pub(super) mod topics;

use sqlx::{Executor, PgConnection};

use crate::store::{
    StoreError,
    sql_errors::{counted, unreadable},
};
pub(in crate::store::postgres) use publish::publishing;

pub(in crate::store::postgres) use crate::store::sql_errors::Failed;

/// The condition that the transaction is still the one that the framework has begun. The planner evaluates it once per statement.
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

/// Checks the ids that a statement generated for `count` rows: they must ascend in the order of the rows.
fn numbered(ids: Vec<i64>, count: usize) -> Result<Vec<i64>, Failed> {
    if ids.is_empty() && count > 0 {
        return Err(gone());
    }
    if ids.len() != count || !ids.is_sorted_by(|one, next| one < next) {
        return Err(StoreError::Refused("rows were not numbered as they were inserted; are there triggers?".into()).into());
    }
    Ok(ids)
}

/// The error for a statement that wrote nothing because its transaction has ended.
fn gone() -> Failed {
    StoreError::Refused(
        "a COMMIT or ROLLBACK among its own statements has ended the transaction; leave that to the framework".into(),
    )
    .into()
}
