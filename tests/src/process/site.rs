//! The running services, called over HTTP.

use std::time::Duration;

use serde_json::Value;

use crate::SERVICES;

/// The services on a base port, in one or several processes.
#[derive(Clone)]
pub struct Site {
    /// A client that does not keep connections open.
    pub http: reqwest::Client,
    base_port: u16,
}

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Accepts and decides orders.
    Order,
    /// Holds goods for orders.
    Inventory,
    /// Charges customers.
    Payment,
    /// Notifies customers.
    Notification,
    /// Counts events and keeps key figures.
    Analytics,
}

impl Service {
    /// All services, in the order of their ports.
    pub const ALL: [Self; 5] = [Self::Order, Self::Inventory, Self::Payment, Self::Notification, Self::Analytics];

    /// Returns the name, as on the command line.
    pub fn name(self) -> &'static str {
        SERVICES[self as usize]
    }
}

impl Site {
    /// Returns the services on the ports from `base_port` on.
    ///
    /// # Panics
    /// Panics when the HTTP client cannot be created.
    pub fn at(base_port: u16) -> Self {
        // Connections are not kept, because the other side can be killed at any time.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).no_proxy();
        Self { http: http.build().unwrap(), base_port }
    }

    /// Returns the port of the order service; the other services use the ports that follow.
    pub fn base_port(&self) -> u16 {
        self.base_port
    }

    /// Returns the URL of a path of a service.
    pub fn url(&self, service: Service, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.base_port + service as u16)
    }

    /// Returns the answer to `GET path`.
    ///
    /// # Errors
    /// When the request fails, or its status is not a success.
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

    /// Returns the number of entries in the list at `path`.
    ///
    /// # Errors
    /// When the answer does not contain it.
    pub async fn count(&self, service: Service, path: &str) -> Result<usize, String> {
        self.count_of(service, path, "").await
    }

    /// Returns the number of entries in the list at `path` that match the query, such as `status=COMPLETED`.
    ///
    /// # Errors
    /// When the answer does not contain it.
    pub async fn count_of(&self, service: Service, path: &str, query: &str) -> Result<usize, String> {
        let url = self.url(service, &format!("{path}?size=1&{query}"));
        let response = self.http.get(&url).send().await.map_err(|error| format!("GET {url}: {error}"))?;
        let total = response.headers().get("x-total-count").and_then(|total| total.to_str().ok()?.parse().ok());
        total.ok_or_else(|| format!("GET {url} answered {} without X-Total-Count", response.status()))
    }

    /// Returns the status of an order.
    ///
    /// # Errors
    /// When the answer does not contain it.
    pub async fn status(&self, order_id: &str) -> Result<String, String> {
        let order = self.get(Service::Order, &format!("/orders/{order_id}")).await?;
        order["status"].as_str().map(str::to_owned).ok_or_else(|| format!("an order without a status: {order}"))
    }
}
