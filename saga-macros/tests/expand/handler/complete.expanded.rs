//! All that a handler can say.
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
#[cfg(all())]
pub(crate) async fn r#move(
    On(order): On<OrderCreated>,
    mut tx: Tx,
) -> Result<OrderCreated, Failure> {
    let _ = &mut tx;
    Ok(order)
}
#[cfg(all())]
#[doc(hidden)]
#[allow(non_camel_case_types, missing_debug_implementations)]
pub(crate) struct r#move {}
#[cfg(all())]
impl ::sagas::__private::HandlerDef for r#move {
    fn handler() -> ::sagas::__private::Handler {
        ::sagas::__private::handler_2::<
            On<OrderCreated>,
            Tx,
            Result<OrderCreated, Failure>,
            _,
        >(
                ::sagas::__private::HandlerOptions::new("move", ::core::module_path!())
                    .retry(
                        ::sagas::__private::RetryPolicy::DEFAULT
                            .attempts(5u32)
                            .backoff(
                                ::sagas::__private::Duration::from_millis(200u64),
                                ::sagas::__private::Duration::from_millis(30000u64),
                            ),
                    )
                    .timeout(::sagas::__private::Duration::from_millis(90000u64))
                    .after_dead_letter(::sagas::__private::AfterDeadLetter::Hold),
                r#move,
            )
            .exhausted(give_up)
    }
}
#[cfg(all())]
const _: () = {
    #[allow(unused_imports)]
    use ::sagas::__private::{NoExtractor as _, check_arguments};
    check_arguments(
        &[
            ::sagas::__private::Argument::<On<OrderCreated>>::KIND,
            ::sagas::__private::Argument::<Tx>::KIND,
        ],
        false,
    )
};
async fn give_up(On(_): On<OrderCreated>) {}
fn main() {}
