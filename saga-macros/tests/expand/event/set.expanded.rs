//! An enum of events.
#![allow(unused_imports, non_shorthand_field_patterns)]
use sagas::prelude::*;
use serde::{Deserialize, Serialize};
#[derive(Serialize, Deserialize)]
pub struct OrderConfirmed {
    pub order_id: u64,
}
#[automatically_derived]
impl ::sagas::__private::Event for OrderConfirmed {
    type Key = u64;
    type Codec = ::sagas::__private::Json;
    const NAME: &'static str = "OrderConfirmed";
    const TOPIC: &'static str = "orders";
    const VERSION: u32 = 1u32;
    fn key(&self) -> ::sagas::__private::String {
        ::sagas::__private::key_of::<Self>(&self.order_id)
    }
}
#[derive(Serialize, Deserialize)]
pub struct OrderCancelled {
    pub order_id: u64,
}
#[automatically_derived]
impl ::sagas::__private::Event for OrderCancelled {
    type Key = u64;
    type Codec = ::sagas::__private::Json;
    const NAME: &'static str = "OrderCancelled";
    const TOPIC: &'static str = "orders";
    const VERSION: u32 = 1u32;
    fn key(&self) -> ::sagas::__private::String {
        ::sagas::__private::key_of::<Self>(&self.order_id)
    }
}
/// How an order ends.
pub enum OrderEnded {
    /// Well.
    Confirmed(OrderConfirmed),
    #[cfg(all())]
    Cancelled { event: OrderCancelled },
}
#[automatically_derived]
impl ::sagas::__private::EventSet for OrderEnded {
    fn types() -> ::sagas::__private::Vec<::sagas::__private::EventType> {
        let mut types = ::sagas::__private::Vec::new();
        types
            .push(
                ::sagas::__private::member::<OrderConfirmed>()
                    .event_type(|encoded| {
                        ::sagas::__private::member::<OrderConfirmed>()
                            .decode(encoded, |event| Self::Confirmed { 0: event })
                    }),
            );
        #[cfg(all())]
        types
            .push(
                ::sagas::__private::member::<OrderCancelled>()
                    .event_type(|encoded| {
                        ::sagas::__private::member::<OrderCancelled>()
                            .decode(encoded, |event| Self::Cancelled { event: event })
                    }),
            );
        types
    }
}
#[automatically_derived]
impl ::sagas::__private::IntoPublished for OrderEnded {
    fn types() -> ::sagas::__private::Vec<::sagas::__private::EventType> {
        <Self as ::sagas::__private::EventSet>::types()
    }
    fn encode(
        &self,
        into: &mut ::sagas::__private::Vec<::sagas::__private::Outgoing>,
    ) -> ::core::result::Result<(), ::sagas::__private::Fault> {
        match self {
            Self::Confirmed { 0: event } => {
                ::sagas::__private::member::<OrderConfirmed>().encode(event, into)
            }
            #[cfg(all())]
            Self::Cancelled { event: event } => {
                ::sagas::__private::member::<OrderCancelled>().encode(event, into)
            }
        }
    }
}
fn main() {}
