//! The least that an event says.
#![allow(unused_imports, non_shorthand_field_patterns)]
use sagas::prelude::*;
use serde::{Deserialize, Serialize};
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
    pub customer_id: String,
}
#[automatically_derived]
impl ::sagas::__private::Event for OrderCreated {
    type Key = u64;
    type Codec = ::sagas::__private::Json;
    const NAME: &'static str = "OrderCreated";
    const TOPIC: &'static str = "orders";
    const VERSION: u32 = 1u32;
    fn key(&self) -> ::sagas::__private::String {
        ::sagas::__private::key_of::<Self>(&self.order_id)
    }
}
fn main() {}
