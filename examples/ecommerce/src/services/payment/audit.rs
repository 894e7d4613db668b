//! The invariants of the payment service's data.

use futures_util::TryStreamExt;
use sagas::{Fault, prelude::*};
use sqlx::Row;

use super::gateway::Gateway;
use crate::{
    check::{Findings, Invariant},
    services::{Statement, sum, summed},
};

/// Sums captured and refunded money, and reports violations of the invariants.
///
/// # Errors
/// When the database or the gateway's ledger cannot be read.
pub async fn audit(db: &Database, gateway: &Gateway) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    let sums = format!("SELECT {}, {} FROM payments", sum("captured", "captured"), sum("refunded", "refunded"));
    let sums = Statement::new(sums).query().fetch_one(db).await?;
    findings.captured = summed(&sums, "captured")?;
    findings.refunded = summed(&sums, "refunded")?;

    let wrong = sqlx::query(
        "SELECT order_id, status FROM payments WHERE captured - refunded <> CASE status WHEN 'COMPLETED' THEN amount ELSE 0 END",
    );
    for row in wrong.fetch_all(db).await? {
        let (order_id, status): (String, String) = (row.try_get("order_id")?, row.try_get("status")?);
        findings.violation(Invariant::Money, format!("the payment of order {order_id} is {status}, which contradicts its sums"));
    }
    let kept = gateway.kept().await?;
    let mut given_back = sqlx::query("SELECT order_id FROM payments WHERE status = 'REFUNDED'").fetch(db);
    while let Some(row) = given_back.try_next().await? {
        let order_id: String = row.try_get("order_id")?;
        if kept.contains(&order_id) {
            findings
                .violation(Invariant::Money, format!("the payment of order {order_id} is REFUNDED, and the gateway keeps it"));
        }
    }
    for order_id in gateway.charged_twice().await? {
        findings.violation(Invariant::Effects, format!("order {order_id} was charged more than once"));
    }
    Ok(findings)
}
