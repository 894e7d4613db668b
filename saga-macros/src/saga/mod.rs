//! `#[saga]`: makes an enum a saga, and its variants the steps.

mod events;
mod expand;
mod fallback;
mod graph;
mod model;
mod parse;
mod paths;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::shared::Errors;

/// Runs the macro. The enum is emitted unchanged, except for the attributes of its variants, which are read here and removed.
pub(crate) fn run(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let Some(source) = parse::source(options, item.clone(), &mut errors) else {
        let errors = errors.to_compile_errors();
        return quote!(#item #errors);
    };
    let saga = validate::saga(&source, &mut errors);
    if let Some(graph) = graph::of(&saga, &mut errors) {
        paths::check(&graph, &mut errors);
    }
    let model = if errors.is_empty() { expand::saga(&saga) } else { fallback::saga(&saga) };
    let (item, errors) = (&source.item, errors.to_compile_errors());
    quote!(#item #model #errors)
}
