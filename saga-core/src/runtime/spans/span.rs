//! A span as plain data: what the runtime says of it, before it has the form of any exporter.

#[cfg(feature = "otel")]
use std::time::SystemTime;

use crate::message::TraceContext;

/// When something began of which a span is made; empty for what has none.
///
/// It is of the machine's clock, to the nanosecond, as collectors want it: the clock of a service stands still in tests, and goes by
/// milliseconds.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Moment(#[cfg(feature = "otel")] Option<SystemTime>);

impl Moment {
    #[cfg(feature = "otel")]
    #[expect(clippy::disallowed_methods, reason = "collectors compare the times of spans with those of other processes")]
    pub(crate) fn now() -> Self {
        Self(Some(SystemTime::now()))
    }

    #[cfg(not(feature = "otel"))]
    pub(crate) fn now() -> Self {
        Self()
    }

    /// Whether a span is made of what began then.
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

/// What a span is to the spans around it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

/// The value of an attribute.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Text(String),
    Word(&'static str),
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

/// A span, when it is over.
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub(crate) context: TraceContext,
    /// The span that it is within, and whether that is of another process.
    pub(crate) parent: Option<(u64, bool)>,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) attributes: Vec<(&'static str, Value)>,
    pub(crate) links: Vec<TraceContext>,
    /// The kind of failure, in few words that recur, and what is to be said of it.
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

    /// Within a span of this process.
    pub(crate) fn within(self, parent: &TraceContext) -> Self {
        Self { parent: Some((parent.span_id(), false)), ..self }
    }

    /// Within a span that another process may have told; of none if there is none.
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
