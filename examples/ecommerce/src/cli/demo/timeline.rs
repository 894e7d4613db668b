//! The timeline of an order: the history of its saga instance, and the notifications to the customer.

use std::{fmt, time::Duration};

use sagas::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    Flow, Problem,
    stage::{Order, Stage},
};
use crate::{ServiceName, contracts::OrderStatus};

/// How long the tracker can take to receive all events.
const PATIENCE: Duration = Duration::from_secs(10);

/// The timeline of an order.
#[derive(Debug)]
pub(super) struct Timeline {
    pub(super) status: OrderStatus,
    /// The state of the saga instance.
    pub(super) saga: String,
    pub(super) moments: Vec<Moment>,
}

/// One entry of the timeline.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Moment {
    at: Timestamp,
    service: String,
    event: String,
}

/// The part of a saga instance that the demo reads.
#[derive(Debug, Deserialize)]
struct Saga {
    state: String,
    history: Vec<Happened>,
}

#[derive(Debug, Deserialize)]
struct Happened {
    event: String,
    source: String,
    at: Timestamp,
}

impl Timeline {
    /// Reads the timeline of an order that went through `flow`, once its events are complete.
    pub(super) async fn of(stage: &Stage, flow: Flow, order_id: &str) -> Result<Self, Problem> {
        let path = format!("/sagas/PlaceOrder/{order_id}");
        let whole = stage.wait("the end of the saga", PATIENCE, || async {
            let saga: Saga = stage.get(ServiceName::Order, &path).await?;
            Ok(flow.is_that_of(saga.history.iter().map(|happened| happened.event.as_str())).then_some(()))
        });
        // On a timeout, the error lists the events that exist, to show which are missing.
        let late = whole.await.is_err();
        let saga: Saga = stage.get(ServiceName::Order, &path).await?;
        if late {
            let events: Vec<_> = saga.history.iter().map(|happened| happened.event.as_str()).collect();
            return Err(Problem::Unexpected(format!(
                "the saga had the events {}, and should have {}",
                events.join(", "),
                flow.events().join(", ")
            )));
        }
        let order: Order = stage.get(ServiceName::Order, &format!("/orders/{order_id}")).await?;
        let happened = saga.history.into_iter();
        let mut moments: Vec<_> = happened.map(|Happened { event, source, at }| Moment { at, service: source, event }).collect();
        for told in stage.notifications(order_id).await? {
            let event = format!("Notification{:?} {}", told.status, told.kind);
            moments.push(Moment { at: told.at, service: "notification".to_owned(), event });
        }
        // The sort is stable: events published at the same time stay in the order in which the tracker received them.
        moments.sort_by_key(|moment| moment.at);
        Ok(Self { status: order.status, saga: saga.state, moments })
    }
}

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(first) = self.moments.first() else { return Ok(()) };
        for moment in &self.moments {
            let since = moment.at.since(first.at).as_millis();
            writeln!(f, "  {since:>7} ms  {:<13} {}", moment.service, moment.event)?;
        }
        write!(f, "  the order is {}, its saga {}", self.status, self.saga)
    }
}
