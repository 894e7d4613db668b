//! A generic struct is an event wherever its parameters allow it.

#![deny(warnings)]

use std::fmt::Display;

use sagas::{
    extract::Extract,
    handler::IntoPublished,
    message::{Encoded, Event, EventSet},
    prelude::*,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

#[event(topic = "orders", key = id)]
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Changed<K, T = String, const SIZE: usize = 2>
where
    T: Clone,
{
    pub id: K,
    pub to: Option<T>,
}

#[event]
#[derive(Debug, PartialEq)]
pub enum Change<T: Serialize + DeserializeOwned + Clone + Send + Sync + 'static> {
    Number(Changed<u64, T>),
}

fn takes<K: Display + Serialize + DeserializeOwned + Send + Sync + 'static>() -> &'static str {
    fn extracts<T: Extract>() {}
    extracts::<On<Changed<K>>>();
    <Changed<K> as Event>::NAME
}

fn main() {
    assert_eq!(takes::<u64>(), "Changed");
    let changed = Changed::<_, _, 2> { id: 7_u64, to: Some(1_u8) };
    assert_eq!(changed.key(), "7");

    let mut published = Vec::new();
    Change::Number(changed).encode(&mut published).expect("is JSON");
    let read = (<Change<u8> as EventSet>::types()[0].decode)(Encoded { value: &published[0].value, version: 1, key: None });
    let read = read.ok().and_then(|value| value.downcast::<Change<u8>>().ok());
    assert_eq!(read.as_deref(), Some(&Change::Number(Changed { id: 7, to: Some(1) })));
}
