//! An event has the names that it had earlier, and decodes earlier versions with functions.

#![deny(warnings)]

use std::num::ParseIntError;

use sagas::{message::Event, prelude::*};
use serde::{Deserialize, Serialize};

#[event(topic = "orders", key = order_id, version = 4, also = ["OrderPlaced", "order.placed"], upcast(3 => v3::up, 1 => from_v1))]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
    pub cents: u64,
    pub currency: String,
}

#[derive(Deserialize)]
pub struct OrderCreatedV1 {
    order: String,
    euros: u64,
}

fn from_v1(old: OrderCreatedV1) -> Result<v3::OrderCreated, ParseIntError> {
    Ok(v3::OrderCreated { order_id: old.order.parse()?, cents: old.euros * 100 })
}

mod v3 {
    #[derive(serde::Deserialize)]
    pub struct OrderCreated {
        pub order_id: u64,
        pub cents: u64,
    }

    pub fn up(old: OrderCreated) -> super::OrderCreated {
        super::OrderCreated { order_id: old.order_id, cents: old.cents, currency: "EUR".to_owned() }
    }
}

fn main() {
    assert_eq!((OrderCreated::NAME, OrderCreated::ALSO), ("OrderCreated", &["OrderPlaced", "order.placed"][..]));
    let expected = OrderCreated { order_id: 7, cents: 1200, currency: "EUR".to_owned() };
    let samples = [
        (1, r#"{"order":"7","euros":12}"#),
        (2, r#"{"order_id":7,"cents":1200}"#),
        (3, r#"{"order_id":7,"cents":1200}"#),
        (4, r#"{"order_id":7,"cents":1200,"currency":"EUR"}"#),
    ];
    for (version, json) in samples {
        assert_eq!(OrderCreated::read(json.as_bytes(), version).expect("is read"), expected);
    }
    let refused = |version, json: &str| OrderCreated::read(json.as_bytes(), version).expect_err("is not").to_string();
    assert_eq!(
        refused(1, r#"{"order":"seven","euros":12}"#),
        "OrderCreated of version 1 cannot be read: its upcast `from_v1` failed: invalid digit found in string"
    );
    assert_eq!(
        refused(3, r#"{"order_id":7,"cents":"many"}"#),
        "the value is no OrderCreated of version 3: field `cents`: invalid type: string \"many\", expected u64 at line 1 column 28"
    );
}
