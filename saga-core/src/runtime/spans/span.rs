//! A span as plain data, independent of any exporter.

#[cfg(feature = "otel")]
use std::time::SystemTime;

use crate::message::TraceContext;

/// The time when something began; empty if no span is recorded for it.
///
/// It is the time of the system clock in nanoseconds, as collectors need it. The service's clock stands still in tests, and has
/// milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment(#[cfg(feature = "otel")] Option<SystemTime>);

impl Moment {
    #[cfg(feature = "otel")]
    #[expect(clippy::disallowed_methods, reason = "collectors compare the times of spans across processes")]
    pub(crate) fn now() -> Self {
        Self(Some(SystemTime::now()))
    }

    #[cfg(not(feature = "otel"))]
    pub(crate) fn now() -> Self {
        Self()
    }

    /// Whether a span is recorded.
    #[cfg(feature = "otel")]
    pub(crate) fn is_recorded(self) -> bool {
        self.0.is_some()
    }

    #[cfg(not(feature = "otel"))]
    pub(crate) fn is_recorded(self) -> bool {
        false
    }

    #[cfg(feature = "otel")]
    pub(super) fn time(self) -> SystemTime {
        self.0.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

/// The kind of a span, as OpenTelemetry defines it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// The value of an attribute of a span.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Value {
    /// A text.
    Text(String),
    /// A text that is part of the program.
    Word(&'static str),
    /// A number.
    Number(i64),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Number(number)
    }
}

/// A finished span.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) context: TraceContext,
    /// The parent span, and whether it belongs to another process.
    pub(crate) parent: Option<(u64, bool)>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) links: Vec<TraceContext>,
    /// The kind of the failure, from a small set of words, and its text.
    pub(crate) error: Option<(String, String)>,
    pub(crate) began: Moment,
    pub(crate) ended: Moment,
}

impl Span {
    pub(crate) fn new(context: &TraceContext, name: String, kind: Kind) -> Self {
        Self {
            context: context.clone(),
            parent: None,
            name,
            kind,
            attributes: Vec::new(),
            links: Vec::new(),
            error: None,
            began: Moment::default(),
            ended: Moment::default(),
        }
    }

    /// Sets a parent of this process.
    pub(crate) fn within(self, parent: &TraceContext) -> Self {
        Self { parent: Some((parent.span_id(), false)), ..self }
    }

    /// Sets a parent that can belong to another process, if there is one.
    pub(crate) fn within_remote(self, parent: Option<u64>) -> Self {
        Self { parent: parent.map(|parent| (parent, true)), ..self }
    }

    pub(crate) fn with(mut self, attributes: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        self.attributes.extend(attributes);
        self
    }

    pub(crate) fn failed(self, error: Option<(impl Into<String>, impl Into<String>)>) -> Self {
        Self { error: error.map(|(kind, text)| (kind.into(), text.into())), ..self }
    }

    pub(crate) fn linked(self, links: Vec<TraceContext>) -> Self {
        Self { links, ..self }
    }

    pub(crate) fn from(self, began: Moment, ended: Moment) -> Self {
        Self { began, ended, ..self }
    }
}
