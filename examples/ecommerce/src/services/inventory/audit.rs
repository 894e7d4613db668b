//! The invariants of the inventory service's data.

use sagas::{Fault, prelude::*};
use sqlx::Row;

use crate::check::{Findings, Invariant};

/// Reports units that were lost or counted twice.
///
/// # Errors
/// When the database cannot be read.
pub async fn audit(db: &Database) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    // One statement, so that it reads one snapshot.
    let rows = sqlx::query(
        "SELECT p.product_id, p.available + p.reserved + p.sold AS counted, p.initial + p.restocked AS expected, p.reserved, p.sold,
             CAST(COALESCE(r.held, 0) AS BIGINT) AS held_units, CAST(COALESCE(r.sold, 0) AS BIGINT) AS sold_units
         FROM products p LEFT JOIN (
             SELECT product_id, SUM(CASE status WHEN 'HELD' THEN quantity ELSE 0 END) AS held,
                 SUM(CASE status WHEN 'SOLD' THEN quantity ELSE 0 END) AS sold
             FROM reservations GROUP BY product_id
         ) r ON r.product_id = p.product_id",
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
