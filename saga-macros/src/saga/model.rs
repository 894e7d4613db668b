//! The model of a `#[saga]`. Parts that are missing or wrong are `None`, and are reported.

use std::{fmt, time::Duration};

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::{Path, Type, ext::IdentExt};

use crate::shared::Target;

/// A saga.
pub(super) struct Saga {
    pub(super) target: Target,
    pub(super) name: String,
    pub(super) version: u32,
    pub(super) about: String,
    pub(super) key: Option<Type>,
    pub(super) starts: Option<Event>,
    pub(super) completes: Option<Event>,
    pub(super) aborts: Option<Event>,
    pub(super) deadline: Option<Duration>,
    pub(super) steps: Vec<Step>,
    pub(super) abort: Option<Abort>,
    /// Whether every variant is a step or the abort.
    pub(super) whole: bool,
}

/// An event of the saga, by its path. Two paths are the same event if they are written in the same way.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) path: Path,
    text: String,
}

/// A step.
pub(super) struct Step {
    pub(super) ident: Ident,
    pub(super) about: String,
    pub(super) on: Option<Event>,
    pub(super) emits: Option<Event>,
    pub(super) rejects: Option<Event>,
    pub(super) undo: Option<Undo>,
    pub(super) no_undo: Option<Ident>,
    pub(super) pivot: Option<Ident>,
    pub(super) deadline: Option<Duration>,
}

/// The compensation of a step.
pub(super) struct Undo {
    /// The keyword, where errors are reported.
    pub(super) word: Ident,
    pub(super) on: Vec<Event>,
    pub(super) emits: Option<Event>,
}

/// The abort.
pub(super) struct Abort {
    pub(super) ident: Ident,
    pub(super) about: String,
    pub(super) on: Vec<Event>,
    pub(super) cancel: bool,
    pub(super) deadline: bool,
    pub(super) emits: Option<Event>,
}

impl Event {
    pub(super) fn new(path: Path) -> Self {
        let text = path.to_token_stream().to_string();
        Self { path, text }
    }

    /// The name of the event, without its path.
    pub(super) fn name(&self) -> String {
        self.path.segments.last().map(|segment| segment.ident.unraw().to_string()).unwrap_or_default()
    }
}

impl PartialEq for Event {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())
    }
}

impl ToTokens for Event {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        self.path.to_tokens(tokens);
    }
}
