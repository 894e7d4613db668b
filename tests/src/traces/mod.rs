//! Spans, as tests look at them: gathered in the process or received by OTLP, asked for what belongs together, and drawn.

mod drawing;
mod memory;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use drawing::{draw, text};
pub use memory::Gathered;
pub use receiver::Receiver;

/// A span that was told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The service that told it.
    pub service: String,
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// The span, in hexadecimal digits.
    pub span: String,
    /// The span that it is within.
    pub parent: Option<String>,
    /// What was done.
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// When it began, in nanoseconds since 1970.
    pub began: u64,
    /// When it ended.
    pub ended: u64,
    /// What is said of it.
    pub attributes: BTreeMap<String, String>,
    /// The spans that it links to: trace and span.
    pub links: Vec<(String, String)>,
    /// Why it failed, if it did.
    pub error: Option<String>,
}

impl Told {
    /// An attribute; empty if there is none of that name.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// Spans that belong together, or do not.
#[derive(Debug, Clone, Default)]
pub struct Spans(pub Vec<Told>);

impl Spans {
    /// Those of one trace, in the order of their beginnings.
    #[must_use]
    pub fn of_trace(&self, trace: &str) -> Self {
        let mut spans: Vec<_> = self.0.iter().filter(|span| span.trace == trace).cloned().collect();
        spans.sort_by_key(|span| (span.began, span.ended));
        Self(spans)
    }

    /// The traces that there are.
    pub fn traces(&self) -> BTreeSet<&str> {
        self.0.iter().map(|span| span.trace.as_str()).collect()
    }

    /// Those with this name.
    pub fn named(&self, name: &str) -> Vec<&Told> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    /// Those of a service with this name.
    pub fn of(&self, service: &str, name: &str) -> Vec<&Told> {
        self.0.iter().filter(|span| span.service == service && span.name == name).collect()
    }

    /// The only one of a service with this name.
    ///
    /// # Panics
    /// When there is none, or are several.
    pub fn only(&self, service: &str, name: &str) -> &Told {
        let found = self.of(service, name);
        assert_eq!(found.len(), 1, "`{name}` of {service} among\n{}", text(self));
        found[0]
    }

    /// The span that `span` is within.
    ///
    /// # Panics
    /// When it was not told.
    pub fn parent(&self, span: &Told) -> &Told {
        let parent = span.parent.as_ref().unwrap_or_else(|| panic!("`{}` of {} is within no span", span.name, span.service));
        let found = self.0.iter().find(|other| other.span == *parent);
        found.unwrap_or_else(|| panic!("what `{}` of {} is within was not told\n{}", span.name, span.service, text(self)))
    }

    /// The names of what `span` is within, from the inside to the outside, each with its service.
    pub fn path(&self, span: &Told) -> Vec<String> {
        let mut path = Vec::new();
        let mut at = span;
        while at.parent.is_some() {
            at = self.parent(at);
            path.push(format!("{}: {}", at.service, at.name));
            assert!(path.len() < 1_000, "spans within each other in a circle: {path:?}");
        }
        path
    }

    /// Checks that all of it is one trace: one span is within none, and every other within one that was told.
    ///
    /// # Panics
    /// When it is not.
    pub fn assert_one_trace(&self) {
        assert_eq!(self.traces().len(), 1, "\n{}", text(self));
        let ids: BTreeSet<_> = self.0.iter().map(|span| &span.span).collect();
        assert_eq!(ids.len(), self.0.len(), "two spans have one id\n{}", text(self));
        let roots: Vec<_> = self.0.iter().filter(|span| span.parent.is_none()).map(|span| &span.name).collect();
        assert_eq!(roots.len(), 1, "{roots:?}\n{}", text(self));
        self.0.iter().for_each(|span| drop(self.path(span)));
    }
}
