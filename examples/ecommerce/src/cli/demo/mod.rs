//! The demo: plays the scenarios of an order against the running system, as a customer would, and shows what happened.

mod flows;
mod stage;
mod timeline;

use std::time::Duration;

use serde::Serialize;

use self::{
    stage::Stage,
    timeline::{Moment, Timeline},
};
use super::Output;
use crate::{
    client::{CallError, Client},
    contracts::OrderStatus,
};

/// A scenario of an order that the demo can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Happy,
    InventoryInsufficient,
    PaymentFailed,
    NotificationFailed,
    Cancelled,
    GatewayDown,
}

/// Those that end quickly and without an operator.
pub(crate) const SHORT: &[Flow] = &[Flow::Happy, Flow::InventoryInsufficient, Flow::PaymentFailed, Flow::Cancelled];
/// All of them.
pub(crate) const ALL: &[Flow] = &[
    Flow::Happy,
    Flow::InventoryInsufficient,
    Flow::PaymentFailed,
    Flow::NotificationFailed,
    Flow::Cancelled,
    Flow::GatewayDown,
];

impl Flow {
    const fn number(self) -> u8 {
        match self {
            Self::Happy => 1,
            Self::InventoryInsufficient => 2,
            Self::PaymentFailed => 3,
            Self::NotificationFailed => 4,
            Self::Cancelled => 5,
            Self::GatewayDown => 6,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Happy => "everything is there, and paid",
            Self::InventoryInsufficient => "the goods are not there",
            Self::PaymentFailed => "the payment is declined, and the goods are given back",
            Self::NotificationFailed => "the customer cannot be notified at first",
            Self::Cancelled => "the customer cancels while the payment is taken, which is refunded",
            Self::GatewayDown => "the payment gateway is down for a while",
        }
    }

    /// The events of the scenario.
    const fn events(self) -> &'static [&'static str] {
        match self {
            Self::Happy | Self::NotificationFailed | Self::GatewayDown => {
                &["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed"]
            }
            Self::InventoryInsufficient => &["OrderCreated", "InventoryInsufficient", "OrderCancelled"],
            Self::PaymentFailed => &["OrderCreated", "InventoryReserved", "PaymentFailed", "InventoryReleased", "OrderCancelled"],
            Self::Cancelled => &[
                "OrderCreated",
                "InventoryReserved",
                "OrderCancelled",
                "InventoryReleased",
                "PaymentProcessed",
                "PaymentRefunded",
            ],
        }
    }

    /// Returns whether `history` has exactly these events, each once. Their order does not matter: the tracker can receive events
    /// of several topics in any order.
    fn is_that_of<'h>(self, history: impl Iterator<Item = &'h str>) -> bool {
        let mut history: Vec<_> = history.collect();
        let mut events = self.events().to_vec();
        history.sort_unstable();
        events.sort_unstable();
        history == events
    }
}

/// The result of one scenario.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Played {
    flow: u8,
    title: &'static str,
    ok: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<String>,
    #[serde(flatten)]
    shown: Option<Shown>,
}

/// The order of one scenario.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    order_id: String,
    status: OrderStatus,
    saga: String,
    timeline: Vec<Moment>,
}

/// Why a scenario did not end as expected.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Something did not happen in time.
    #[error("{what} did not happen within {} s", .patience.as_secs())]
    TooLate { what: &'static str, patience: Duration },
    /// Something unexpected happened.
    #[error("{0}")]
    Unexpected(String),
}

/// Plays `flows`, one after another, and returns whether all of them ended as expected.
pub(crate) async fn play(client: &Client, flows: &[Flow], output: Output) -> bool {
    let stage = Stage::new(client.clone());
    let mut as_they_should = true;
    for flow in flows {
        output.say(format_args!("\nFlow {}: {}", flow.number(), flow.title()));
        let (result, order) = flows::play(&stage, *flow, output).await;
        let mut played = Played { flow: flow.number(), title: flow.title(), ok: result.is_ok(), problem: None, shown: None };
        played.problem = result.err().map(|problem| problem.to_string());
        if let Some(order_id) = order {
            match Timeline::of(&stage, *flow, &order_id).await {
                Ok(timeline) => {
                    output.say(&timeline);
                    let Timeline { status, saga, moments } = timeline;
                    played.shown = Some(Shown { order_id, status, saga, timeline: moments });
                }
                Err(problem) => {
                    played.ok = false;
                    played.problem.get_or_insert(problem.to_string());
                }
            }
        }
        match &played.problem {
            Some(problem) => output.say(format_args!("  ✗ {problem}")),
            None => output.say("  ✓ as it should be"),
        }
        as_they_should &= played.ok;
        output.give(&played);
    }
    output.say("");
    as_they_should
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_is_known_by_its_events_in_any_order() {
        for flow in SHORT {
            let mut backwards = flow.events().to_vec();
            backwards.reverse();
            for other in SHORT {
                assert_eq!(other.is_that_of(backwards.iter().copied()), flow == other, "{flow:?}, {other:?}");
            }
        }
    }

    #[test]
    fn an_event_that_is_missing_or_too_many_is_another_flow() {
        let events = Flow::Happy.events();
        assert!(!Flow::Happy.is_that_of(events[1..].iter().copied()));
        assert!(!Flow::Happy.is_that_of(events.iter().chain(&events[..1]).copied()));
        assert!(!Flow::Happy.is_that_of(std::iter::empty()));
    }
}
