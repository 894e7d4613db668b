//! Parses the tokens into syntax: the attribute, the enum, and the attributes of its variants.

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::{Attribute, Fields, Generics, Item, ItemEnum, Meta};

use crate::shared::{Errors, Legal, Options};

const LEGAL: &[Legal] = &[
    Legal { name: "key", example: "key = OrderId" },
    Legal { name: "starts", example: "starts = OrderCreated" },
    Legal { name: "completes", example: "completes = OrderConfirmed" },
    Legal { name: "aborts", example: "aborts = OrderCancelled" },
    Legal { name: "deadline", example: "deadline = \"15m\"" },
    Legal { name: "version", example: "version = 1" },
    Legal { name: "name", example: "name = \"PlaceOrder\"" },
    Legal { name: "crate", example: "crate = sagas" },
];

const LEGAL_STEP: &[Legal] = &[
    Legal { name: "on", example: "on = OrderCreated" },
    Legal { name: "emits", example: "emits = InventoryReserved" },
    Legal { name: "rejects", example: "rejects = InventoryInsufficient" },
    Legal { name: "undo", example: "undo(on = OrderCancelled, emits = InventoryReleased)" },
    Legal { name: "no_undo", example: "no_undo" },
    Legal { name: "pivot", example: "pivot" },
    Legal { name: "deadline", example: "deadline = \"1m\"" },
];

const LEGAL_UNDO: &[Legal] =
    &[Legal { name: "on", example: "on = OrderCancelled" }, Legal { name: "emits", example: "emits = InventoryReleased" }];

const LEGAL_ABORT: &[Legal] = &[
    Legal { name: "on", example: "on(InventoryInsufficient, InventoryReleased, cancel, deadline)" },
    Legal { name: "emits", example: "emits = OrderCancelled" },
];

/// The attribute and its enum.
pub(super) struct Source {
    pub(super) options: Options,
    /// The enum without the attributes that are read here, and without the parts that a saga cannot have, which are reported.
    pub(super) item: ItemEnum,
    pub(super) variants: Vec<Part>,
}

/// A variant of the enum.
pub(super) enum Part {
    Step {
        ident: Ident,
        about: String,
        options: Options,
        undo: Option<Options>,
    },
    Abort {
        ident: Ident,
        about: String,
        options: Options,
    },
    /// Neither a step nor the abort, or both; this is reported.
    Nothing,
}

pub(super) fn source(options: TokenStream, item: TokenStream, errors: &mut Errors) -> Option<Source> {
    let mut item: ItemEnum = match syn::parse2(item.clone()) {
        Ok(item) => item,
        Err(error) => {
            match syn::parse2::<Item>(item) {
                Ok(item) => errors.at(&head(item), "`#[saga]` goes on an enum, whose variants are the steps of the saga"),
                Err(_) => errors.add(error),
            }
            return None;
        }
    };
    let options = Options::read(options, "`#[saga]`", LEGAL, errors);
    if !item.generics.params.is_empty() {
        errors.at(&item.generics, "a saga is one type: remove the parameters");
    }
    item.generics = Generics::default();
    let variants = variants(&mut item, errors);
    Some(Source { options, item, variants })
}

fn variants(item: &mut ItemEnum, errors: &mut Errors) -> Vec<Part> {
    let mut parts = Vec::new();
    for variant in &mut item.variants {
        if !variant.fields.is_empty() {
            errors
                .at(&variant.fields, format!("a step has no fields, its events carry the data: write `{}` alone", variant.ident));
            variant.fields = Fields::Unit;
        }
        if let Some((_, value)) = variant.discriminant.take() {
            errors.at(&value, format!("a step has no number of its own: write `{}` alone", variant.ident));
        }
        if let Some(cfg) = variant.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
            errors.at(cfg, "a saga has the same steps in every service: put `#[cfg(..)]` on two versions of the enum instead");
        }
        let about = about(&variant.attrs);
        let ours = |attribute: &Attribute| attribute.path().is_ident("step") || attribute.path().is_ident("abort");
        let (mine, others): (Vec<_>, Vec<_>) = std::mem::take(&mut variant.attrs).into_iter().partition(ours);
        variant.attrs = others;
        for second in mine.iter().skip(1) {
            errors.at(second, format!("`{}` has an attribute already: it is one step, or the abort", variant.ident));
        }
        parts.push(match mine.first() {
            Some(attribute) => part(&variant.ident, about, attribute, errors),
            None => {
                errors.at(
                    &variant.ident,
                    format!(
                        "`{}` is neither a step nor the abort: put `#[step(on = .., emits = ..)]` on it, or `#[abort(on(..), emits = ..)]` if it aborts the saga",
                        variant.ident
                    ),
                );
                Part::Nothing
            }
        });
    }
    parts
}

fn part(ident: &Ident, about: String, attribute: &Attribute, errors: &mut Errors) -> Part {
    let tokens = match &attribute.meta {
        Meta::List(list) => list.tokens.clone(),
        _ => TokenStream::new(),
    };
    let ident = ident.clone();
    if attribute.path().is_ident("abort") {
        return Part::Abort { ident, about, options: Options::read(tokens, "`#[abort]`", LEGAL_ABORT, errors) };
    }
    let options = Options::read(tokens, "`#[step]`", LEGAL_STEP, errors);
    let undo = options
        .find("undo")
        .and_then(|given| given.list("has options: what leads to it, and what it publishes", errors))
        .map(|parts| Options::read(parts, "`undo`", LEGAL_UNDO, errors));
    Part::Step { ident, about, options, undo }
}

/// The first paragraph of the documentation in `attributes`, as one line.
pub(super) fn about(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter(|attribute| attribute.path().is_ident("doc")).filter_map(|attribute| {
        let Meta::NameValue(value) = &attribute.meta else { return None };
        let syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) = &value.value else { return None };
        Some(text.value().trim().to_owned())
    });
    let paragraph: Vec<String> = lines.skip_while(String::is_empty).take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ")
}

/// The first token of an item, where an error is reported.
fn head(item: Item) -> TokenStream {
    item.to_token_stream().into_iter().take(1).collect()
}
