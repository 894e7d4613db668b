//! The sink that collects every mistake of an item, so that they are reported at once.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;

/// The mistakes found so far.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// Adds a mistake at the place that `at` covers.
    pub(crate) fn at(&mut self, at: &impl ToTokens, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new_spanned(at, message));
    }

    /// Adds a mistake of the attribute on `item` as a whole: something that is missing from it.
    pub(crate) fn attribute(&mut self, item: &Ident, message: impl std::fmt::Display) {
        // Resolved as the item is, the compiler takes the place for one that the user wrote, which it is.
        self.0.push(syn::Error::new(Span::call_site().resolved_at(item.span()), message));
    }

    /// Adds a mistake that the parser found.
    pub(crate) fn add(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// One `compile_error!` for each mistake.
    pub(crate) fn to_compile_errors(&self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}
