//! From tokens to syntax. The fn's body is not looked at.

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
    Legal { name: "step", example: "step = PlaceOrder::ReserveInventory" },
    Legal { name: "undo", example: "undo = PlaceOrder::ReserveInventory" },
    Legal { name: "crate", example: "crate = sagas" },
];

const LEGAL_RETRY: &[Legal] =
    &[Legal { name: "max", example: "max = 5" }, Legal { name: "backoff", example: "backoff = \"200ms..30s\"" }];

/// The attribute and the fn it is on.
pub(super) struct Source {
    pub(super) options: Options,
    pub(super) retry: Option<Options>,
    pub(super) function: Function,
}

/// A fn without its body.
pub(super) struct Function {
    pub(super) attributes: Vec<Attribute>,
    pub(super) visibility: Visibility,
    pub(super) signature: Signature,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let function =
            Self { attributes: input.call(Attribute::parse_outer)?, visibility: input.parse()?, signature: input.parse()? };
        let _body: TokenStream = input.parse()?;
        Ok(function)
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
