//! The clock of this crate. It measures times between the client and its cluster, which a test clock cannot control.

use std::time::Instant;

#[expect(clippy::disallowed_methods, reason = "the client's deadlines are in real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}
