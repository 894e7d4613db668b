//! The events in the cases of `#[handler]`.

#![allow(dead_code)]

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
}

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: u64,
}

#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InventoryReserved {
    pub order_id: u64,
}

#[event(topic = "inventory", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct InventoryInsufficient {
    pub order_id: u64,
}
