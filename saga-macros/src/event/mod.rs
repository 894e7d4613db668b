//! `#[event]`: a struct becomes a message, an enum of events a set of messages.

mod expand;
mod fallback;
mod model;
mod parse;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::shared::Errors;

/// The whole macro. The item comes out as it went in, whatever is wrong with it.
pub(crate) fn run(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let model = parse::source(options, item.clone(), &mut errors).map(|source| {
        let model = validate::model(&source, &mut errors);
        if errors.is_empty() { expand::model(&model) } else { fallback::source(&source, &model) }
    });
    let errors = errors.to_compile_errors();
    quote!(#item #model #errors)
}
