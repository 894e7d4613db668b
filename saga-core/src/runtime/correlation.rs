//! What the events of a unit of work carry of the request that caused it.

use crate::message::TraceContext;

/// The correlation id and the trace of a request, which the events that it leads to carry. A crate with a server converts its requests to
/// it, for [`ServiceHandle::begin_for`](super::ServiceHandle::begin_for) and `Publisher::for_request`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Correlation {
    /// The correlation id; without one, a new UUID.
    pub id: Option<String>,
    /// The span of the request; without one, a new trace.
    pub trace: Option<TraceContext>,
}
