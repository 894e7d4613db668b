//! Assembles the five services in one process, or some of them.

pub(crate) mod peers;
pub(crate) mod ports;
mod start;
mod storage;
mod token;

pub use start::{Broker, Config, Running, StartError, start};
pub use storage::Storage;
pub use token::OperatorToken;

use std::{fmt, str::FromStr};

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ServiceName {
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

impl ServiceName {
    /// All services, in the order of their ports.
    pub const ALL: [Self; 5] = [Self::Order, Self::Inventory, Self::Payment, Self::Notification, Self::Analytics];

    /// Returns the name, as in the name of its database and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Order => "order",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
            Self::Notification => "notification",
            Self::Analytics => "analytics",
        }
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for ServiceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = || Self::ALL.map(Self::as_str).join(", ");
        Self::ALL
            .into_iter()
            .find(|service| service.as_str() == text)
            .ok_or_else(|| format!("`{text}` is not a service; the services are {}", all()))
    }
}
