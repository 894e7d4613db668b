//! What happened to an order, moment by moment.

use std::fmt;

use sagas::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Problem,
    stage::{Order, Stage},
};
use crate::{ServiceName, contracts::OrderStatus};

/// The history of an order, and what its customer was told.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) status: OrderStatus,
    /// The types of the events that changed the order, in the order of their effect.
    pub(super) history: Vec<String>,
    pub(super) moments: Vec<Moment>,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Moment {
    at: Timestamp,
    service: &'static str,
    event: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HistoryEvent {
    #[serde(rename = "type")]
    event_type: String,
    occurred_at: Timestamp,
}

impl Timeline {
    /// Reads what happened to an order.
    pub(super) async fn of(stage: &Stage, order_id: &str) -> Result<Self, Problem> {
        let order: Order = stage.get(ServiceName::Order, &format!("/orders/{order_id}")).await?;
        let history: Vec<HistoryEvent> = stage.get(ServiceName::Order, &format!("/orders/{order_id}/events")).await?;
        let types = history.iter().map(|event| event.event_type.clone()).collect();
        let mut moments: Vec<_> = history
            .into_iter()
            .map(|event| Moment { at: event.occurred_at, service: publisher(&event.event_type), event: event.event_type })
            .collect();
        for told in stage.notifications(order_id).await? {
            let what = format!("Notification{:?} {}", told.status, told.kind);
            moments.push(Moment { at: told.at, service: "notification", event: what });
        }
        // Stable: what the order took in at the same moment stays in the order of its effect.
        moments.sort_by_key(|moment| moment.at);
        Ok(Self { status: order.status, history: types, moments })
    }
}

fn publisher(event: &str) -> &'static str {
    match event {
        event if event.starts_with("Inventory") => "inventory",
        event if event.starts_with("Payment") => "payment",
        _ => "order",
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.moments.first() else { return Ok(()) };
        for moment in &self.moments {
            let since = moment.at.since(first.at).as_millis();
            writeln!(f, "  {since:>7} ms  {:<13} {}", moment.service, moment.event)?;
        }
        write!(f, "  the order is {}", self.status)
    }
}
