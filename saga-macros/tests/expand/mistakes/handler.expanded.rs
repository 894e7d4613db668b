//! A handler with mistakes: it is still a handler to the code around it.
pub async fn reserve(On(order): On<OrderCreated>) -> InventoryReserved {
    InventoryReserved::of(&order)
}
#[doc(hidden)]
#[allow(non_camel_case_types, missing_debug_implementations)]
pub struct reserve {}
impl ::sagas::__private::HandlerDef for reserve {
    fn handler() -> ::sagas::__private::Handler {
        ::core::panic!()
    }
}
::core::compile_error! {
    "`#[handler]` has no option `retries` (did you mean `retry`?); its options are `retry`, `timeout`, `exhausted`, `on_dead`, `topic`, `step`, `undo` and `crate`"
}
::core::compile_error! {
    "`soon` is not a whole number followed by a unit; write `\"500ms\"`, `\"30s\"` or `\"1m30s\"`"
}
