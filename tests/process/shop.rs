//! The running services, asked over HTTP.

use std::time::Duration;

use serde_json::Value;

/// The services on a base port.
#[derive(Clone)]
pub struct Shop {
    pub http: reqwest::Client,
    base_port: u16,
}

#[derive(Clone, Copy)]
pub enum Service {
    Order,
    Inventory,
    Payment,
    Notification,
    Analytics,
}

impl Shop {
    pub fn at(base_port: u16) -> Self {
        // No connection is kept: the other side is killed at any moment.
        let http = reqwest::Client::builder().timeout(Duration::from_secs(10)).pool_max_idle_per_host(0).no_proxy();
        Self { http: http.build().unwrap(), base_port }
    }

    pub fn url(&self, service: Service, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.base_port + service as u16)
    }

    /// The answer to `GET path`, which has to be a success.
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
    pub async fn count(&self, service: Service, path: &str) -> Result<usize, String> {
        let url = self.url(service, &format!("{path}?size=1"));
        let response = self.http.get(&url).send().await.map_err(|error| format!("GET {url}: {error}"))?;
        let total = response.headers().get("x-total-count").and_then(|total| total.to_str().ok()?.parse().ok());
        total.ok_or_else(|| format!("GET {url} answered {} without X-Total-Count", response.status()))
    }

    /// The status of an order.
    pub async fn status(&self, order_id: &str) -> Result<String, String> {
        let order = self.get(Service::Order, &format!("/orders/{order_id}")).await?;
        order["status"].as_str().map(str::to_owned).ok_or_else(|| format!("an order without a status: {order}"))
    }
}
