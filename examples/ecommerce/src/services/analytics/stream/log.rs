//! The log of changes in the service's database. Readers of the stream receive its changes, each of which has a position.
//!
//! Positions are assigned and committed in the same order, in all processes of the service: a transaction first [locks](lock) the
//! single row of `change_log`, and holds the lock until it ends. So when a position is visible, all lower positions are visible
//! too, and a reader that continues after its last position misses nothing. Unlike a sequence of the database, the log has no
//! gaps: a transaction that is rolled back also rolls back its positions.

use std::collections::{BTreeMap, BTreeSet};

use sagas::{Fault, prelude::*, time::Timestamp};
use serde::Serialize;
use sqlx::{FromRow, Row, any::AnyRow};

use super::{Change, id::EventId, progress::Progress};
use crate::{contracts::OrderId, services::Statement};

/// The number of rows in one statement. A row has at most six values, and a statement can have at most 999.
const ROWS: usize = 150;

/// The number of changes after which, at the latest, changes beyond the limit are removed.
const PRUNE_EVERY: i64 = 256;

/// An event of an order that is written to the log.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) order_id: OrderId,
    pub(crate) change: Change,
    pub(crate) event_id: String,
    pub(crate) at: Timestamp,
}

/// A change of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct OrderChange {
    #[serde(skip)]
    pub(super) position: i64,
    pub(super) order_id: String,
    /// The order's status after the change.
    status: String,
    /// The name of the event that changed the order.
    changed_by: String,
    event_id: String,
    at: Timestamp,
}

impl FromRow<'_, AnyRow> for OrderChange {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            position: row.try_get("position")?,
            order_id: row.try_get("order_id")?,
            status: row.try_get("status")?,
            changed_by: row.try_get("changed_by")?,
            event_id: row.try_get("event_id")?,
            at: Timestamp::from_millis(row.try_get("at")?),
        })
    }
}

/// The identity of the log and the positions it has.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) name: String,
    pub(super) last: i64,
    /// The first position that is kept.
    pub(super) oldest: i64,
}

/// The log, locked by a transaction until it ends.
#[derive(Debug)]
pub(crate) struct Locked {
    /// The position of the last change.
    last: i64,
}

/// Locks the log. Creates it with the name `new_name` if it does not exist.
///
/// This is the first lock that a transaction of `count` takes on this service's tables, so that two transactions cannot deadlock.
/// The other locks are the rows of orders, of their progress and of the totals. One call takes each kind in a fixed order. But a
/// transaction can contain several calls, one for each message when a batch is split, and the next call then takes an order's row
/// while the log is still locked by the previous call. A transaction that held that order's row and waited for the log would
/// deadlock with it. A call also takes this lock when it adds nothing to the log, because it takes totals before a later call of
/// the same transaction locks the log.
///
/// The cost is that lanes and processes count one after another. The totals that they have in common would serialize them anyway.
///
/// # Errors
/// When the database cannot be used.
pub(crate) async fn lock(tx: &mut Tx, new_name: String) -> Result<Locked, Fault> {
    // An update that changes nothing locks the row in both databases; SQLite does not support `FOR UPDATE`.
    let row = sqlx::query(
        "INSERT INTO change_log (one, name, last) VALUES (1, $1, 0) ON CONFLICT (one) DO UPDATE SET last = change_log.last RETURNING last",
    );
    Ok(Locked { last: row.bind(new_name).fetch_one(tx).await?.try_get(0)? })
}

/// Adds the changes that are new in `heard` to the locked log, removes all but the latest `kept` changes from time to time, and
/// returns whether there were new changes.
///
/// # Errors
/// When the database cannot be used.
pub(crate) async fn write(tx: &mut Tx, log: Locked, heard: Vec<Heard>, kept: u32) -> Result<bool, Fault> {
    let mut orders = progress_of(tx, &heard).await?;
    let mut changes = Vec::new();
    for Heard { order_id, change, event_id, at } in heard {
        let order = orders.entry(order_id).or_insert(Progress::NONE);
        if order.apply(change) {
            changes.push((order_id, order.status, change.name(), event_id, at));
        }
    }
    if changes.is_empty() {
        return Ok(false);
    }
    let orders: Vec<_> = orders.into_iter().collect();
    for orders in orders.chunks(ROWS) {
        let mut sql = Statement::new("INSERT INTO order_progress (order_id, heard, status) VALUES ");
        sql.rows(orders, |row, (order_id, progress)| {
            row.bind(order_id.to_string())?.bind(progress.heard)?.bind(progress.status.as_str()).map(drop)
        })?;
        sql.push(" ON CONFLICT (order_id) DO UPDATE SET heard = excluded.heard, status = excluded.status");
        sql.query().execute(&mut *tx).await?;
    }

    let first = log.last + 1;
    let last = log.last + i64::try_from(changes.len())?;
    sqlx::query("UPDATE change_log SET last = $1").bind(last).execute(&mut *tx).await?;
    let mut position = first;
    for changes in changes.chunks(ROWS) {
        let mut sql = Statement::new("INSERT INTO order_changes (position, order_id, status, changed_by, event_id, at) VALUES ");
        sql.rows(changes, |row, (order_id, status, changed_by, event_id, at)| {
            row.bind(position)?.bind(order_id.to_string())?.bind(status.as_str())?;
            position += 1;
            row.bind(*changed_by)?.bind(event_id.clone())?.bind(at.as_millis()).map(drop)
        })?;
        sql.query().execute(&mut *tx).await?;
    }
    let kept = i64::from(kept.max(1));
    let every = PRUNE_EVERY.min(kept);
    if first / every != (last + 1) / every {
        sqlx::query("DELETE FROM order_changes WHERE position <= $1").bind(last - kept).execute(&mut *tx).await?;
    }
    Ok(true)
}

/// Reads the progress of the orders in `heard`, without orders that have none. The events of an order come from several topics,
/// and therefore in several lanes and processes; the lock on the log serializes them.
async fn progress_of(tx: &mut Tx, heard: &[Heard]) -> Result<BTreeMap<OrderId, Progress>, Fault> {
    let orders: BTreeSet<_> = heard.iter().map(|heard| heard.order_id).collect();
    let orders: Vec<_> = orders.into_iter().collect();
    let mut found = BTreeMap::new();
    for orders in orders.chunks(ROWS) {
        let mut sql = Statement::new("SELECT order_id, heard, status FROM order_progress WHERE order_id IN (");
        for (at, order_id) in orders.iter().enumerate() {
            sql.push(if at == 0 { "" } else { ", " }).bind(order_id.to_string())?;
        }
        sql.push(")");
        for row in sql.query().fetch_all(&mut *tx).await? {
            let (order_id, status): (String, String) = (row.try_get("order_id")?, row.try_get("status")?);
            found.insert(order_id.parse()?, Progress { heard: row.try_get("heard")?, status: status.parse()? });
        }
    }
    Ok(found)
}

/// Reads the identity and the positions of the log. Creates the log if it does not exist.
///
/// # Errors
/// When the database cannot be used.
pub(super) async fn head(service: &ServiceHandle) -> Result<Head, Fault> {
    const HEAD: &str =
        "SELECT name, last, COALESCE((SELECT MIN(position) FROM order_changes), last + 1) AS oldest FROM change_log";
    if let Some(row) = sqlx::query(HEAD).fetch_optional(service.database()).await? {
        return read_head(&row);
    }
    let mut work = service.begin().await?;
    let name = EventId::new_name(service.ids().uuid(work.now()));
    let made = sqlx::query("INSERT INTO change_log (one, name, last) VALUES (1, $1, 0) ON CONFLICT (one) DO NOTHING").bind(name);
    made.execute(&mut *work).await?;
    work.commit().await?;
    read_head(&sqlx::query(HEAD).fetch_one(service.database()).await?)
}

fn read_head(row: &AnyRow) -> Result<Head, Fault> {
    Ok(Head { name: row.try_get("name")?, last: row.try_get("last")?, oldest: row.try_get("oldest")? })
}

/// Reads at most `limit` changes after `position`.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn after(db: &Database, position: i64, limit: usize) -> Result<Vec<OrderChange>, Fault> {
    let rows = sqlx::query("SELECT * FROM order_changes WHERE position > $1 ORDER BY position LIMIT $2");
    changes(rows.bind(position).bind(i64::try_from(limit)?).fetch_all(db).await?.as_slice())
}

/// Reads at most `limit` changes up to `position`, the latest first.
///
/// # Errors
/// When the database cannot be read.
pub(super) async fn before(db: &Database, position: i64, limit: usize) -> Result<Vec<OrderChange>, Fault> {
    let rows = sqlx::query("SELECT * FROM order_changes WHERE position <= $1 ORDER BY position DESC LIMIT $2");
    changes(rows.bind(position).bind(i64::try_from(limit)?).fetch_all(db).await?.as_slice())
}

fn changes(rows: &[AnyRow]) -> Result<Vec<OrderChange>, Fault> {
    Ok(rows.iter().map(OrderChange::from_row).collect::<Result<_, _>>()?)
}
