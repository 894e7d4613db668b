//! The events in the cases of `#[saga]`.

#![allow(dead_code)]

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

macro_rules! events {
    ($($topic:literal: $($name:ident)+;)+) => {
        $($(
            #[event(topic = $topic, key = id)]
            #[derive(Debug, Clone, Serialize, Deserialize)]
            pub struct $name {
                pub id: u64,
            }
        )+)+
    };
}

events! {
    "orders": Created Confirmed Cancelled Noted Shipped;
    "stock": Reserved Insufficient Released;
    "payments": Paid Declined Refunded;
}

#[event(topic = "orders", key = name)]
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
}
