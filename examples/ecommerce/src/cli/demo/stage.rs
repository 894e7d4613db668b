//! The calls of the demo to the system, and the waits for their effects.

use std::time::Duration;

use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::Problem;
use crate::{
    ServiceName,
    client::{CallError, Client},
    contracts::{Kind, NotificationStatus, OrderStatus},
};

/// How long the demo waits for an effect that should be immediate.
const PATIENCE: Duration = Duration::from_secs(15);
/// How often the demo queries the system.
const LOOK: Duration = Duration::from_millis(25);

/// The running system, as the demo calls it.
pub(super) struct Stage {
    client: Client,
}

/// The part of an order that the demo reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    pub(super) order_id: String,
    pub(super) status: OrderStatus,
}

/// The part of a notification that the demo reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Notification {
    pub(super) kind: Kind,
    pub(super) status: NotificationStatus,
    pub(super) at: sagas::time::Timestamp,
}

/// A line of an order: product, number of units, price of one unit.
pub(super) type Line = (&'static str, u32, &'static str);

impl Stage {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Places an order.
    pub(super) async fn place(&self, customer: &str, (product, quantity, price): Line) -> Result<Order, Problem> {
        // The price is sent as written, so that the amount never passes through a float.
        let price = serde_json::value::RawValue::from_string(price.to_owned());
        let price = price.map_err(|error| Problem::Unexpected(error.to_string()))?;
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Item {
            product_id: &'static str,
            quantity: u32,
            unit_price: Box<serde_json::value::RawValue>,
        }
        #[derive(serde::Serialize)]
        #[serde(rename_all = "camelCase")]
        struct NewOrder<'a> {
            customer_id: &'a str,
            items: [Item; 1],
        }
        let order = NewOrder { customer_id: customer, items: [Item { product_id: product, quantity, unit_price: price }] };
        Ok(self.client.post(ServiceName::Order, "/orders", &order).await?)
    }

    /// Returns the number of available units of a product.
    pub(super) async fn available(&self, product: &str) -> Result<u64, Problem> {
        #[derive(Deserialize)]
        struct Product {
            available: u64,
        }
        let Product { available } = self.get(ServiceName::Inventory, &format!("/products/{product}")).await?;
        Ok(available)
    }

    /// Restocks the product of `line` if fewer units than it needs are available.
    pub(super) async fn make_room(&self, (product, quantity, _): Line) -> Result<(), Problem> {
        if self.available(product).await? < u64::from(quantity) {
            let path = format!("/products/{product}/restock");
            let _: Value = self.client.post(ServiceName::Inventory, &path, &json!({"quantity": quantity})).await?;
        }
        Ok(())
    }

    /// Waits until the order has `status`. Fails if the order ends with another status.
    pub(super) async fn status(&self, order_id: &str, status: OrderStatus) -> Result<(), Problem> {
        let path = format!("/orders/{order_id}");
        let what = "the order's end";
        self.wait(what, PATIENCE, || async {
            let order: Order = self.client.get(ServiceName::Order, &path).await?;
            match order.status {
                now if now == status => Ok(Some(())),
                now if now.is_final() => Err(Problem::Unexpected(format!("the order is {now}, and should be {status}"))),
                _ => Ok(None),
            }
        })
        .await
    }

    /// Waits until the notification of `kind` has `status`: SENT, or FAILED after the last attempt.
    pub(super) async fn notification(
        &self,
        order_id: &str,
        kind: Kind,
        status: NotificationStatus,
        patience: Duration,
    ) -> Result<(), Problem> {
        self.wait("the notification", patience, || async {
            let notifications = self.notifications(order_id).await?;
            Ok(notifications.iter().any(|found| found.kind == kind && found.status == status).then_some(()))
        })
        .await
    }

    pub(super) async fn notifications(&self, order_id: &str) -> Result<Vec<Notification>, CallError> {
        self.client.get(ServiceName::Notification, &format!("/notifications?orderId={order_id}")).await
    }

    /// Waits until the payment of the order is recorded as one that waits for the gateway.
    pub(super) async fn payment_waits(&self, order_id: &str) -> Result<(), Problem> {
        let path = format!("/payments?orderId={order_id}");
        self.wait("the attempt to charge the customer", PATIENCE, || async {
            let payments: Vec<Value> = self.client.get(ServiceName::Payment, &path).await?;
            Ok(payments.iter().any(|payment| payment["status"] == "PENDING" || payment["status"] == "PROCESSING").then_some(()))
        })
        .await
    }

    /// Waits until the gateway is no longer called for the payment of the order: the circuit breaker has opened.
    pub(super) async fn breaker_opens(&self, order_id: &str) -> Result<(), Problem> {
        let path = format!("/payments?orderId={order_id}");
        self.wait("the circuit breaker to open", PATIENCE, || async {
            let payments: Vec<Value> = self.client.get(ServiceName::Payment, &path).await?;
            Ok(payments.iter().any(|payment| payment["status"] == "PENDING").then_some(()))
        })
        .await
    }

    pub(super) async fn gateway_outage(&self, outage: bool) -> Result<(), Problem> {
        let _: Value = self.client.put(ServiceName::Payment, "/gateway", &json!({"outage": outage})).await?;
        Ok(())
    }

    pub(super) async fn gateway_latency(&self, milliseconds: u64) -> Result<(), Problem> {
        let _: Value = self.client.put(ServiceName::Payment, "/gateway", &json!({"latencyMs": milliseconds})).await?;
        Ok(())
    }

    /// Cancels an order as its customer.
    pub(super) async fn cancel(&self, order_id: &str) -> Result<(), Problem> {
        let _: Value = self.client.post(ServiceName::Order, &format!("/orders/{order_id}/cancel"), &json!({})).await?;
        Ok(())
    }

    pub(super) async fn email_outage(&self, outage: bool) -> Result<(), Problem> {
        let _: Value = self.client.put(ServiceName::Notification, "/providers", &json!({"email": {"outage": outage}})).await?;
        Ok(())
    }

    /// Retries the notification service's dead letters of an order.
    pub(super) async fn retry_dead_letters(&self, order_id: &str) -> Result<(), Problem> {
        let letters: Vec<Value> = self.get(ServiceName::Notification, "/dead-letters?size=500").await?;
        for letter in letters.iter().filter(|letter| letter["key"] == order_id) {
            let id = letter["id"].as_str().unwrap_or_default();
            let _: Value = self.client.post(ServiceName::Notification, &format!("/dead-letters/{id}/retry"), &json!({})).await?;
        }
        Ok(())
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, service: ServiceName, path: &str) -> Result<T, Problem> {
        Ok(self.client.get(service, path).await?)
    }

    pub(super) async fn wait<F, Fut>(&self, what: &'static str, patience: Duration, look: F) -> Result<(), Problem>
    where
        F: Fn() -> Fut,
        Fut: Future<Output = Result<Option<()>, Problem>>,
    {
        let deadline = Instant::now() + patience;
        loop {
            if look().await?.is_some() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(Problem::TooLate { what, patience });
            }
            sleep(LOOK).await;
        }
    }
}
