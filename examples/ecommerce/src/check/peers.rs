//! The services that the order service asks for their findings.

use super::Findings;
use crate::client::Client;

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
        let ask = async |service| self.client.get(service, "/check").await.map_err(|error| error.to_string());
        let (inventory, payment) = tokio::join!(ask(crate::ServiceName::Inventory), ask(crate::ServiceName::Payment));
        Others { inventory, payment }
    }
}
