//! Parses the tokens into syntax. The body of the fn stays as tokens.

use proc_macro2::TokenStream;
use syn::{
    Attribute, Signature, Visibility,
    parse::{Parse, ParseStream},
};

use crate::shared::{Errors, Legal, Options};

const LEGAL: &[Legal] = &[
    Legal { name: "retry", example: "retry(max = 5, backoff = \"200ms..30s\")" },
    Legal { name: "timeout", example: "timeout = \"30s\"" },
    Legal { name: "exhausted", example: "exhausted = give_up" },
    Legal { name: "on_dead", example: "on_dead = \"hold\"" },
    Legal { name: "topic", example: "topic = \"transfers\"" },
    Legal { name: "step", example: "step = PlaceOrder::ReserveInventory" },
    Legal { name: "undo", example: "undo = PlaceOrder::ReserveInventory" },
    Legal { name: "crate", example: "crate = sagas" },
];

const LEGAL_RETRY: &[Legal] =
    &[Legal { name: "max", example: "max = 5" }, Legal { name: "backoff", example: "backoff = \"200ms..30s\"" }];

/// The attribute and its fn.
pub(super) struct Source {
    pub(super) options: Options,
    pub(super) retry: Option<Options>,
    pub(super) function: Function,
}

/// A fn; its body can be any tokens.
pub(super) struct Function {
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    pub(super) signature: Signature,
    pub(super) body: TokenStream,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attributes: input.call(Attribute::parse_outer)?,
            visibility: input.parse()?,
            signature: input.parse()?,
            body: input.parse()?,
        })
    }
}

pub(super) fn source(options: TokenStream, item: TokenStream, errors: &mut Errors) -> Option<Source> {
    let Ok(function) = syn::parse2(item.clone()) else {
        errors.at(&item, "`#[handler]` goes on an `async fn`");
        return None;
    };
    let options = Options::read(options, "`#[handler]`", LEGAL, errors);
    let retry = options
        .find("retry")
        .and_then(|given| given.list("is a list of its parts", errors))
        .map(|parts| Options::read(parts, "`retry`", LEGAL_RETRY, errors));
    Some(Source { options, retry, function })
}
