//! The invariants of the whole system, checkable at any time.
//!
//! Each service audits its own data and answers with [`Findings`]; the order service asks the others and compares. When nothing
//! runs, `ecommerce check` audits the files itself.

pub(crate) mod command;
mod peers;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub(crate) use command::check;
pub use peers::{Others, Peers};

/// What must always hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub enum Invariant {
    /// For every product: available + reserved + sold = initial + restocked.
    Stock,
    /// Captured - refunded = total of the confirmed orders.
    Money,
    /// Every order is in exactly one final state, or in flight within its deadline, and its history says the same.
    Orders,
    /// One effect per order and step.
    Effects,
}

impl Invariant {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stock, Self::Money, Self::Orders, Self::Effects];

    /// The invariant in words.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::Stock => "for every product available + reserved + sold = initial + restocked",
            Self::Money => "captured - refunded = total of confirmed orders",
            Self::Orders => "every order is in exactly one final state, or in flight within its deadline",
            Self::Effects => "one effect per order and step",
        }
    }
}

/// Where an invariant does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Violation {
    /// The invariant.
    pub invariant: Invariant,
    /// Where, in words.
    pub detail: String,
}

/// What a service finds in its own data. Sums are in minor units; a service that does not know a number leaves it 0.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Findings {
    /// What breaks the rules; at most [`Findings::MOST`].
    pub violations: Vec<Violation>,
    /// Orders that stand.
    pub confirmed: u64,
    /// What they cost.
    pub confirmed_total: i64,
    /// Orders that came to nothing.
    pub cancelled: u64,
    /// Orders that have not ended.
    pub in_flight: u64,
    /// What they cost.
    pub in_flight_total: i64,
    /// What was taken from customers.
    pub captured: i64,
    /// What was given back to them.
    pub refunded: i64,
}

impl Findings {
    /// How many violations are listed: one is enough to be wrong.
    pub const MOST: usize = 100;

    /// Adds a violation.
    pub fn violation(&mut self, invariant: Invariant, detail: String) {
        if self.violations.len() < Self::MOST {
            self.violations.push(Violation { invariant, detail });
        }
    }
}

/// The state of the whole system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whether every invariant holds.
    pub ok: bool,
    /// Each invariant.
    pub invariants: Vec<Verdict>,
    /// Orders that stand.
    pub confirmed: u64,
    /// Orders that came to nothing.
    pub cancelled: u64,
    /// Orders that have not ended.
    pub in_flight: u64,
}

/// Whether one invariant holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = InvariantVerdict)]
pub struct Verdict {
    /// The invariant.
    pub name: Invariant,
    /// The invariant in words.
    pub rule: String,
    /// Whether it holds.
    pub ok: bool,
    /// Where it does not.
    pub violations: Vec<String>,
}

impl Report {
    /// Puts together what the order service found before and after the other services were asked.
    pub fn of(before: Findings, others: Others, after: Findings) -> Self {
        let mut all = after.clone();
        match others.inventory {
            Ok(inventory) => all.violations.extend(inventory.violations),
            Err(why) => all.violation(Invariant::Stock, format!("the inventory service cannot be asked: {why}")),
        }
        match others.payment {
            Ok(payment) => {
                // What stood before was paid before; what is paid belongs to an order that stands, or is on its way there.
                let (least, most) = (before.confirmed_total, after.confirmed_total.saturating_add(after.in_flight_total));
                let taken = payment.captured.saturating_sub(payment.refunded);
                if !(least..=most).contains(&taken) {
                    let detail = format!("{taken} cents were kept, at least {least} and at most {most} should have been");
                    all.violation(Invariant::Money, detail);
                }
                all.violations.extend(payment.violations);
            }
            Err(why) => all.violation(Invariant::Money, format!("the payment service cannot be asked: {why}")),
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
