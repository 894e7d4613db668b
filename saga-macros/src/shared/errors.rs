//! Collects all mistakes of an item, so that they are reported together.

use proc_macro2::{Ident, Span, TokenStream};
use quote::ToTokens;

/// The mistakes that were found so far.
#[derive(Default)]
pub(crate) struct Errors(Vec<syn::Error>);

impl Errors {
    /// Adds a mistake at the span of `at`.
    pub(crate) fn at(&mut self, at: &impl ToTokens, message: impl std::fmt::Display) {
        self.0.push(syn::Error::new_spanned(at, message));
    }

    /// Adds a mistake about the whole attribute of `item`: something that it lacks.
    pub(crate) fn attribute(&mut self, item: &Ident, message: impl std::fmt::Display) {
        // With the hygiene of the item, the compiler treats the location as code of the user, which it is.
        self.0.push(syn::Error::new(Span::call_site().resolved_at(item.span()), message));
    }

    /// Adds a mistake that the parser found.
    pub(crate) fn add(&mut self, error: syn::Error) {
        self.0.push(error);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Generates one `compile_error!` for each mistake.
    pub(crate) fn to_compile_errors(&self) -> TokenStream {
        self.0.iter().map(syn::Error::to_compile_error).collect()
    }
}
