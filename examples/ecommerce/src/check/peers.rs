//! The services whose findings the order service queries.

use std::time::Duration;

use super::Findings;
use crate::client::Client;

/// The timeout for the audit of one service.
const PATIENCE: Duration = Duration::from_secs(4);

/// The other services.
#[derive(Debug, Clone)]
pub struct Peers {
    /// A client for the other services.
    pub client: Client,
}

/// The findings of the other services, or why they are missing.
#[derive(Debug, Clone)]
pub struct Others {
    /// The inventory service.
    pub inventory: Result<Findings, String>,
    /// The payment service.
    pub payment: Result<Findings, String>,
}

impl Peers {
    /// Queries all of them in parallel.
    pub async fn ask(&self) -> Others {
        let ask = async |service| match tokio::time::timeout(PATIENCE, self.client.get(service, "/check")).await {
            Ok(findings) => findings.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        let (inventory, payment) = tokio::join!(ask(crate::ServiceName::Inventory), ask(crate::ServiceName::Payment));
        Others { inventory, payment }
    }
}
