//! The handlers of the notification service.

use std::time::Duration;

use sagas::{Fault, handler, prelude::*};

use super::{
    domain::{self, Notification, Occasion},
    providers::Providers,
};
use crate::contracts::{CustomerId, NotificationFailed, NotificationSent, NotificationStatus, OrderCreated};

/// Stores which customer placed an order: most events about which a customer is notified do not name the customer.
#[handler]
pub async fn remember(On(order): On<OrderCreated>, mut tx: Tx) -> Result<(), Failure> {
    Ok(domain::remember_customer(&mut tx, &order).await?)
}

/// Notifies the customer, once for each order and subject. The provider is called before the transaction begins; there are five
/// attempts within a minute.
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

/// How long an event that overtook the creation of its order waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

fn unknown_customer(occasion: &Occasion, meta: &Meta) -> Failure {
    let still_unknown = || Failure::dead(format!("the customer of order {} is not known yet", occasion.order_id()));
    meta.wait_for_cause(PATIENCE).err().unwrap_or_else(still_unknown)
}

/// Records the notification as FAILED after the last attempt. It stays so until its dead letter is retried.
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
