//! The attribute macros of `sagas`.
//!
//! Each macro is a folder of phases: `parse` turns tokens into syntax, `validate` checks the rules and turns syntax into the
//! `model`, `expand` generates the code for a model, and `fallback` generates what is emitted when a rule is broken. A phase
//! reports every mistake that it finds, and continues. The generated code consists of data and calls; code that loops or awaits
//! is in `saga-core`.
//!
//! The macros are documented where `sagas` re-exports them, so that their examples are tested against the real crate.

#![forbid(unsafe_code)]
#![allow(missing_docs, reason = "documented at the re-export in `sagas`")]

mod event;
#[cfg(test)]
mod expansions;
mod handler;
#[cfg(test)]
mod planted;
mod saga;
mod shared;

use proc_macro::TokenStream;

#[proc_macro_attribute]
pub fn event(options: TokenStream, item: TokenStream) -> TokenStream {
    event::run(options.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn handler(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::run(options.into(), item.into()).into()
}

#[proc_macro_attribute]
pub fn saga(options: TokenStream, item: TokenStream) -> TokenStream {
    saga::run(options.into(), item.into()).into()
}
