//! The invariants of the order service's data.

use std::time::Duration;

use futures_util::TryStreamExt;
use sagas::{
    Fault,
    prelude::*,
    saga::{InstanceOrder, InstanceQuery, InstanceState},
};
use sqlx::{FromRow, Row};

use super::{
    domain::{Change, Order},
    history::Entry,
};
use crate::{
    check::{Findings, Invariant},
    contracts::{OrderStatus, PlaceOrder},
};

/// Folds the history of every order, compares the result with the order's row, and sums the amounts of confirmed and undecided
/// orders.
///
/// # Errors
/// When the database cannot be read.
pub async fn audit(db: &Database) -> Result<Findings, Fault> {
    let mut findings = Findings::default();
    // One statement, so that it reads one snapshot. Row by row, because there can be many orders.
    let mut rows = sqlx::query(
        "SELECT o.status AS shown, e.* FROM order_events e JOIN orders o ON o.order_id = e.order_id ORDER BY e.order_id, e.seq",
    )
    .fetch(db);
    let mut current = String::new();
    let mut shown = String::new();
    let mut history = Vec::new();
    while let Some(row) = rows.try_next().await? {
        let order_id: String = row.try_get("order_id")?;
        if order_id != current {
            judge(&current, &shown, &std::mem::take(&mut history), &mut findings);
            current = order_id;
            shown = row.try_get("shown")?;
        }
        history.push(Entry::from_row(&row)?.change()?);
    }
    judge(&current, &shown, &history, &mut findings);
    Ok(findings)
}

/// Reports orders that are undecided although their deadline has passed, the stalest first. Deadlines take effect only while the
/// service runs, so this takes a running service.
///
/// # Errors
/// When the database cannot be read.
/// When the database cannot be read.
pub async fn overdue(service: &ServiceHandle, findings: &mut Findings) -> Result<(), Fault> {
    let query = InstanceQuery {
        saga: Some(PlaceOrder::NAME.to_owned()),
        state: Some(InstanceState::Running),
        open: true,
        order: InstanceOrder::Stalest,
        limit: 500,
        ..InstanceQuery::default()
    };
    let latest = service.clock().now().before(GRACE);
    for order in service.sagas().list(&query).await?.0 {
        if order.deadline.is_none_or(|deadline| deadline < latest) && order.attention.is_none() {
            findings.violation(
                Invariant::Orders,
                format!("order {} is undecided, its deadline has passed, and its saga does not need attention", order.saga_id),
            );
        }
    }
    Ok(())
}

/// How long after its deadline an order can be undecided without being reported.
const GRACE: Duration = Duration::from_secs(60);

fn judge(order_id: &str, shown: &str, history: &[Change], findings: &mut Findings) {
    if history.is_empty() {
        return;
    }
    let Some(order) = Order::fold(history) else {
        return findings
            .violation(Invariant::Orders, format!("the history of order {order_id} does not begin with its creation"));
    };
    if order.status.as_str() != shown {
        findings.violation(Invariant::Orders, format!("order {order_id} shows {shown}, its history makes it {}", order.status));
    }
    let ends = history.iter().filter(|change| matches!(change, Change::Confirmed(_) | Change::Cancelled(_))).count();
    if ends != usize::from(order.status.is_final()) {
        findings.violation(Invariant::Orders, format!("order {order_id} is {}, and has ended {ends} times", order.status));
    }
    for (index, change) in history.iter().enumerate() {
        let kind = std::mem::discriminant(change);
        if history[..index].iter().any(|earlier| std::mem::discriminant(earlier) == kind) {
            findings
                .violation(Invariant::Effects, format!("order {order_id} has the same event twice in its history: {change:?}"));
        }
    }
    let total = order.total.minor_units();
    match order.status {
        status if status.is_confirmed() => {
            findings.confirmed += 1;
            findings.confirmed_total = findings.confirmed_total.saturating_add(total);
        }
        OrderStatus::Cancelled => findings.cancelled += 1,
        _ => {
            findings.in_flight += 1;
            findings.in_flight_total = findings.in_flight_total.saturating_add(total);
        }
    }
}
