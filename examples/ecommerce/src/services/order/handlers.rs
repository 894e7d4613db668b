//! What the order service reacts to: goods and money decide what becomes of an order.

use std::time::Duration;

use sagas::{event, handler, prelude::*};

use super::{domain::Change, history::OpenOrder};
use crate::contracts::{InventoryInsufficient, InventoryReleased, InventoryReserved, PaymentFailed, PaymentProcessed};

/// What others say about an order.
#[event]
#[derive(Debug, Clone)]
pub enum News {
    /// The goods are held.
    Reserved(InventoryReserved),
    /// The goods are not there.
    Insufficient(InventoryInsufficient),
    /// The goods are for sale again.
    Released(InventoryReleased),
    /// The money is there.
    Paid(PaymentProcessed),
    /// The money was refused.
    PaymentFailed(PaymentFailed),
}

impl From<News> for Change {
    fn from(news: News) -> Self {
        match news {
            News::Reserved(event) => Self::Reserved(event),
            News::Insufficient(event) => Self::Insufficient(event),
            News::Released(event) => Self::Released(event),
            News::Paid(event) => Self::Paid(event),
            News::PaymentFailed(event) => Self::PaymentFailed(event),
        }
    }
}

impl News {
    fn order_id(&self) -> crate::contracts::OrderId {
        match self {
            Self::Reserved(event) => event.order_id,
            Self::Insufficient(event) => event.order_id,
            Self::Released(event) => event.order_id,
            Self::Paid(event) => event.order_id,
            Self::PaymentFailed(event) => event.order_id,
        }
    }
}

/// How long an event that overtook its cause waits for it, so that the history tells the flow in its order. The order comes out
/// right without it too.
const PATIENCE: Duration = Duration::from_secs(2);

/// Takes what others say into the order's history, and confirms or cancels the order when it is decided.
#[handler]
pub async fn follow(On(news): On<News>, mut tx: Tx, meta: Meta) -> Result<(), Failure> {
    let order_id = news.order_id();
    let Some(mut open) = OpenOrder::load(&mut tx, order_id).await? else {
        return Err(Failure::dead(format!("there is no order {order_id}")));
    };
    let change = Change::from(news);
    if open.order.is_overtaken_by(&change) && meta.now.since(meta.envelope.time) < PATIENCE {
        return Err(Failure::Later(Duration::from_millis(50)));
    }
    if !open.take(&change, &meta.envelope.id, meta.envelope.causation_id.clone(), tx.now())? {
        return Ok(());
    }
    if let Some(decision) = open.order.decide(&change) {
        open.carry_out(decision, &meta.envelope.id, &mut tx)?;
    }
    open.save(&mut tx).await?;
    Ok(())
}
