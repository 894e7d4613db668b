//! The limits of a request.

use std::time::Duration;

/// The default limit of a body, in bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1 << 20;

/// The limits of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RequestLimits {
    /// The maximum size of a body, in bytes. Default: 1 MiB.
    pub body_bytes: usize,
    /// The time in which a body must arrive. Default: 30 seconds.
    pub body_timeout: Duration,
    /// The maximum size of the bodies of all requests together, in bytes. A body that exceeds it is answered 503. Default: 64 MiB.
    pub bodies_bytes: usize,
    /// The time in which a handler must respond. After it the handler is dropped and the request is answered 503. The body of a response
    /// can take longer, as a stream does. Default: 4.8 seconds.
    pub answer_timeout: Duration,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self {
            body_bytes: MAX_BODY_BYTES,
            body_timeout: Duration::from_secs(30),
            bodies_bytes: 64 << 20,
            answer_timeout: Duration::from_millis(4_800),
        }
    }
}
