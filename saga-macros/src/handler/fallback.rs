//! What stands in for a `#[handler]` with mistakes: a definition that is never run, so that `handlers![..]` is not reported as
//! well.

use proc_macro2::TokenStream;
use quote::quote;

use super::{expand, model::Handler};

pub(super) fn model(handler: &Handler) -> TokenStream {
    // A method's impl block can hold no other items.
    if handler.method || handler.target.generics.lifetimes().next().is_some() {
        return TokenStream::new();
    }
    expand::def(handler, &quote!(::core::panic!()))
}
