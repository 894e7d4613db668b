//! `#[event]`: makes a struct an event, and an enum of events a set of events.

mod expand;
mod fallback;
mod model;
mod parse;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::shared::Errors;

/// Runs the macro. The item is emitted unchanged, even if it has mistakes.
pub(crate) fn run(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let model = parse::source(options, item.clone(), &mut errors).map(|source| {
        let model = validate::model(&source, &mut errors);
        if errors.is_empty() { expand::model(&model) } else { fallback::source(&source, &model) }
    });
    let errors = errors.to_compile_errors();
    quote!(#item #model #errors)
}
