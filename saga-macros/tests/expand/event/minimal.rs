//! The least that an event says.

#![allow(unused_imports, non_shorthand_field_patterns)]

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
    pub customer_id: String,
}

fn main() {}
