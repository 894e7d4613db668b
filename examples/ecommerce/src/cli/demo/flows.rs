//! The scenarios of the demo, step by step.

use std::time::Duration;

use super::{
    Flow, Output, Problem,
    stage::{Line, Order, Stage},
};
use crate::contracts::{
    Kind,
    NotificationStatus::{Failed, Sent},
    OrderStatus,
};

/// How long a notification can take.
const SOON: Duration = Duration::from_secs(15);
/// How long five attempts to notify the customer can take.
const ATTEMPTS: Duration = Duration::from_secs(75);

/// Plays a scenario, and returns its result and the id of its order.
pub(super) async fn play(stage: &Stage, flow: Flow, output: Output) -> (Result<(), Problem>, Option<String>) {
    // After a simulated outage, the switches are reset whatever the result is.
    match flow {
        Flow::NotificationFailed => {
            let result = told_at_last(stage, output).await;
            let restored = stage.email_outage(false).await;
            (result.0.and(restored), result.1)
        }
        Flow::GatewayDown => {
            let result = paid_at_last(stage, output).await;
            let restored = stage.gateway_outage(false).await;
            (result.0.and(restored), result.1)
        }
        Flow::Cancelled => {
            let result = cancelled_too_late_for_the_payment(stage, output).await;
            let restored = stage.gateway_latency(0).await;
            (result.0.and(restored), result.1)
        }
        Flow::Happy => {
            let placed = stocked(stage, ("tea", 2, "9.90")).await;
            straight(stage, placed, OrderStatus::Completed, Kind::OrderConfirmation).await
        }
        Flow::InventoryInsufficient => {
            let placed = more_than_there_is(stage, "sold-out", "19.00").await;
            straight(stage, placed, OrderStatus::Cancelled, Kind::OrderCancelled).await
        }
        // The gateway declines more than 5,000.00.
        Flow::PaymentFailed => {
            let placed = stocked(stage, ("teapot", 3, "1999.00")).await;
            straight(stage, placed, OrderStatus::Cancelled, Kind::OrderCancelled).await
        }
    }
}

/// Orders an available product, and restocks it first if an earlier sale has left too little.
async fn stocked(stage: &Stage, line: Line) -> Result<Order, Problem> {
    stage.make_room(line).await?;
    stage.place("demo-customer", line).await
}

/// Orders one unit more than is available.
async fn more_than_there_is(stage: &Stage, product: &'static str, price: &'static str) -> Result<Order, Problem> {
    let too_many = stage.available(product).await?.saturating_add(1);
    let too_many = u32::try_from(too_many);
    let too_many =
        too_many.map_err(|_| Problem::Unexpected(format!("there are more units of `{product}` than can be ordered")))?;
    stage.place("demo-customer", (product, too_many, price)).await
}

/// Waits for the end of an order that needs no operator.
async fn straight(
    stage: &Stage,
    placed: Result<Order, Problem>,
    end: OrderStatus,
    told: Kind,
) -> (Result<(), Problem>, Option<String>) {
    let order_id = match placed {
        Ok(order) => order.order_id,
        Err(problem) => return (Err(problem), None),
    };
    let result = async {
        stage.status(&order_id, end).await?;
        stage.notification(&order_id, told, Sent, SOON).await
    };
    (result.await, Some(order_id))
}

/// The e-mail provider is down until the last attempt; a retry of the dead letter then notifies the customer.
async fn told_at_last(stage: &Stage, output: Output) -> (Result<(), Problem>, Option<String>) {
    let placed = async {
        stage.email_outage(true).await?;
        stocked(stage, ("coffee", 1, "14.50")).await
    };
    let order_id = match placed.await {
        Ok(order) => order.order_id,
        Err(problem) => return (Err(problem), None),
    };
    let result = async {
        stage.status(&order_id, OrderStatus::Completed).await?;
        output.say("  The order is complete. E-mails fail; five attempts, up to 15 s …");
        stage.notification(&order_id, Kind::OrderConfirmation, Failed, ATTEMPTS).await?;
        stage.notification(&order_id, Kind::PaymentConfirmation, Failed, ATTEMPTS).await?;
        output.say("  Given up, and kept as dead letters. E-mails work again; the dead letters are retried.");
        stage.email_outage(false).await?;
        stage.retry_dead_letters(&order_id).await?;
        stage.notification(&order_id, Kind::OrderConfirmation, Sent, SOON).await?;
        stage.notification(&order_id, Kind::PaymentConfirmation, Sent, SOON).await
    };
    (result.await, Some(order_id))
}

/// The gateway is down when the order is placed, and recovers a little later.
async fn paid_at_last(stage: &Stage, output: Output) -> (Result<(), Problem>, Option<String>) {
    let placed = async {
        stage.gateway_outage(true).await?;
        stocked(stage, ("mug", 1, "7.25")).await
    };
    let order_id = match placed.await {
        Ok(order) => order.order_id,
        Err(problem) => return (Err(problem), None),
    };
    let result = async {
        stage.payment_waits(&order_id).await?;
        output.say("  The gateway is down: the order waits …");
        stage.breaker_opens(&order_id).await?;
        output.say("  The gateway is back.");
        stage.gateway_outage(false).await?;
        stage.status(&order_id, OrderStatus::Completed).await?;
        stage.notification(&order_id, Kind::OrderConfirmation, Sent, SOON).await
    };
    (result.await, Some(order_id))
}

/// The customer cancels while the gateway processes the charge: the order is cancelled at once, and the charge is refunded once
/// it is complete.
async fn cancelled_too_late_for_the_payment(stage: &Stage, output: Output) -> (Result<(), Problem>, Option<String>) {
    let placed = async {
        stage.gateway_latency(750).await?;
        stocked(stage, ("tea", 3, "9.90")).await
    };
    let order_id = match placed.await {
        Ok(order) => order.order_id,
        Err(problem) => return (Err(problem), None),
    };
    let result = async {
        stage.payment_waits(&order_id).await?;
        stage.cancel(&order_id).await?;
        output.say("  The gateway is being called. The customer cancels …");
        stage.status(&order_id, OrderStatus::Cancelled).await?;
        stage.notification(&order_id, Kind::OrderCancelled, Sent, SOON).await
    };
    (result.await, Some(order_id))
}
