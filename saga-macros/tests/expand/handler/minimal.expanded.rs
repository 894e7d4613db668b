//! The least that a handler says.
use sagas::prelude::*;
use serde::{Deserialize, Serialize};
#[derive(Serialize, Deserialize)]
pub struct OrderCreated {
    pub order_id: u64,
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
/// Counts an order.
pub async fn count(On(order): On<OrderCreated>) {
    let _ = order.order_id;
}
#[doc(hidden)]
#[allow(non_camel_case_types, missing_debug_implementations)]
pub struct count {}
impl ::sagas::__private::HandlerDef for count {
    fn handler() -> ::sagas::__private::Handler {
        ::sagas::__private::handler_1::<
            On<OrderCreated>,
            (),
            _,
        >(
            ::sagas::__private::HandlerOptions::new("count", ::core::module_path!()),
            count,
        )
    }
}
const _: () = {
    #[allow(unused_imports)]
    use ::sagas::__private::{NoExtractor as _, check_arguments};
    check_arguments(&[::sagas::__private::Argument::<On<OrderCreated>>::KIND], false)
};
fn main() {}
