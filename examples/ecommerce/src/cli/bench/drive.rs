//! Places the orders, and waits until they have ended.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use axum::http::StatusCode;
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use sagas::time::{Clock, Timestamp};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::{Load, Output};
use crate::{
    ServiceName,
    client::{CallError, Client},
    contracts::{OrderId, OrderStatus},
};

/// How long the bench waits without another order ending.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the bench queries the orders.
const LOOK: Duration = Duration::from_millis(200);
/// The wait before an order that was not accepted is placed again.
const LATER: Duration = Duration::from_secs(1);
/// The number of orders on a page.
const PAGE: usize = 500;

/// The part of an order that the bench reads.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    order_id: OrderId,
    status: OrderStatus,
    updated_at: Timestamp,
}

/// The result of an order.
#[derive(Debug, Clone)]
pub(super) struct Driven {
    pub(super) status: OrderStatus,
    /// When its POST was sent or, with a rate, was due.
    pub(super) sent: Timestamp,
    /// When the order reached its status.
    pub(super) reached: Timestamp,
}

/// One run of the bench, with its own product and customer.
pub(super) struct Drive {
    client: Client,
    load: Load,
    customer: String,
    product: String,
    next: AtomicU32,
    placed: AtomicU32,
    clock: Clock,
    sent: Mutex<HashMap<OrderId, Timestamp>>,
}

impl Drive {
    /// Adds the product, with enough units for all orders.
    pub(super) async fn prepare(client: Client, load: Load, run: &str) -> Result<Self, CallError> {
        let product = format!("bench-{run}");
        let new = json!({"productId": product, "name": "Bench", "price": 10, "quantity": load.orders});
        let _: Value = client.post(ServiceName::Inventory, "/products", &new).await?;
        let customer = format!("bench-{run}");
        let (next, placed, sent) = (AtomicU32::new(0), AtomicU32::new(0), Mutex::default());
        Ok(Self { client, load, customer, product, next, placed, clock: Clock::system(), sent })
    }

    /// Places all orders, and waits until all have ended or no more orders end.
    pub(super) async fn run(&self, output: Output) -> Result<(), CallError> {
        let bar = match output.is_json() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(u64::from(self.load.orders)),
        };
        if let Ok(style) = ProgressStyle::with_template("  {bar:40} {pos}/{len} ended, {msg} placed, {elapsed}") {
            bar.set_style(style);
        }
        let began = (Instant::now(), self.clock.now());
        let connections = (0..self.load.connections).map(|_| self.place_orders(began));
        let result = tokio::try_join!(try_join_all(connections), self.wait(&bar));
        bar.finish_and_clear();
        result.map(drop)
    }

    /// Places one order after another until all are placed.
    async fn place_orders(&self, (began, began_at): (Instant, Timestamp)) -> Result<(), CallError> {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.load.orders {
                return Ok(());
            }
            let sent = match self.load.rate {
                None => self.clock.now(),
                // The time counts from when the order was due: an order that is sent late because the system is slow has already
                // waited.
                Some(rate) => {
                    let due = Duration::from_secs(1) * index / rate;
                    sleep_until(began + due).await;
                    began_at.after(due)
                }
            };
            let order_id = self.place(index).await?;
            self.sent.lock().unwrap_or_else(PoisonError::into_inner).insert(order_id, sent);
            self.placed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Places an order. While the system is overloaded, the order is placed again after a wait.
    async fn place(&self, index: u32) -> Result<OrderId, CallError> {
        loop {
            match self.client.post::<Order>(ServiceName::Order, "/orders", &self.order(index)).await {
                Err(CallError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => sleep(LATER).await,
                result => return Ok(result?.order_id),
            }
        }
    }

    /// Returns the order at `index`. Of twenty orders, one is for a product that is sold out and one is above the gateway's
    /// limit.
    fn order(&self, index: u32) -> Value {
        let (product, price) = match index % 20 {
            7 => ("sold-out", 19),
            13 => (self.product.as_str(), 9_999),
            _ => (self.product.as_str(), 10),
        };
        json!({"customerId": self.customer, "items": [{"productId": product, "quantity": 1, "unitPrice": price}]})
    }

    async fn wait(&self, bar: &ProgressBar) -> Result<(), CallError> {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let mut ended = 0;
            for status in [OrderStatus::Completed, OrderStatus::Cancelled] {
                let path = format!("/orders?customerId={}&status={status}&size=1", self.customer);
                ended += self.client.count(ServiceName::Order, &path).await?;
            }
            bar.set_position(ended);
            bar.set_message(self.placed.load(Ordering::Relaxed).to_string());
            if ended != last {
                (last, since) = (ended, Instant::now());
            }
            let idle = since.elapsed() > PATIENCE;
            if ended >= u64::from(self.load.orders) || idle {
                return Ok(());
            }
            sleep(LOOK).await;
        }
    }

    /// Returns all orders of this run.
    pub(super) async fn orders(&self) -> Result<Vec<Driven>, CallError> {
        let orders = self.listed().await?;
        let sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        let driven = |order: Order| {
            let sent = *sent.get(&order.order_id)?;
            Some(Driven { status: order.status, sent, reached: order.updated_at })
        };
        Ok(orders.into_iter().filter_map(driven).collect())
    }

    async fn listed(&self) -> Result<Vec<Order>, CallError> {
        let mut orders = Vec::new();
        for page in 0.. {
            let path = format!("/orders?customerId={}&page={page}&size={PAGE}", self.customer);
            let found: Vec<Order> = self.client.get(ServiceName::Order, &path).await?;
            let last = found.len() < PAGE;
            orders.extend(found);
            if last {
                break;
            }
        }
        Ok(orders)
    }
}
