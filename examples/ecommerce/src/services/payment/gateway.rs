//! A payment gateway, simulated: an outside system with a memory of its own, and switches that make it misbehave.

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
    /// The share of charges that it declines for no reason.
    #[schema(minimum = 0, maximum = 1)]
    pub decline_rate: f64,
    /// It declines every amount above this one.
    #[schema(required)]
    pub decline_above: Option<Amount>,
    /// How long it takes to answer.
    #[schema(maximum = 600_000)]
    pub latency_ms: u64,
    /// Whether it answers with an error, whatever it is asked.
    pub outage: bool,
}

impl Default for Switches {
    fn default() -> Self {
        Self { decline_rate: 0.0, decline_above: Some(Amount(Money::eur(500_000))), latency_ms: 0, outage: false }
    }
}

/// A change of the switches: what is not named stays as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[schema(as = GatewayChange)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SwitchesChange {
    /// As in [`Switches`].
    #[serde(default, deserialize_with = "given")]
    #[schema(nullable = false, minimum = 0, maximum = 1)]
    pub decline_rate: Option<f64>,
    /// As in [`Switches`]; `null` is no limit.
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
    // `Option<Amount>` would hand `null` to the amount's own reader, which refuses it.
    let raw = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
    if raw.get() == "null" {
        return Ok(Some(None));
    }
    raw.get().parse().map(|amount| Some(Some(amount))).map_err(serde::de::Error::custom)
}

/// What the gateway says to a charge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The money was taken.
    Captured,
    /// It was not, for this reason.
    Declined(String),
}

/// The gateway did not answer as it should; whether the money was taken is not known.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// It said so.
    #[error("the payment gateway is out of order")]
    Outage,
    /// It said nothing.
    #[error("the payment gateway did not answer within {} s", .0.as_secs())]
    Timeout(Duration),
    /// Its own memory failed.
    #[error("the payment gateway failed: {0}")]
    Ledger(#[from] sqlx::Error),
}

/// The gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway(Arc<Inner>);

struct Inner {
    switches: Mutex<Switches>,
    ledger: Ledger,
    clock: Clock,
    ids: IdSource,
}

impl Gateway {
    /// The gateway that remembers what it was asked in `ledger`.
    pub fn new(ledger: Ledger, clock: Clock, ids: IdSource) -> Self {
        Self(Arc::new(Inner { switches: Mutex::default(), ledger, clock, ids }))
    }

    /// The switches as they are.
    pub fn switches(&self) -> Switches {
        *self.0.switches.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the switches, and says how they are then.
    pub fn switch(&self, change: &SwitchesChange) -> Switches {
        let mut switches = self.0.switches.lock().unwrap_or_else(PoisonError::into_inner);
        switches.decline_rate = change.decline_rate.unwrap_or(switches.decline_rate);
        switches.decline_above = change.decline_above.unwrap_or(switches.decline_above);
        switches.latency_ms = change.latency_ms.unwrap_or(switches.latency_ms);
        switches.outage = change.outage.unwrap_or(switches.outage);
        *switches
    }

    /// Charges `amount` for an order; asked again under the same `key`, it answers as it did before and takes nothing.
    ///
    /// # Errors
    /// When the gateway is out of order.
    pub async fn charge(&self, key: &str, order_id: OrderId, amount: Money) -> Result<Verdict, GatewayError> {
        let switches = self.reached().await?;
        self.answer(key, order_id, amount, self.judge(&switches, amount)).await
    }

    /// Sees to it that a charge under `key` takes nothing: gives back what it took, or declines it when it comes. Asked again, it
    /// does nothing.
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

    /// The way to the gateway: the switches as they are when it is reached.
    async fn reached(&self) -> Result<Switches, GatewayError> {
        let switches = self.switches();
        if switches.latency_ms > 0 {
            self.0.clock.sleep(Duration::from_millis(switches.latency_ms)).await;
        }
        if switches.outage { Err(GatewayError::Outage) } else { Ok(switches) }
    }

    /// The answer to `key`: the first one is the one that counts.
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

    /// Orders that were charged more than once.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn charged_twice(&self) -> Result<Vec<String>, sqlx::Error> {
        self.0.ledger.charged_twice().await
    }

    /// Orders whose money is here: it was taken, and not given back.
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
