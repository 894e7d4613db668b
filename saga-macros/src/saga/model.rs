//! What a `#[saga]` is once its parts are read: what is missing or wrong is `None`, and reported.

use std::{fmt, time::Duration};

use proc_macro2::{Ident, TokenStream};
use quote::ToTokens;
use syn::{Path, Type, ext::IdentExt};

use crate::shared::Target;

/// A flow across services.
pub(super) struct Flow {
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
    /// Whether every variant is one of these.
    pub(super) whole: bool,
}

/// An event of the flow, by the path that names it. Two paths are one event when they are written alike.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) path: Path,
    text: String,
}

/// A participant's action.
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

/// What undoes a step.
pub(super) struct Undo {
    /// The word itself, to point at.
    pub(super) word: Ident,
    pub(super) on: Vec<Event>,
    pub(super) emits: Option<Event>,
}

/// What gives the flow up.
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

    /// The name, without its path.
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
