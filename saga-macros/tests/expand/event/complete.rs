//! All that an event can say, on a generic struct.

#![allow(unused_imports, non_shorthand_field_patterns)]

use sagas::prelude::*;
use serde::{Deserialize, Serialize};

#[event(topic = "prices", key = r#type, name = "price.changed", version = 2, also = ["PriceChanged", "price-changed"], crate = ::sagas)]
#[cfg(all())]
#[derive(Serialize, Deserialize)]
pub struct PriceChanged<K, T = u64>
where
    K: std::fmt::Display,
{
    pub r#type: K,
    pub to: T,
}

fn main() {}
