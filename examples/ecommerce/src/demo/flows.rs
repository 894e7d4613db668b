//! The flows, step by step.

use std::time::Duration;

use super::{
    Flow, Problem,
    stage::{Line, Order, Stage},
};
use crate::{
    app::Output,
    contracts::{
        Kind,
        NotificationStatus::{Failed, Sent},
        OrderStatus,
    },
};

/// How long the customer should have to wait to be told.
const SOON: Duration = Duration::from_secs(15);
/// How long five attempts to tell the customer take at most.
const ATTEMPTS: Duration = Duration::from_secs(75);

/// Plays a flow; says how it went, and which order went through it.
pub(super) async fn play(stage: &Stage, flow: Flow, output: Output) -> (Result<(), Problem>, Option<String>) {
    // Whatever goes wrong on the way, the outage ends.
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

/// Orders what is there, after putting it there if need be: what was sold before must not send the order another way.
async fn stocked(stage: &Stage, line: Line) -> Result<Order, Problem> {
    stage.make_room(line).await?;
    stage.place("demo-customer", line).await
}

/// Orders one unit more than there is.
async fn more_than_there_is(stage: &Stage, product: &'static str, price: &'static str) -> Result<Order, Problem> {
    let too_many = stage.available(product).await?.saturating_add(1);
    let too_many = u32::try_from(too_many);
    let too_many =
        too_many.map_err(|_| Problem::Unexpected(format!("there are more units of `{product}` than can be ordered")))?;
    stage.place("demo-customer", (product, too_many, price)).await
}

/// An order that ends without anybody's help.
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

/// The e-mail provider is down until the attempts have ended; retrying the dead letter tells the customer.
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

/// The gateway is down when the order comes, and back a little later.
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

/// The customer cancels while the gateway takes the money: the order is cancelled at once, and the payment refunded when it is there.
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
        output.say("  The gateway is being asked. The customer cancels …");
        stage.status(&order_id, OrderStatus::Cancelled).await?;
        stage.notification(&order_id, Kind::OrderCancelled, Sent, SOON).await
    };
    (result.await, Some(order_id))
}
