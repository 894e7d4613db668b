//! From tokens to syntax.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{DeriveInput, Item};

use crate::shared::{Errors, Legal, Options};

const LEGAL: &[Legal] = &[
    Legal { name: "topic", example: "topic = \"orders\"" },
    Legal { name: "key", example: "key = order_id" },
    Legal { name: "name", example: "name = \"OrderCreated\"" },
    Legal { name: "version", example: "version = 1" },
    Legal { name: "crate", example: "crate = sagas" },
];

/// The attribute and what it is on.
pub(super) struct Source {
    pub(super) options: Options,
    pub(super) item: DeriveInput,
}

pub(super) fn source(options: TokenStream, item: TokenStream, errors: &mut Errors) -> Option<Source> {
    match syn::parse2(item.clone()) {
        Ok(item) => Some(Source { options: Options::read(options, "`#[event]`", LEGAL, errors), item }),
        Err(error) => {
            match syn::parse2::<Item>(item) {
                Ok(item) => errors.at(&head(item), "`#[event]` goes on a struct, or on an enum of events"),
                Err(_) => errors.add(error),
            }
            None
        }
    }
}

/// The first word of an item, to point at.
fn head(item: Item) -> TokenStream {
    item.to_token_stream().into_iter().take(1).collect()
}
