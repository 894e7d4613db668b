//! What must hold of the stock at any time.

use sagas::{Fault, prelude::*};
use sqlx::Row;

use crate::check::{Findings, Invariant};

/// Looks for units that were lost or doubled.
///
/// # Errors
/// When the database cannot be read.
pub async fn audit(db: &Database) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    // One statement sees one moment.
    let rows = sqlx::query(
        "SELECT product_id, available + reserved + sold AS counted, initial + restocked AS expected, reserved, sold,
             (SELECT COALESCE(SUM(quantity), 0) FROM reservations r WHERE r.product_id = p.product_id AND status = 'HELD') AS held_units,
             (SELECT COALESCE(SUM(quantity), 0) FROM reservations r WHERE r.product_id = p.product_id AND status = 'SOLD') AS sold_units
         FROM products p",
    );
    for row in rows.fetch_all(db).await? {
        let product_id: String = row.try_get("product_id")?;
        let units = |column: &str| row.try_get::<i64, _>(column);
        let (counted, expected) = (units("counted")?, units("expected")?);
        if counted != expected {
            findings.violation(Invariant::Stock, format!("{product_id}: {counted} units are there, {expected} should be"));
        }
        for (column, by_reservation) in [("reserved", "held_units"), ("sold", "sold_units")] {
            let (counted, expected) = (units(column)?, units(by_reservation)?);
            if counted != expected {
                findings
                    .violation(Invariant::Effects, format!("{product_id}: {counted} units {column}, {expected} by reservations"));
            }
        }
    }
    Ok(findings)
}
