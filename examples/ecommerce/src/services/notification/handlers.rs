//! What the notification service reacts to.

use std::time::Duration;

use sagas::{Fault, handler, prelude::*};

use super::{
    domain::{self, Notification, Occasion},
    providers::Providers,
};
use crate::contracts::{CustomerId, NotificationFailed, NotificationSent, NotificationStatus, OrderCreated};

/// Remembers who placed an order: most of what there is to tell does not say whom to tell.
#[handler]
pub async fn remember(On(order): On<OrderCreated>, mut tx: Tx) -> Result<(), Failure> {
    Ok(domain::remember_customer(&mut tx, &order).await?)
}

/// Tells the customer, once per order and kind. Providers are asked before the transaction begins; five attempts, within a
/// minute.
#[handler(retry(max = 5, backoff = "1s..15s"), timeout = "10s", exhausted = give_up)]
pub async fn notify(
    On(occasion): On<Occasion>,
    work: Work,
    State(providers): State<Providers>,
    service: ServiceHandle,
    meta: Meta,
) -> Result<Option<NotificationSent>, Failure> {
    if domain::is_sent(service.database(), &occasion).await? {
        return Ok(None);
    }
    let customer_id = match domain::customer(service.database(), &occasion).await? {
        Some(customer_id) => customer_id,
        None => return Err(unknown_customer(&occasion, &meta)),
    };
    let notification = Notification::about(&occasion, customer_id);
    providers.send(notification.channel, notification.customer_id.as_str(), &notification.message).await?;

    let mut tx = work.begin().await?;
    let new = domain::record(&mut tx, &notification, NotificationStatus::Sent, service.ids()).await?;
    Ok(new.then(|| notification.sent()))
}

/// How long an event that overtook its order's creation waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn unknown_customer(occasion: &Occasion, meta: &Meta) -> Failure {
    if meta.now.since(meta.first_seen) < PATIENCE {
        Failure::Later(Duration::from_millis(200))
    } else {
        Failure::dead(format!("nobody has said who placed order {}", occasion.order_id()))
    }
}

/// The attempts have ended: the notification is FAILED, until its dead letter is retried.
pub async fn give_up(
    On(occasion): On<Occasion>,
    mut tx: Tx,
    service: ServiceHandle,
    meta: Meta,
) -> Result<Option<NotificationFailed>, Failure> {
    let Some(customer_id) = known_customer(&mut tx, &occasion).await? else { return Ok(None) };
    let notification = Notification::about(&occasion, customer_id);
    let new = domain::record(&mut tx, &notification, NotificationStatus::Failed, service.ids()).await?;
    let error = meta.last_error.as_deref().unwrap_or("the attempts have ended").to_owned();
    Ok(new.then(|| notification.failed(error)))
}

async fn known_customer(tx: &mut Tx, occasion: &Occasion) -> Result<Option<CustomerId>, Fault> {
    domain::customer(&mut *tx, occasion).await
}
