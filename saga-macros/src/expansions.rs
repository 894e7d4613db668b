//! Compares the generated code with files: each `tests/expand/**/NAME.rs` must expand to `NAME.expanded.rs`.
//!
//! `UPDATE_EXPECT=1 cargo test -p saga-macros` writes the expanded files again.

#![allow(clippy::unwrap_used)]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::{Attribute, Item, Meta};

#[test]
fn expansions_are_those_checked_in() {
    let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/expand"));
    assert!(!sources.is_empty(), "there is nothing to expand");
    let mut changed = Vec::new();
    for source in sources {
        let expanded = expand(&fs::read_to_string(&source).unwrap());
        let path = source.with_extension("expanded.rs");
        if env::var_os("UPDATE_EXPECT").is_some() {
            fs::write(&path, &expanded).unwrap();
        } else if fs::read_to_string(&path).ok().as_deref() != Some(&expanded) {
            changed.push(format!("{} is not what is generated now:\n{expanded}", path.display()));
        }
    }
    assert!(changed.is_empty(), "{}\nwhen it is right, run UPDATE_EXPECT=1 cargo test -p saga-macros", changed.join("\n"));
}

/// Checks that the whole example expands. With `SAGAS_EXPAND_TO`, writes the result to that folder, where `scripts/macro-cost`
/// compiles it.
#[test]
fn the_example_expands() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/ecommerce/src");
    let mut macros = 0;
    for source in sources(&example).iter().filter(|path| path.extension().is_some_and(|extension| extension == "rs")) {
        let text = fs::read_to_string(source).unwrap();
        let expanded = expand(&text);
        for name in ["event", "handler", "saga"] {
            macros += text.matches(&format!("\n#[{name}")).count();
            assert!(!expanded.contains(&format!("#[{name}")), "{} still has #[{name}]", source.display());
        }
        if let Some(to) = env::var_os("SAGAS_EXPAND_TO") {
            let path = Path::new(&to).join(source.strip_prefix(&example).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, expanded).unwrap();
        }
    }
    assert!(macros > 20, "the example uses the macros: {macros} times");
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if !path.to_str().unwrap().ends_with(".expanded.rs") {
            found.push(path);
        }
    }
    found
}

/// The file with its macros expanded, formatted.
fn expand(source: &str) -> String {
    let file = syn::parse_file(source).unwrap();
    let items = file.items.into_iter().map(item);
    let doc = file.attrs;
    prettyplease::unparse(&syn::parse2(quote!(#(#doc)* #(#items)*)).unwrap())
}

fn item(mut item: Item) -> TokenStream {
    let attributes = match &mut item {
        Item::Enum(item) => &mut item.attrs,
        Item::Fn(item) => &mut item.attrs,
        Item::Struct(item) => &mut item.attrs,
        _ => return item.into_token_stream(),
    };
    let Some((at, run)) = attributes.iter().enumerate().find_map(|(at, attribute)| Some((at, run(attribute)?))) else {
        return item.into_token_stream();
    };
    let attribute = attributes.remove(at);
    let options = match attribute.meta {
        Meta::List(list) => list.tokens,
        _ => TokenStream::new(),
    };
    run(options, item.into_token_stream())
}

/// A macro: generates code from its options and its item.
type Macro = fn(TokenStream, TokenStream) -> TokenStream;

/// The macro that `attribute` calls.
fn run(attribute: &Attribute) -> Option<Macro> {
    let macros: [(&str, Macro); 3] = [("event", crate::event::run), ("handler", crate::handler::run), ("saga", crate::saga::run)];
    macros.into_iter().find(|(name, _)| attribute.path().is_ident(name)).map(|(_, run)| run)
}
