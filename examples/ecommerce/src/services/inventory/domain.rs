//! The stock: units are available, reserved or sold. Conditional updates move them between these states, so that two concurrent
//! transactions cannot give the same unit to two orders.

use std::collections::BTreeMap;

use sagas::{Fault, id::IdSource, prelude::*, time::Timestamp};
use sqlx::Row;

use crate::{
    contracts::{Missing, OrderId, OrderItem, ProductId, Released, Reservation, ReservationId},
    services::parsed,
};

/// The largest number of units of one product.
pub const MOST_UNITS: i64 = 1_000_000_000_000_000;

crate::contracts::words! {
    /// The status of the units held for an order.
    ReservationStatus {
        /// The units are held.
        Held = "HELD",
        /// The order was confirmed, and the units are sold.
        Sold = "SOLD",
        /// The units are available again.
        Released = "RELEASED",
    }
}

/// Returns the number of ordered units of each product, sorted by product.
pub fn demand(items: &[OrderItem]) -> BTreeMap<&ProductId, u64> {
    let mut demand = BTreeMap::new();
    for item in items {
        let units: &mut u64 = demand.entry(&item.product_id).or_default();
        *units = units.saturating_add(u64::from(item.quantity.units()));
    }
    demand
}

/// Holds all ordered items, or returns the products that are short. In that case the caller must roll the transaction back.
///
/// # Errors
/// When the database cannot be used.
pub async fn hold(
    tx: &mut Tx,
    order_id: OrderId,
    items: &[OrderItem],
    ids: &IdSource,
) -> Result<Result<Vec<Reservation>, Vec<Missing>>, Fault> {
    let now = tx.now();
    lock_stock(tx).await?;
    let (mut held, mut missing) = (Vec::new(), Vec::new());
    for (product_id, requested) in demand(items) {
        if take(tx, product_id, requested).await? {
            let reservation_id = ReservationId(ids.uuid(now));
            held.push(Reservation { product_id: product_id.clone(), quantity: requested, reservation_id });
        } else {
            missing.push(Missing { product_id: product_id.clone(), requested, available: available(tx, product_id).await? });
        }
    }
    if !missing.is_empty() {
        return Ok(Err(missing));
    }
    record(tx, order_id, &held, now).await?;
    Ok(Ok(held))
}

/// Changes the units held for an order from reserved to sold.
///
/// # Errors
/// When the database cannot be used.
pub async fn sell(tx: &mut Tx, order_id: OrderId) -> Result<(), Fault> {
    lock_stock(tx).await?;
    for Released { product_id, quantity } in settle(tx, order_id, ReservationStatus::Sold).await? {
        sqlx::query("UPDATE products SET reserved = reserved - $1, sold = sold + $1 WHERE product_id = $2")
            .bind(units(quantity))
            .bind(product_id.as_str())
            .execute(&mut *tx)
            .await?;
    }
    Ok(())
}

/// Makes the units held for an order available again, and returns them.
///
/// # Errors
/// When the database cannot be used.
pub async fn release(tx: &mut Tx, order_id: OrderId) -> Result<Vec<Released>, Fault> {
    lock_stock(tx).await?;
    let released = settle(tx, order_id, ReservationStatus::Released).await?;
    for Released { product_id, quantity } in &released {
        give_back(tx, product_id, *quantity).await?;
    }
    Ok(released)
}

async fn lock_stock(tx: &mut Tx) -> Result<(), Fault> {
    tx.select_for_update(sqlx::query("SELECT 1 FROM stock_lock WHERE id = 'stock'")).await?;
    Ok(())
}

/// Returns a sentence that names the products that are short.
pub fn shortage(missing: &[Missing]) -> String {
    let names: Vec<_> = missing.iter().map(|missing| missing.product_id.as_str()).collect();
    format!("insufficient stock: {}", names.join(", "))
}

/// Converts a number of units to the type of the database. A larger number becomes `i64::MAX`, which exceeds every stock.
fn units(quantity: u64) -> i64 {
    i64::try_from(quantity).unwrap_or(i64::MAX)
}

async fn take(tx: &mut Tx, product_id: &ProductId, quantity: u64) -> Result<bool, Fault> {
    let taken = sqlx::query(
        "UPDATE products SET available = available - $1, reserved = reserved + $1 WHERE product_id = $2 AND available >= $1",
    )
    .bind(units(quantity))
    .bind(product_id.as_str())
    .execute(&mut *tx)
    .await?;
    Ok(taken.rows_affected() == 1)
}

async fn give_back(tx: &mut Tx, product_id: &ProductId, quantity: u64) -> Result<(), Fault> {
    sqlx::query("UPDATE products SET available = available + $1, reserved = reserved - $1 WHERE product_id = $2")
        .bind(units(quantity))
        .bind(product_id.as_str())
        .execute(&mut *tx)
        .await?;
    Ok(())
}

async fn available(tx: &mut Tx, product_id: &ProductId) -> Result<u64, Fault> {
    let row = sqlx::query("SELECT available FROM products WHERE product_id = $1").bind(product_id.as_str());
    let available = row.fetch_optional(&mut *tx).await?.map(|row| row.try_get::<i64, _>("available")).transpose()?;
    Ok(u64::try_from(available.unwrap_or(0))?)
}

async fn record(tx: &mut Tx, order_id: OrderId, held: &[Reservation], now: Timestamp) -> Result<(), Fault> {
    for reservation in held {
        sqlx::query(
            "INSERT INTO reservations (reservation_id, order_id, product_id, quantity, status, created_at)
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(reservation.reservation_id.to_string())
        .bind(order_id.to_string())
        .bind(reservation.product_id.as_str())
        .bind(units(reservation.quantity))
        .bind(ReservationStatus::Held.as_str())
        .bind(now.as_millis())
        .execute(&mut *tx)
        .await?;
    }
    Ok(())
}

/// Sets the status of the reservations that an order still holds, and returns their units. A second call returns nothing.
async fn settle(tx: &mut Tx, order_id: OrderId, status: ReservationStatus) -> Result<Vec<Released>, Fault> {
    let rows =
        sqlx::query("UPDATE reservations SET status = $1 WHERE order_id = $2 AND status = $3 RETURNING product_id, quantity")
            .bind(status.as_str())
            .bind(order_id.to_string())
            .bind(ReservationStatus::Held.as_str())
            .fetch_all(&mut *tx)
            .await?;
    let mut settled = Vec::with_capacity(rows.len());
    for row in rows {
        let product_id = parsed(&row, "product_id")?;
        settled.push(Released { product_id, quantity: u64::try_from(row.try_get::<i64, _>("quantity")?)? });
    }
    settled.sort_by(|one, other| one.product_id.cmp(&other.product_id));
    Ok(settled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::num::NonZeroU32;

    use super::*;
    use crate::contracts::{Money, Quantity};

    fn item(product_id: &str, quantity: u32) -> OrderItem {
        OrderItem {
            product_id: ProductId::try_from(product_id.to_owned()).unwrap(),
            product_name: product_id.to_owned(),
            quantity: Quantity(NonZeroU32::new(quantity).unwrap()),
            unit_price: Money::eur(100),
        }
    }

    #[test]
    fn lines_of_one_product_are_one_demand() {
        let items = [item("tea", 2), item("mug", 1), item("tea", u32::MAX)];
        let demand: Vec<_> = demand(&items).into_iter().map(|(product, units)| (product.as_str(), units)).collect();
        assert_eq!(demand, [("mug", 1), ("tea", u64::from(u32::MAX) + 2)]);
    }

    #[test]
    fn a_shortage_names_every_product() {
        let missing = |id: &str| Missing { product_id: ProductId::try_from(id.to_owned()).unwrap(), requested: 2, available: 0 };
        assert_eq!(shortage(&[missing("last-one"), missing("sold-out")]), "insufficient stock: last-one, sold-out");
    }
}
