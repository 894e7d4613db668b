//! The running services, asked over HTTP.

use std::time::Duration;

use serde_json::Value;

use crate::SERVICES;

/// The services on a base port, in one process or several.
#[derive(Clone)]
pub struct Site {
    /// A client that keeps no connection.
    pub http: reqwest::Client,
    base_port: u16,
}

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Takes orders.
    Order,
    /// Holds goods.
    Inventory,
    /// Takes money.
    Payment,
    /// Tells customers.
    Notification,
    /// Counts.
    Analytics,
}

impl Service {
    /// All of them, in the order of their ports.
    pub const ALL: [Self; 5] = [Self::Order, Self::Inventory, Self::Payment, Self::Notification, Self::Analytics];

    /// The name, as on the command line.
    pub fn name(self) -> &'static str {
        SERVICES[self as usize]
    }
}

impl Site {
    /// The services that have their ports from `base_port` on.
    ///
    /// # Panics
    /// When there is no HTTP client.
    pub fn at(base_port: u16) -> Self {
        // No connection is kept: the other side is killed at any moment.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).no_proxy();
        Self { http: http.build().unwrap(), base_port }
    }

    /// The port of the order service; the others follow.
    pub fn base_port(&self) -> u16 {
        self.base_port
    }

    /// Where a service answers.
    pub fn url(&self, service: Service, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.base_port + service as u16)
    }

    /// The answer to `GET path`, which has to be a success.
    ///
    /// # Errors
    /// When there is none, or another.
    pub async fn get(&self, service: Service, path: &str) -> Result<Value, String> {
        let url = self.url(service, path);
        let response = self.http.get(&url).send().await.map_err(|error| format!("GET {url}: {error}"))?;
        let status = response.status();
        let body = response.text().await.map_err(|error| format!("GET {url}: {error}"))?;
        if !status.is_success() {
            return Err(format!("GET {url} answered {status}: {body}"));
        }
        serde_json::from_str(&body).map_err(|error| format!("GET {url} answered no JSON: {error}: {body}"))
    }

    /// How many entries the list at `path` has.
    ///
    /// # Errors
    /// When it does not say so.
    pub async fn count(&self, service: Service, path: &str) -> Result<usize, String> {
        self.count_of(service, path, "").await
    }

    /// How many entries of the list at `path` fit the query, as `status=COMPLETED`.
    ///
    /// # Errors
    /// When it does not say so.
    pub async fn count_of(&self, service: Service, path: &str, query: &str) -> Result<usize, String> {
        let url = self.url(service, &format!("{path}?size=1&{query}"));
        let response = self.http.get(&url).send().await.map_err(|error| format!("GET {url}: {error}"))?;
        let total = response.headers().get("x-total-count").and_then(|total| total.to_str().ok()?.parse().ok());
        total.ok_or_else(|| format!("GET {url} answered {} without X-Total-Count", response.status()))
    }

    /// The status of an order.
    ///
    /// # Errors
    /// When the order service does not say so.
    pub async fn status(&self, order_id: &str) -> Result<String, String> {
        let order = self.get(Service::Order, &format!("/orders/{order_id}")).await?;
        order["status"].as_str().map(str::to_owned).ok_or_else(|| format!("an order without a status: {order}"))
    }
}
