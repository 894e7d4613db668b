//! Calls to the gateway behind a circuit breaker, which stops calling after repeated failures and tries again after a wait.

use std::time::Duration;

use failsafe::{
    Config, Error, StateMachine,
    backoff::{self, Exponential},
    failure_policy::{self, ConsecutiveFailures},
    futures::CircuitBreaker as _,
};
use sagas::{metrics::Metrics, time::Clock};

use super::{
    gateway::{Gateway, GatewayError, Verdict},
    series::{Ended, GatewaySeries},
};
use crate::contracts::{Money, OrderId};

/// The timeout of one call.
const PATIENCE: Duration = Duration::from_secs(10);
/// The number of consecutive failures that open the breaker.
const FAILURES: u32 = 3;

/// The gateway behind a circuit breaker. Cheap to clone.
#[derive(Clone)]
pub struct Terminal {
    gateway: Gateway,
    breaker: StateMachine<ConsecutiveFailures<Exponential>, GatewaySeries>,
    series: GatewaySeries,
    clock: Clock,
}

/// Why the gateway cannot be called now.
#[derive(Debug, thiserror::Error)]
pub enum NotNow {
    /// The breaker is open, and the gateway was not called.
    #[error("the payment gateway is not called, because it has failed too often")]
    Open,
    /// The gateway was called, and failed.
    #[error(transparent)]
    Failed(GatewayError),
}

impl Terminal {
    /// Creates a terminal for `gateway`.
    pub fn new(gateway: Gateway, clock: Clock) -> Self {
        let waits = backoff::exponential(Duration::from_secs(1), Duration::from_secs(4));
        let series = GatewaySeries::default();
        let breaker = Config::new().failure_policy(failure_policy::consecutive_failures(FAILURES, waits));
        Self { gateway, breaker: breaker.instrument(series.clone()).build(), series, clock }
    }

    /// Returns the gateway, for its switches.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// Returns whether the breaker is open, so that calls are rejected.
    pub fn is_open(&self) -> bool {
        !self.breaker.is_call_permitted()
    }

    /// Registers the terminal's series with `metrics`.
    pub(super) fn show(&self, metrics: &Metrics) {
        self.series.show(metrics);
    }

    /// Charges `amount` for an order, once for each `key`.
    ///
    /// # Errors
    /// When the breaker is open, or when the gateway does not answer.
    pub async fn charge(&self, key: &str, order_id: OrderId, amount: Money) -> Result<Verdict, NotNow> {
        self.call(self.gateway.charge(key, order_id, amount)).await
    }

    /// Ensures that a charge with `key` takes no money, whatever its outcome was.
    ///
    /// # Errors
    /// When the breaker is open, or when the gateway does not answer.
    pub async fn void(&self, key: &str, order_id: OrderId, amount: Money) -> Result<(), NotNow> {
        self.call(self.gateway.void(key, order_id, amount)).await
    }

    async fn call<T>(&self, call: impl Future<Output = Result<T, GatewayError>>) -> Result<T, NotNow> {
        let call = async {
            tokio::select! {
                answer = call => answer,
                () = self.clock.sleep(PATIENCE) => Err(GatewayError::Timeout(PATIENCE)),
            }
        };
        let began = self.clock.now();
        let answer = self.breaker.call(call).await;
        let how = match &answer {
            Ok(_) => Ended::Answered,
            Err(Error::Inner(_)) => Ended::Failed,
            Err(Error::Rejected) => Ended::NotAsked,
        };
        self.series.ended(how, self.clock.now().since(began));
        answer.map_err(|error| match error {
            Error::Rejected => NotNow::Open,
            Error::Inner(error) => NotNow::Failed(error),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use sagas::{id::IdSource, time::Timestamp};
    use uuid::Uuid;

    use super::*;
    use crate::services::payment::{gateway::SwitchesChange, ledger::Ledger};

    async fn terminal(clock: &Clock) -> Terminal {
        let gateway = Gateway::new(Ledger::memory().await.unwrap(), clock.clone(), IdSource::seeded(1));
        Terminal::new(gateway, clock.clone())
    }

    fn order() -> OrderId {
        OrderId(Uuid::nil())
    }

    #[tokio::test]
    async fn a_charge_happens_once_per_key() {
        let terminal = terminal(&Clock::system()).await;
        let charge = async |key: &str, cents| terminal.charge(key, order(), Money::eur(cents)).await.unwrap();
        assert_eq!(charge("one", 500_000).await, Verdict::Captured);
        assert_eq!(charge("two", 500_001).await, Verdict::Declined("payment declined: amount above 5000.00".to_owned()));
        terminal.gateway().switch(&SwitchesChange { decline_rate: Some(1.0), ..SwitchesChange::default() });
        assert_eq!(charge("one", 500_000).await, Verdict::Captured, "the answer to a key stands");
        assert_eq!(charge("three", 1).await, Verdict::Declined("payment declined by the bank".to_owned()));
        assert_eq!(terminal.gateway().charged_twice().await.unwrap(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_is_voided_takes_nothing_before_or_after() {
        let terminal = terminal(&Clock::system()).await;
        let amount = Money::eur(100);
        assert_eq!(terminal.charge("before", order(), amount).await.unwrap(), Verdict::Captured);
        assert_eq!(terminal.gateway().kept().await.unwrap().into_iter().collect::<Vec<_>>(), [order().to_string()]);
        for _ in 0..2 {
            terminal.void("before", order(), amount).await.unwrap();
            terminal.void("after", order(), amount).await.unwrap();
        }
        assert_eq!(terminal.charge("after", order(), amount).await.unwrap(), Verdict::Declined("payment voided".to_owned()));
        assert!(terminal.gateway().kept().await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn the_breaker_opens_after_failures_in_a_row() {
        let (terminal, metrics) = (terminal(&Clock::system()).await, Metrics::new("payment"));
        terminal.show(&metrics);
        assert!(metrics.render().contains(r#"payment_gateway_breaker_open{service="payment"} 0"#));
        terminal.gateway().switch(&SwitchesChange { outage: Some(true), ..SwitchesChange::default() });
        for _ in 0..FAILURES {
            let error = terminal.charge("key", order(), Money::eur(1)).await.unwrap_err();
            assert!(matches!(error, NotNow::Failed(GatewayError::Outage)), "{error}");
        }
        assert!(terminal.is_open());
        let shown = metrics.render();
        for line in [
            r#"payment_gateway_breaker_open{service="payment"} 1"#.to_owned(),
            format!(r#"payment_gateway_calls_total{{service="payment",outcome="failed"}} {FAILURES}"#),
            format!(r#"payment_gateway_call_duration_seconds_count{{service="payment"}} {FAILURES}"#),
        ] {
            assert!(shown.lines().any(|shown| shown == line), "no {line} in {shown}");
        }
        let error = terminal.charge("key", order(), Money::eur(1)).await.unwrap_err();
        assert!(matches!(error, NotNow::Open), "{error}");
    }

    #[tokio::test]
    async fn a_call_is_given_up_in_time() {
        let clock = Clock::manual(Timestamp::from_millis(0));
        let terminal = terminal(&clock).await;
        terminal.gateway().switch(&SwitchesChange { latency_ms: Some(600_000), ..SwitchesChange::default() });
        let advance = async {
            tokio::task::yield_now().await;
            clock.advance(PATIENCE);
        };
        let (charged, ()) = tokio::join!(terminal.charge("key", order(), Money::eur(1)), advance);
        assert!(matches!(charged.unwrap_err(), NotNow::Failed(GatewayError::Timeout(PATIENCE))));
    }
}
