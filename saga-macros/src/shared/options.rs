//! The options of an attribute: `name = value`, `name(..)`, separated by commas. Each is parsed separately, so that a mistake in
//! one does not hide mistakes in the others.

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::{
    Path,
    ext::IdentExt,
    parse::{Parse, Parser},
};

use super::{Errors, list, nearest};

/// An option that exists, with an example.
pub(crate) struct Legal {
    pub(crate) name: &'static str,
    pub(crate) example: &'static str,
}

/// The given options, each at most once. Unknown options are reported.
pub(crate) struct Options(Vec<Given>);

/// One given option.
pub(crate) struct Given {
    pub(crate) name: Ident,
    example: &'static str,
    value: Value,
}

enum Value {
    None,
    Equals(TokenStream),
    List(TokenStream),
}

impl Options {
    /// Parses the options of `of`, which is how messages call the attribute.
    pub(crate) fn read(tokens: TokenStream, of: &str, legal: &[Legal], errors: &mut Errors) -> Self {
        let mut options = Self(Vec::new());
        for part in split(tokens) {
            if let Some(given) = Given::read(part, of, legal, errors) {
                if options.0.iter().any(|other| other.name.unraw() == given.name.unraw()) {
                    errors.at(&given.name, format!("`{}` is given twice; keep one", given.name));
                } else {
                    options.0.push(given);
                }
            }
        }
        options
    }

    /// Returns the option called `name`, if it is given.
    pub(crate) fn find(&self, name: &str) -> Option<&Given> {
        self.0.iter().find(|given| given.name == name)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Given> {
        self.0.iter()
    }

    /// The path of the facade crate: the value of `crate = ..`, or `::sagas`.
    pub(crate) fn krate(&self, errors: &mut Errors) -> Path {
        self.find("crate")
            .and_then(|given| given.parse(Path::parse_mod_style, "is the path of the crate `sagas`", errors))
            .unwrap_or_else(|| syn::parse_quote!(::sagas))
    }
}

impl Given {
    fn read(tokens: TokenStream, of: &str, legal: &[Legal], errors: &mut Errors) -> Option<Self> {
        let names: Vec<&str> = legal.iter().map(|legal| legal.name).collect();
        let mut rest = tokens.clone().into_iter();
        let Some(TokenTree::Ident(name)) = rest.next() else {
            errors.at(&tokens, format!("this is no option of {of}; its options are {}", list(&names)));
            return None;
        };
        let Some(legal) = legal.iter().find(|legal| name == legal.name) else {
            let meant = nearest(&name.to_string(), &names).map(|name| format!(" (did you mean `{name}`?)")).unwrap_or_default();
            errors.at(&name, format!("{of} has no option `{name}`{meant}; its options are {}", list(&names)));
            return None;
        };
        let value = match rest.next() {
            None => Value::None,
            Some(TokenTree::Punct(punct)) if punct.as_char() == '=' => Value::Equals(rest.collect()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis && rest.next().is_none() => {
                Value::List(group.stream())
            }
            Some(_) => {
                errors.at(&tokens, format!("write `{}`", legal.example));
                return None;
            }
        };
        Some(Self { name, example: legal.example, value })
    }

    /// Reports that the value is wrong; `problem` continues a sentence that begins with the option's name.
    pub(crate) fn wrong(&self, problem: &str, errors: &mut Errors) {
        let message = format!("`{}` {problem}: write `{}`", self.name, self.example);
        match &self.value {
            Value::Equals(tokens) | Value::List(tokens) if !tokens.is_empty() => errors.at(tokens, message),
            _ => errors.at(&self.name, message),
        }
    }

    /// Parses the value after `=` with `parser`; `expected` continues a sentence that begins with the option's name.
    pub(crate) fn parse<T>(&self, parser: impl Parser<Output = T>, expected: &str, errors: &mut Errors) -> Option<T> {
        let value = match &self.value {
            Value::Equals(tokens) => parser.parse2(tokens.clone()).ok(),
            _ => None,
        };
        if value.is_none() {
            self.wrong(expected, errors);
        }
        value
    }

    /// Parses the value after `=`.
    pub(crate) fn value<T: Parse>(&self, expected: &str, errors: &mut Errors) -> Option<T> {
        self.parse(T::parse, expected, errors)
    }

    /// Parses the value after `=`, or the values in parentheses, separated by commas; `expected` describes one of them.
    pub(crate) fn values<T: Parse>(&self, expected: &str, errors: &mut Errors) -> Vec<T> {
        let parts = match &self.value {
            Value::Equals(tokens) => vec![tokens.clone()],
            Value::List(tokens) => split(tokens.clone()),
            Value::None => Vec::new(),
        };
        let values: Vec<Option<T>> = parts.into_iter().map(|part| syn::parse2(part).ok()).collect();
        if values.is_empty() || values.iter().any(Option::is_none) {
            self.wrong(expected, errors);
        }
        values.into_iter().flatten().collect()
    }

    /// Reports a value, because this option has none.
    pub(crate) fn flag(&self, errors: &mut Errors) {
        if !matches!(self.value, Value::None) {
            self.wrong("has no value", errors);
        }
    }

    /// The tokens in the parentheses.
    pub(crate) fn list(&self, expected: &str, errors: &mut Errors) -> Option<TokenStream> {
        match &self.value {
            Value::List(tokens) => Some(tokens.clone()),
            _ => {
                self.wrong(expected, errors);
                None
            }
        }
    }
}

impl ToTokens for Given {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.name.to_tokens(tokens);
    }
}

/// Splits tokens at commas, except at those within `<..>`.
fn split(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    let mut depth = 0_u32;
    for token in tokens {
        if let TokenTree::Punct(punct) = &token {
            match punct.as_char() {
                ',' if depth == 0 => {
                    parts.push(TokenStream::new());
                    continue;
                }
                '<' => depth += 1,
                '>' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        if let Some(part) = parts.last_mut() {
            part.extend([token]);
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}
