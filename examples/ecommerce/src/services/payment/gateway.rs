//! A simulated payment gateway: an external system with its own storage, and with switches that make it misbehave.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sagas::{id::IdSource, time::Clock};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::ledger::Ledger;
use crate::{
    contracts::{Amount, Money, OrderId, amount_or_null},
    services::given,
};

/// How the gateway behaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
#[schema(as = Gateway)]
#[serde(rename_all = "camelCase")]
pub struct Switches {
    /// The share of charges that the gateway declines at random.
    #[schema(minimum = 0, maximum = 1)]
    pub decline_rate: f64,
    /// The gateway declines every amount above this one; null for no limit.
    #[schema(required)]
    pub decline_above: Option<Amount>,
    /// The latency of each answer, in milliseconds.
    #[schema(maximum = 600_000)]
    pub latency_ms: u64,
    /// Whether every call fails.
    pub outage: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { decline_rate: 0.0, decline_above: Some(Amount(Money::eur(500_000))), latency_ms: 0, outage: false }
    }
}

/// A change of the switches. Switches that are left out do not change.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = GatewayChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchesChange {
    /// As in [`Switches`].
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    pub decline_rate: Option<f64>,
    /// As in [`Switches`]; `null` removes the limit.
    #[serde(default, deserialize_with = "none_or_some")]
    #[schema(schema_with = amount_or_null)]
    pub decline_above: Option<Option<Amount>>,
    /// As in [`Switches`].
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, maximum = 600_000)]
    pub latency_ms: Option<u64>,
    /// As in [`Switches`].
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false)]
    pub outage: Option<bool>,
}

fn none_or_some<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<Amount>>, D::Error> {
    // Reads the raw value to distinguish `null`, which removes the limit, from an amount. A missing field does not get here.
    let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
    if raw.get() == "null" {
        return Ok(Some(None));
    }
    raw.get().parse().map(|amount| Some(Some(amount))).map_err(serde::de::Error::custom)
}

/// The gateway's answer to a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The customer was charged.
    Captured,
    /// The customer was not charged, for this reason.
    Declined(String),
}

/// An error of the gateway. It is unknown whether the customer was charged.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The gateway answered with an error.
    #[error("the payment gateway is out of order")]
    Outage,
    /// The gateway did not answer.
    #[error("the payment gateway did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// The gateway's database failed.
    #[error("the payment gateway failed: {0}")]
    Ledger(#[from] sqlx::Error),
}

/// The simulated gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    switches: Mutex<Switches>,
    ledger: Ledger,
    clock: Clock,
    ids: IdSource,
}

impl Gateway {
    /// Creates a gateway that stores charges and refunds in `ledger`.
    pub fn new(ledger: Ledger, clock: Clock, ids: IdSource) -> Self {
        Self(Arc::new(Inner { switches: Mutex::default(), ledger, clock, ids }))
    }

    /// Returns the current switches.
    pub fn switches(&self) -> Switches {
        *self.0.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the switches, and returns them.
    pub fn switch(&self, change: &SwitchesChange) -> Switches {
        let mut switches = self.0.switches.lock().unwrap_or_else(PoisonError::into_inner);
        switches.decline_rate = change.decline_rate.unwrap_or(switches.decline_rate);
        switches.decline_above = change.decline_above.unwrap_or(switches.decline_above);
        switches.latency_ms = change.latency_ms.unwrap_or(switches.latency_ms);
        switches.outage = change.outage.unwrap_or(switches.outage);
        *switches
    }

    /// Charges `amount` for an order. A repeated call with the same `key` returns the first answer and charges nothing.
    ///
    /// # Errors
    /// When the gateway is out of order.
    pub async fn charge(&self, key: &str, order_id: OrderId, amount: Money) -> Result<Verdict, GatewayError> {
        let switches = self.reached().await?;
        self.answer(key, order_id, amount, self.judge(&switches, amount)).await
    }

    /// Ensures that a charge with `key` takes no money: refunds a charge that was made, and declines one that is still to come.
    /// Can be repeated.
    ///
    /// # Errors
    /// When the gateway is out of order.
    pub async fn void(&self, key: &str, order_id: OrderId, amount: Money) -> Result<(), GatewayError> {
        self.reached().await?;
        if self.answer(key, order_id, amount, Some("payment voided".to_owned())).await? == Verdict::Captured {
            self.0.ledger.refund(key).await?;
        }
        Ok(())
    }

    /// Waits for the latency and returns the switches, or fails during an outage.
    async fn reached(&self) -> Result<Switches, GatewayError> {
        let switches = self.switches();
        if switches.latency_ms > 0 {
            self.0.clock.sleep(Duration::from_millis(switches.latency_ms)).await;
        }
        if switches.outage { Err(GatewayError::Outage) } else { Ok(switches) }
    }

    /// Returns the answer for `key`: the first answer is stored and never changes.
    async fn answer(
        &self,
        key: &str,
        order_id: OrderId,
        amount: Money,
        declined: Option<String>,
    ) -> Result<Verdict, GatewayError> {
        let declined = self.0.ledger.charge(key, &order_id.to_string(), amount.minor_units(), declined).await?;
        Ok(declined.map_or(Verdict::Captured, Verdict::Declined))
    }

    /// Returns the orders that were charged more than once.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn charged_twice(&self) -> Result<Vec<String>, sqlx::Error> {
        self.0.ledger.charged_twice().await
    }

    /// Returns the orders that were charged and not refunded.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn kept(&self) -> Result<HashSet<String>, sqlx::Error> {
        self.0.ledger.kept().await
    }

    /// Closes the ledger.
    pub async fn close(&self) {
        self.0.ledger.close().await;
    }

    fn judge(&self, switches: &Switches, amount: Money) -> Option<String> {
        match switches.decline_above {
            Some(limit) if !amount.is_within(limit.0) => Some(format!("payment declined: amount above {limit}")),
            _ if self.0.ids.fraction() < switches.decline_rate => Some("payment declined by the bank".to_owned()),
            _ => None,
        }
    }
}
