//! An event that was another one before, with a key of several fields and a codec that is named.

#![allow(unused_imports)]

use sagas::{message::Json, prelude::*};
use serde::{Deserialize, Serialize};

#[event(topic = "prices", key = (shop, item.id), version = 3, codec = Json, upcast(2 => old::from_v2, 1 => from_v1))]
#[derive(Serialize, Deserialize)]
pub struct PriceChanged {
    pub shop: u64,
    pub item: Item,
}

#[derive(Serialize, Deserialize)]
pub struct Item {
    pub id: u64,
}

mod old {
    #[derive(serde::Deserialize)]
    pub struct V2(pub u64);

    pub fn from_v2(old: V2) -> super::PriceChanged {
        super::PriceChanged { shop: old.0, item: super::Item { id: old.0 } }
    }
}

fn from_v1(old: u64) -> Result<old::V2, std::num::TryFromIntError> {
    Ok(old::V2(old))
}

fn main() {}
