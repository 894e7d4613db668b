//! The invariants of the whole system. They hold at any time.
//!
//! Each service audits its own data and returns [`Findings`]; the order service queries the others and compares. When no service
//! runs, `ecommerce check` audits the data itself.

mod peers;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use peers::{Others, Peers};

/// A rule that always holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Invariant {
    /// For every product: available + reserved + sold = initial + restocked.
    Stock,
    /// Captured - refunded = total of the confirmed orders.
    Money,
    /// Every order is in exactly one final state, or in flight within its deadline, and its history results in the same state.
    Orders,
    /// Each step has one effect for each order.
    Effects,
}

impl Invariant {
    /// All invariants.
    pub const ALL: [Self; 4] = [Self::Stock, Self::Money, Self::Orders, Self::Effects];

    /// Returns the invariant as a sentence.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Stock => "for every product available + reserved + sold = initial + restocked",
            Self::Money => "captured - refunded = total of confirmed orders",
            Self::Orders => "every order is in exactly one final state, or in flight within its deadline",
            Self::Effects => "one effect per order and step",
        }
    }
}

/// A violation of an invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// A description of what violates it.
    pub detail: String,
}

/// What a service finds in its own data. Sums are in minor units; a service leaves a number 0 if its data does not contain it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Findings {
    /// Violations of invariants; at most [`Findings::MOST`].
    pub violations: Vec<Violation>,
    /// The number of confirmed orders.
    pub confirmed: u64,
    /// The total of the confirmed orders.
    pub confirmed_total: i64,
    /// The number of cancelled orders.
    pub cancelled: u64,
    /// The number of orders that have not ended.
    pub in_flight: u64,
    /// The total of the orders that have not ended.
    pub in_flight_total: i64,
    /// The sum that customers were charged.
    pub captured: i64,
    /// The sum that customers were refunded.
    pub refunded: i64,
}

impl Findings {
    /// The maximum number of listed violations.
    pub const MOST: usize = 100;

    /// Adds a violation, unless there are [`Findings::MOST`] already.
    pub fn violation(&mut self, invariant: Invariant, detail: String) {
        if self.violations.len() < Self::MOST {
            self.violations.push(Violation { invariant, detail });
        }
    }
}

/// The result of a check of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every invariant holds.
    pub ok: bool,
    /// The result for each invariant.
    pub invariants: Vec<Verdict>,
    /// The number of confirmed orders.
    pub confirmed: u64,
    /// The number of cancelled orders.
    pub cancelled: u64,
    /// The number of orders that have not ended.
    pub in_flight: u64,
}

/// The result for one invariant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InvariantVerdict)]
pub struct Verdict {
    /// The invariant.
    pub name: Invariant,
    /// The invariant as a sentence.
    pub rule: String,
    /// Whether the invariant holds.
    pub ok: bool,
    /// The violations.
    pub violations: Vec<String>,
}

impl Report {
    /// Combines what the order service found before and after it queried the other services with their findings.
    pub fn of(before: Findings, others: Others, after: Findings) -> Self {
        let mut all = after.clone();
        match others.inventory {
            Ok(inventory) => all.violations.extend(inventory.violations),
            Err(why) => all.violation(Invariant::Stock, format!("the inventory service cannot be queried: {why}")),
        }
        match others.payment {
            Ok(payment) => {
                // An order that was confirmed before the query has been paid by then. A payment belongs to an order that is
                // confirmed or in flight after the query.
                let (least, most) = (before.confirmed_total, after.confirmed_total.saturating_add(after.in_flight_total));
                let taken = payment.captured.saturating_sub(payment.refunded);
                if !(least..=most).contains(&taken) {
                    let detail = format!("{taken} cents were kept, at least {least} and at most {most} should have been");
                    all.violation(Invariant::Money, detail);
                }
                all.violations.extend(payment.violations);
            }
            Err(why) => all.violation(Invariant::Money, format!("the payment service cannot be queried: {why}")),
        }
        let invariants: Vec<_> = Invariant::ALL
            .into_iter()
            .map(|name| {
                let of_this = all.violations.iter().filter(|violation| violation.invariant == name);
                let violations: Vec<_> = of_this.map(|violation| violation.detail.clone()).collect();
                Verdict { name, rule: name.sentence().to_owned(), ok: violations.is_empty(), violations }
            })
            .collect();
        Self {
            ok: invariants.iter().all(|verdict| verdict.ok),
            invariants,
            confirmed: after.confirmed,
            cancelled: after.cancelled,
            in_flight: after.in_flight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orders(confirmed_total: i64, in_flight_total: i64) -> Findings {
        Findings { confirmed_total, in_flight_total, ..Findings::default() }
    }

    fn taken(captured: i64, refunded: i64) -> Others {
        Others { inventory: Ok(Findings::default()), payment: Ok(Findings { captured, refunded, ..Findings::default() }) }
    }

    #[test]
    fn money_must_match_what_stands() {
        let quiet = || orders(500, 0);
        let cases = [
            (quiet(), taken(500, 0), quiet(), true),
            (quiet(), taken(700, 200), quiet(), true),
            (quiet(), taken(501, 0), quiet(), false),
            (quiet(), taken(499, 0), quiet(), false),
            (orders(500, 100), taken(600, 0), orders(550, 50), true),
            (orders(500, 100), taken(601, 0), orders(550, 50), false),
        ];
        for (before, others, after, ok) in cases {
            assert_eq!(Report::of(before.clone(), others.clone(), after).ok, ok, "{before:?} {others:?}");
        }
    }

    #[test]
    fn a_service_that_cannot_be_asked_is_no_proof() {
        let others = Others { inventory: Err("connection refused".to_owned()), ..taken(0, 0) };
        let report = Report::of(orders(0, 0), others, orders(0, 0));
        let failed: Vec<_> = report.invariants.iter().filter(|verdict| !verdict.ok).map(|verdict| verdict.name).collect();
        assert_eq!((report.ok, failed), (false, vec![Invariant::Stock]));
    }
}
