//! `#[handler]`: makes an async fn a handler. The fn itself is unchanged.

mod claim;
mod expand;
mod fallback;
mod model;
mod parse;
mod refusal;
mod validate;

use proc_macro2::TokenStream;
use quote::quote;

use crate::shared::Errors;

/// Runs the macro. The fn is emitted unchanged, even if it has mistakes.
pub(crate) fn run(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let model = parse::source(options, item.clone(), &mut errors).map(|source| {
        let model = validate::model(&source, &mut errors);
        if errors.is_empty() { expand::model(&model) } else { fallback::model(&model) }
    });
    let errors = errors.to_compile_errors();
    quote!(#item #model #errors)
}
