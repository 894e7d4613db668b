//! A handler for each choice of its parameters.
use sagas::{message::Event, prelude::*};
pub async fn forward<E: Event, const MOST: usize>(
    On(event): On<E>,
    State(sent): State<usize>,
) -> Option<E>
where
    E: Clone,
{
    (sent < MOST).then_some(event)
}
#[doc(hidden)]
#[allow(non_camel_case_types, missing_debug_implementations)]
pub struct forward<E, const MOST: usize> {
    types: ::core::marker::PhantomData<fn() -> (E,)>,
}
impl<E: Event, const MOST: usize> ::sagas::__private::HandlerDef for forward<E, MOST>
where
    E: Clone,
    E: 'static,
{
    fn handler() -> ::sagas::__private::Handler {
        ::sagas::__private::handler_2::<
            On<E>,
            State<usize>,
            Option<E>,
            _,
        >(
            ::sagas::__private::HandlerOptions::new("forward", ::core::module_path!()),
            forward::<E, MOST>,
        )
    }
}
fn main() {}
