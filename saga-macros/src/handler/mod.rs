//! `#[handler]`: an async fn becomes a consumer, and stays the fn it was.

mod claim;
mod expand;
mod fallback;
mod model;
mod parse;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::shared::Errors;

/// The whole macro. The fn comes out as it went in, whatever is wrong with it.
pub(crate) fn run(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let model = parse::source(options, item.clone(), &mut errors).map(|source| {
        let model = validate::model(&source, &mut errors);
        if errors.is_empty() { expand::model(&model) } else { fallback::model(&model) }
    });
    let errors = errors.to_compile_errors();
    quote!(#item #model #errors)
}
