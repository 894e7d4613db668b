//! The history of an order in the database, and the row that is folded from it.

use sagas::{
    Fault,
    id::MessageId,
    message::{Identified, PublishedEvent},
    prelude::*,
    time::Timestamp,
};
use sqlx::{FromRow, Row, any::AnyRow};

use super::domain::{Change, Order};
use crate::contracts::{OrderId, OrderStatus};

/// An event of the history, with its origin.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The event's id (`ce_id`).
    pub event_id: String,
    /// The event's name.
    pub event_type: String,
    /// The version of the event.
    pub version: i64,
    /// When the event was added to the order's history.
    pub occurred_at: Timestamp,
    /// The correlation id of the order's saga.
    pub correlation_id: String,
    /// The id of the event that caused it.
    pub causation_id: Option<String>,
    /// The event, as JSON.
    pub data: String,
}

impl Entry {
    /// Creates the entry for `change`, published as `event_id` with the correlation id `correlation_id`.
    ///
    /// # Errors
    /// When the event cannot be encoded as JSON.
    pub fn new(
        change: &Change,
        event_id: impl ToString,
        at: Timestamp,
        correlation_id: &str,
        causation_id: Option<String>,
    ) -> Result<Self, Fault> {
        let PublishedEvent { name, version, value } = PublishedEvent::of(change)?;
        Ok(Self {
            event_id: event_id.to_string(),
            event_type: name,
            version: i64::from(version),
            occurred_at: at,
            correlation_id: correlation_id.to_owned(),
            causation_id,
            data: String::from_utf8(value.to_vec())?,
        })
    }

    /// Decodes the event.
    ///
    /// # Errors
    /// When the event's name is unknown, or its value cannot be decoded.
    pub fn change(&self) -> Result<Change, Fault> {
        let (name, version) = (self.event_type.clone(), u32::try_from(self.version)?);
        PublishedEvent { name, version, value: self.data.clone().into() }.decode()
    }
}

impl FromRow<'_, AnyRow> for Entry {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            event_id: row.try_get("event_id")?,
            event_type: row.try_get("type")?,
            version: row.try_get("version")?,
            occurred_at: Timestamp::from_millis(row.try_get("occurred_at")?),
            correlation_id: row.try_get("correlation_id")?,
            causation_id: row.try_get("causation_id")?,
            data: row.try_get("data")?,
        })
    }
}

/// An order that was loaded for a change, in a transaction.
pub struct OpenOrder {
    /// The order, folded from its history.
    pub order: Order,
    /// The correlation id of the order's saga.
    pub correlation_id: String,
    /// The id of the order's first event.
    pub begun_by: MessageId,
    length: i64,
    new: Vec<Entry>,
}

impl OpenOrder {
    /// Loads an order and folds it; `None` when it does not exist. Other transactions cannot change the order until this one
    /// ends.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn load(tx: &mut Tx, order_id: OrderId) -> Result<Option<Self>, Fault> {
        tx.select_for_update(sqlx::query("SELECT 1 FROM orders WHERE order_id = $1").bind(order_id.to_string())).await?;
        let entries = history_in(tx, order_id).await?;
        let changes = entries.iter().map(Entry::change).collect::<Result<Vec<_>, _>>()?;
        let (Some(order), Some(first)) = (Order::fold(&changes), entries.first()) else { return Ok(None) };
        let (correlation_id, begun_by) = (first.correlation_id.clone(), MessageId::new(first.event_id.as_str()));
        Ok(Some(Self { order, correlation_id, begun_by, length: i64::try_from(entries.len())?, new: Vec::new() }))
    }

    /// Applies `change` with its id and the id of its cause; returns false when it has no effect.
    ///
    /// # Errors
    /// When the event cannot be encoded as JSON.
    pub fn take(
        &mut self,
        change: &Change,
        event_id: &MessageId,
        causation_id: Option<String>,
        at: Timestamp,
    ) -> Result<bool, Fault> {
        let effect = self.order.apply(change);
        if effect {
            self.new.push(Entry::new(change, event_id, at, &self.correlation_id, causation_id)?);
        }
        Ok(effect)
    }

    /// Applies a decision about the order, caused by `causation_id`, under the id that it is published with.
    ///
    /// # Errors
    /// When the event cannot be encoded as JSON.
    pub fn decide<E: Clone + Into<Change>>(
        &mut self,
        decision: &Identified<E>,
        causation_id: &MessageId,
        at: Timestamp,
    ) -> Result<(), Fault> {
        let change = decision.event.clone().into();
        self.take(&change, &decision.id, Some(causation_id.to_string()), at).map(drop)
    }

    /// Writes the new events of the history, and the row folded from them.
    ///
    /// # Errors
    /// When the database cannot be written.
    pub async fn save(self, tx: &mut Tx) -> Result<(), Fault> {
        if self.new.is_empty() {
            return Ok(());
        }
        append(tx, self.order.order_id, self.length, &self.new).await?;
        // Only a cancelled order shows a reason: a confirmed one may have recorded a failure that did not end it.
        let reason = if self.order.status == OrderStatus::Cancelled { self.order.reason } else { None };
        sqlx::query("UPDATE orders SET status = $1, reason = $2, updated_at = $3 WHERE order_id = $4")
            .bind(self.order.status.as_str())
            .bind(reason)
            .bind(tx.now().as_millis())
            .bind(self.order.order_id.to_string())
            .execute(&mut *tx)
            .await?;
        Ok(())
    }
}

/// Appends `entries` to an order's history of `length` events.
///
/// # Errors
/// When the database cannot be written, or when another transaction has extended the history.
pub async fn append(tx: &mut Tx, order_id: OrderId, length: i64, entries: &[Entry]) -> Result<(), Fault> {
    for (seq, entry) in (length..).zip(entries) {
        sqlx::query(
            "INSERT INTO order_events (order_id, seq, event_id, type, version, occurred_at, correlation_id, causation_id, data)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        )
        .bind(order_id.to_string())
        .bind(seq)
        .bind(&entry.event_id)
        .bind(&entry.event_type)
        .bind(entry.version)
        .bind(entry.occurred_at.as_millis())
        .bind(&entry.correlation_id)
        .bind(entry.causation_id.as_deref())
        .bind(&entry.data)
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

const HISTORY: &str = "SELECT * FROM order_events WHERE order_id = $1 ORDER BY seq";

async fn history_in(tx: &mut Tx, order_id: OrderId) -> Result<Vec<Entry>, Fault> {
    let rows = sqlx::query(HISTORY).bind(order_id.to_string()).fetch_all(&mut *tx).await?;
    Ok(rows.iter().map(Entry::from_row).collect::<Result<_, _>>()?)
}

/// Returns the history of an order, oldest event first; empty when the order does not exist.
///
/// # Errors
/// When the database cannot be read.
pub async fn history(db: &Database, order_id: OrderId) -> Result<Vec<Entry>, sqlx::Error> {
    let rows = sqlx::query(HISTORY).bind(order_id.to_string()).fetch_all(db).await?;
    rows.iter().map(Entry::from_row).collect()
}
