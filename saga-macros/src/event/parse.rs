//! Parses the tokens into syntax.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::{DeriveInput, Item};

use crate::shared::{Errors, Legal, Options};

const LEGAL: &[Legal] = &[
    Legal { name: "topic", example: "topic = \"orders\"" },
    Legal { name: "key", example: "key = order_id" },
    Legal { name: "name", example: "name = \"OrderCreated\"" },
    Legal { name: "version", example: "version = 1" },
    Legal { name: "also", example: "also = [\"OrderPlaced\"]" },
    Legal { name: "codec", example: "codec = Packed" },
    Legal { name: "upcast", example: "upcast(1 => from_v1)" },
    Legal { name: "crate", example: "crate = sagas" },
];

/// The attribute and its item.
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

/// The first token of an item, where an error is reported.
fn head(item: Item) -> TokenStream {
    item.to_token_stream().into_iter().take(1).collect()
}
