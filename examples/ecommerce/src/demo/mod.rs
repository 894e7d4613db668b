//! The demo: plays the flows of an order against the running system, as a customer would, and shows what happened.

mod flows;
mod stage;
mod timeline;

use std::time::Duration;

use serde::Serialize;

use self::{
    stage::Stage,
    timeline::{Moment, Timeline},
};
use crate::{
    app::Output,
    client::{CallError, Client},
    contracts::OrderStatus,
};

/// A flow that the demo can play.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flow {
    Happy,
    InventoryInsufficient,
    PaymentFailed,
    NotificationFailed,
    GatewayDown,
}

/// The flows that end by themselves, at once.
pub(crate) const SHORT: &[Flow] = &[Flow::Happy, Flow::InventoryInsufficient, Flow::PaymentFailed];
/// All of them.
pub(crate) const ALL: &[Flow] =
    &[Flow::Happy, Flow::InventoryInsufficient, Flow::PaymentFailed, Flow::NotificationFailed, Flow::GatewayDown];

impl Flow {
    const fn number(self) -> u8 {
        match self {
            Self::Happy => 1,
            Self::InventoryInsufficient => 2,
            Self::PaymentFailed => 3,
            Self::NotificationFailed => 4,
            Self::GatewayDown => 6,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::Happy => "everything is there, and paid",
            Self::InventoryInsufficient => "the goods are not there",
            Self::PaymentFailed => "the payment is declined, and the goods are given back",
            Self::NotificationFailed => "the customer cannot be told at first",
            Self::GatewayDown => "the payment gateway is down for a while",
        }
    }

    /// The events that take an order through the flow.
    const fn path(self) -> &'static [&'static str] {
        match self {
            Self::Happy | Self::NotificationFailed | Self::GatewayDown => {
                &["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed"]
            }
            Self::InventoryInsufficient => &["OrderCreated", "InventoryInsufficient", "OrderCancelled"],
            Self::PaymentFailed => &["OrderCreated", "InventoryReserved", "PaymentFailed", "InventoryReleased", "OrderCancelled"],
        }
    }

    /// Whether `history` is that of an order which took this flow's path.
    ///
    /// An event that arrives, on its own topic, after the one it led to has no effect on the order and is not in its history. So
    /// steps in the middle can be missing, but never the last two: the decision, and what it was decided on.
    fn check(self, history: &[String]) -> Result<(), Problem> {
        let path = self.path();
        let mut steps = path.iter();
        let in_order = history.iter().all(|event| steps.any(|step| step == event));
        let begins = history.first().is_some_and(|event| path.first().is_some_and(|step| step == event));
        let ends = path.iter().rev().take(2).eq(history.iter().rev().take(2));
        if in_order && begins && ends {
            return Ok(());
        }
        Err(Problem::Unexpected(format!("the order went {}, and should go {}", history.join(", "), path.join(", "))))
    }
}

/// What came of a flow.
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

/// The order that went through a flow.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    order_id: String,
    status: OrderStatus,
    timeline: Vec<Moment>,
}

/// Why a flow did not end as it should.
#[derive(Debug, thiserror::Error)]
enum Problem {
    /// A call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Something did not happen.
    #[error("{what} did not happen within {} s", .patience.as_secs())]
    TooLate { what: &'static str, patience: Duration },
    /// Something else happened.
    #[error("{0}")]
    Unexpected(String),
}

/// Plays `flows`, one after the other, and says whether all of them ended as they should.
pub(crate) async fn play(client: &Client, flows: &[Flow], output: Output) -> bool {
    let stage = Stage::new(client.clone());
    let mut as_they_should = true;
    for flow in flows {
        output.say(format_args!("\nFlow {}: {}", flow.number(), flow.title()));
        let (result, order) = flows::play(&stage, *flow, output).await;
        let mut played = Played { flow: flow.number(), title: flow.title(), ok: result.is_ok(), problem: None, shown: None };
        played.problem = result.err().map(|problem| problem.to_string());
        if let Some(order_id) = order {
            match Timeline::of(&stage, &order_id).await {
                Ok(timeline) => {
                    output.say(&timeline);
                    let Timeline { status, history, moments } = timeline;
                    // A flow that came to nothing says so itself.
                    if let (true, Err(problem)) = (played.ok, flow.check(&history)) {
                        played.ok = false;
                        played.problem = Some(problem.to_string());
                    }
                    played.shown = Some(Shown { order_id, status, timeline: moments });
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

    fn fits(flow: Flow, history: &[&str]) -> bool {
        flow.check(&history.iter().map(ToString::to_string).collect::<Vec<_>>()).is_ok()
    }

    #[test]
    fn an_order_fits_the_flow_whose_path_it_took_and_no_other() {
        for flow in SHORT {
            for other in SHORT {
                assert_eq!(fits(*flow, other.path()), flow == other, "{flow:?}, {other:?}");
            }
        }
    }

    #[test]
    fn a_cause_that_was_overtaken_may_be_missing_but_not_the_end() {
        assert!(fits(Flow::Happy, &["OrderCreated", "PaymentProcessed", "OrderConfirmed"]));
        assert!(fits(Flow::PaymentFailed, &["OrderCreated", "InventoryReserved", "InventoryReleased", "OrderCancelled"]));
        for bad in [
            &[][..],
            &["OrderCreated"],
            &["OrderCreated", "InventoryReserved", "PaymentProcessed"],
            &["OrderCreated", "PaymentProcessed", "InventoryReserved", "OrderConfirmed"],
            &["OrderCreated", "InventoryReserved", "OrderConfirmed"],
            &["InventoryReserved", "PaymentProcessed", "OrderConfirmed"],
            &["OrderCreated", "InventoryReserved", "PaymentProcessed", "OrderConfirmed", "OrderShipped"],
        ] {
            assert!(!fits(Flow::Happy, bad), "{bad:?}");
        }
    }
}
