//! The clock of this crate. What is measured here is between the client and its cluster, where a test clock has no say.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "deadlines of the client are of real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
