//! An event that was another one before, with a key of several fields and a codec that is named.
#![allow(unused_imports)]
use sagas::{message::Json, prelude::*};
use serde::{Deserialize, Serialize};
#[derive(Serialize, Deserialize)]
pub struct PriceChanged {
    pub shop: u64,
    pub item: Item,
}
#[automatically_derived]
impl ::sagas::__private::Event for PriceChanged {
    type Key = ::sagas::__private::String;
    type Codec = Json;
    const NAME: &'static str = "PriceChanged";
    const TOPIC: &'static str = "prices";
    const VERSION: u32 = 3u32;
    fn key(&self) -> ::sagas::__private::String {
        ::sagas::__private::joined_key(
            &[
                ::sagas::__private::EventKey::to_text(&self.shop),
                ::sagas::__private::EventKey::to_text(&self.item.id),
            ],
        )
    }
    fn read(
        value: &[u8],
        version: u32,
    ) -> ::core::result::Result<Self, ::sagas::__private::Fault> {
        match version {
            ..=1u32 => {
                let value = ::sagas::__private::old::<Self, _>(value, version)?;
                let value = ::sagas::__private::upcast::<
                    Self,
                    _,
                    _,
                    _,
                >(1u32, "from_v1", from_v1, value)?;
                let value = ::sagas::__private::upcast::<
                    Self,
                    _,
                    Self,
                    _,
                >(2u32, "old::from_v2", old::from_v2, value)?;
                ::core::result::Result::Ok(value)
            }
            ..=2u32 => {
                let value = ::sagas::__private::old::<Self, _>(value, version)?;
                let value = ::sagas::__private::upcast::<
                    Self,
                    _,
                    Self,
                    _,
                >(2u32, "old::from_v2", old::from_v2, value)?;
                ::core::result::Result::Ok(value)
            }
            _ => ::sagas::__private::current(value, version),
        }
    }
}
#[derive(Serialize, Deserialize)]
pub struct Item {
    pub id: u64,
}
mod old {
    #[derive(serde::Deserialize)]
    pub struct V2(pub u64);
    pub fn from_v2(old: V2) -> super::PriceChanged {
        super::PriceChanged {
            shop: old.0,
            item: super::Item { id: old.0 },
        }
    }
}
fn from_v1(old: u64) -> Result<old::V2, std::num::TryFromIntError> {
    Ok(old::V2(old))
}
fn main() {}
