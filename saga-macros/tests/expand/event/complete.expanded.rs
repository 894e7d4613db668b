//! All that an event can say, on a generic struct.
#![allow(unused_imports, non_shorthand_field_patterns)]
use sagas::prelude::*;
use serde::{Deserialize, Serialize};
#[cfg(all())]
#[derive(Serialize, Deserialize)]
pub struct PriceChanged<K, T = u64>
where
    K: std::fmt::Display,
{
    pub r#type: K,
    pub to: T,
}
#[cfg(all())]
#[automatically_derived]
impl<K, T> ::sagas::__private::Event for PriceChanged<K, T>
where
    K: std::fmt::Display,
    Self: ::sagas::__private::Serialize + ::sagas::__private::DeserializeOwned
        + ::core::marker::Send + ::core::marker::Sync + 'static,
    K: ::sagas::__private::EventKey,
{
    type Key = K;
    type Codec = ::sagas::__private::Json;
    const NAME: &'static str = "price.changed";
    const TOPIC: &'static str = "prices";
    const VERSION: u32 = 2u32;
    const ALSO: &'static [&'static str] = &["PriceChanged", "price-changed"];
    fn key(&self) -> ::sagas::__private::String {
        ::sagas::__private::key_of::<Self>(&self.r#type)
    }
}
fn main() {}
