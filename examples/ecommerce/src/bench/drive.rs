//! Placing the orders, and waiting until they have ended.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use axum::http::StatusCode;
use futures_util::future::try_join_all;
use indicatif::{ProgressBar, ProgressStyle};
use sagas::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::Load;
use crate::{
    ServiceName,
    app::Output,
    client::{CallError, Client},
    contracts::OrderStatus,
};

/// How long the bench waits when nothing more ends.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it looks.
const LOOK: Duration = Duration::from_millis(200);
/// How long an order that was not taken waits.
const LATER: Duration = Duration::from_secs(1);
/// Orders on a page.
const PAGE: usize = 500;

/// An order, as far as the bench looks at it.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Order {
    pub(super) status: OrderStatus,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
}

/// One run of the bench: a product and a customer of its own.
pub(super) struct Drive {
    client: Client,
    load: Load,
    customer: String,
    product: String,
    next: AtomicU32,
    placed: AtomicU32,
}

impl Drive {
    /// Puts enough for all orders into the shop.
    pub(super) async fn prepare(client: Client, load: Load, run: &str) -> Result<Self, CallError> {
        let product = format!("bench-{run}");
        let new = json!({"productId": product, "name": "Bench", "price": 10, "quantity": load.orders});
        let _: Value = client.post(ServiceName::Inventory, "/products", &new).await?;
        let customer = format!("bench-{run}");
        Ok(Self { client, load, customer, product, next: AtomicU32::new(0), placed: AtomicU32::new(0) })
    }

    /// Places all orders, and waits until they have ended or nothing more ends.
    pub(super) async fn run(&self, output: Output) -> Result<(), CallError> {
        let bar = match output.is_json() {
            true => ProgressBar::hidden(),
            false => ProgressBar::new(u64::from(self.load.orders)),
        };
        if let Ok(style) = ProgressStyle::with_template("  {bar:40} {pos}/{len} ended, {msg} placed, {elapsed}") {
            bar.set_style(style);
        }
        let began = Instant::now();
        let connections = (0..self.load.connections).map(|_| self.place_orders(began));
        let result = tokio::try_join!(try_join_all(connections), self.wait(&bar));
        bar.finish_and_clear();
        result.map(drop)
    }

    /// Places one order after the other, until all are placed.
    async fn place_orders(&self, began: Instant) -> Result<(), CallError> {
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= self.load.orders {
                return Ok(());
            }
            if let Some(rate) = self.load.rate {
                sleep_until(began + Duration::from_secs(1) * index / rate).await;
            }
            self.place(index).await?;
            self.placed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Places an order. A shop that has too much to do takes it later.
    async fn place(&self, index: u32) -> Result<(), CallError> {
        loop {
            match self.client.post::<Value>(ServiceName::Order, "/orders", &self.order(index)).await {
                Err(CallError::Refused { status: StatusCode::SERVICE_UNAVAILABLE, .. }) => sleep(LATER).await,
                result => return result.map(drop),
            }
        }
    }

    /// Of twenty orders one is for what is not there, and one is too expensive for the gateway.
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

    /// All orders of this run.
    pub(super) async fn orders(&self) -> Result<Vec<Order>, CallError> {
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
