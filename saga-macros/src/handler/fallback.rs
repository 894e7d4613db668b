//! The code for a `#[handler]` with mistakes: a definition that never runs, so that `handlers![..]` does not cause further
//! errors.

use proc_macro2::TokenStream;
use quote::quote;

use super::{expand, model::Handler};

pub(super) fn model(handler: &Handler) -> TokenStream {
    // A method is in an impl block, which cannot contain other items.
    if handler.method || handler.target.generics.lifetimes().next().is_some() {
        return TokenStream::new();
    }
    expand::def(handler, &quote!(::core::panic!()))
}
