//! A key is a field, a field inside a field, or several fields.

#![deny(warnings)]

use sagas::{message::Event, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Debug, Serialize, Deserialize)]
pub struct Customer {
    pub id: u64,
    pub name: String,
}

#[event(topic = "orders", key = customer.id as u64)]
#[derive(Debug, Serialize, Deserialize)]
pub struct Typed {
    pub customer: Customer,
}

#[event(topic = "orders", key = customer.name)]
#[derive(Debug, Serialize, Deserialize)]
pub struct Inside {
    pub customer: Customer,
}

#[event(topic = "orders", key = (r#type, customer.id, customer.name))]
#[derive(Debug, Serialize, Deserialize)]
pub struct Several {
    pub r#type: String,
    pub customer: Customer,
}

fn is_keyed_by<E: Event<Key = K>, K>(event: &E) -> String {
    event.key()
}

fn main() {
    let customer = |name: &str| Customer { id: 7, name: name.to_owned() };
    assert_eq!(is_keyed_by::<_, u64>(&Typed { customer: customer("a") }), "7");
    assert_eq!(is_keyed_by::<_, String>(&Inside { customer: customer("a:b") }), "a:b");
    assert_eq!(is_keyed_by::<_, String>(&Several { r#type: "t".into(), customer: customer("a") }), "t:7:a");
    let odd = Several { r#type: "a:b".into(), customer: customer("100%") };
    assert_eq!(odd.key(), "a%3Ab:7:100%25");
}
