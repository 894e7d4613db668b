//! Spans for tests: collected in this process or received by OTLP, queried, and drawn.

mod drawing;
mod memory;
mod receiver;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use drawing::{draw, text};
pub use memory::Gathered;
pub use receiver::Receiver;

/// An exported span.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Told {
    /// The service that exported it.
    pub service: String,
    /// The trace, in hexadecimal digits.
    pub trace: String,
    /// The span, in hexadecimal digits.
    pub span: String,
    /// The parent span.
    pub parent: Option<String>,
    /// The name of the span.
    pub name: String,
    /// `internal`, `server`, `client`, `producer` or `consumer`.
    pub kind: String,
    /// The start, in nanoseconds since 1970.
    pub began: u64,
    /// The end, in nanoseconds since 1970.
    pub ended: u64,
    /// The attributes.
    pub attributes: BTreeMap<String, String>,
    /// The spans that it links to: trace and span.
    pub links: Vec<(String, String)>,
    /// The error, if the span failed.
    pub error: Option<String>,
}

impl Told {
    /// Returns an attribute; empty if it does not exist.
    pub fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map_or("", String::as_str)
    }
}

/// A list of spans.
#[derive(Debug, Clone, Default)]
pub struct Spans(pub Vec<Told>);

impl Spans {
    /// Returns the spans of one trace, in the order of their starts.
    #[must_use]
    pub fn of_trace(&self, trace: &str) -> Self {
        let mut spans: Vec<_> = self.0.iter().filter(|span| span.trace == trace).cloned().collect();
        spans.sort_by_key(|span| (span.began, span.ended));
        Self(spans)
    }

    /// Returns the trace ids.
    pub fn traces(&self) -> BTreeSet<&str> {
        self.0.iter().map(|span| span.trace.as_str()).collect()
    }

    /// Returns the spans with this name.
    pub fn named(&self, name: &str) -> Vec<&Told> {
        self.0.iter().filter(|span| span.name == name).collect()
    }

    /// Returns the spans of a service with this name.
    pub fn of(&self, service: &str, name: &str) -> Vec<&Told> {
        self.0.iter().filter(|span| span.service == service && span.name == name).collect()
    }

    /// Returns the single span of a service with this name.
    ///
    /// # Panics
    /// Panics when there is none, or more than one.
    pub fn only(&self, service: &str, name: &str) -> &Told {
        let found = self.of(service, name);
        assert_eq!(found.len(), 1, "`{name}` of {service} among\n{}", text(self));
        found[0]
    }

    /// Returns the parent of `span`.
    ///
    /// # Panics
    /// Panics when it was not exported.
    pub fn parent(&self, span: &Told) -> &Told {
        let parent = span.parent.as_ref().unwrap_or_else(|| panic!("`{}` of {} is within no span", span.name, span.service));
        let found = self.0.iter().find(|other| other.span == *parent);
        found.unwrap_or_else(|| panic!("what `{}` of {} is within was not told\n{}", span.name, span.service, text(self)))
    }

    /// Returns the names of the ancestors of `span` with their services, from the inside to the outside.
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

    /// Checks that all spans are one trace: exactly one span has no parent, and the parents of all others were exported.
    ///
    /// # Panics
    /// Panics when they are not.
    pub fn assert_one_trace(&self) {
        assert_eq!(self.traces().len(), 1, "\n{}", text(self));
        let ids: BTreeSet<_> = self.0.iter().map(|span| &span.span).collect();
        assert_eq!(ids.len(), self.0.len(), "two spans have one id\n{}", text(self));
        let roots: Vec<_> = self.0.iter().filter(|span| span.parent.is_none()).map(|span| &span.name).collect();
        assert_eq!(roots.len(), 1, "{roots:?}\n{}", text(self));
        self.0.iter().for_each(|span| drop(self.path(span)));
    }
}
