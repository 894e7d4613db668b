//! The services that the order service asks for their findings.

use std::time::Duration;

use super::Findings;
use crate::client::Client;

/// How long a service may take to audit its data.
const PATIENCE: Duration = Duration::from_secs(4);

/// Where the other services are.
#[derive(Debug, Clone)]
pub struct Peers {
    /// A client for all of them.
    pub client: Client,
}

/// What they answered, or why they did not.
#[derive(Debug, Clone)]
pub struct Others {
    /// The inventory service.
    pub inventory: Result<Findings, String>,
    /// The payment service.
    pub payment: Result<Findings, String>,
}

impl Peers {
    /// Asks them all.
    pub async fn ask(&self) -> Others {
        let ask = async |service| match tokio::time::timeout(PATIENCE, self.client.get(service, "/check")).await {
            Ok(findings) => findings.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
        };
        let (inventory, payment) = tokio::join!(ask(crate::ServiceName::Inventory), ask(crate::ServiceName::Payment));
        Others { inventory, payment }
    }
}
