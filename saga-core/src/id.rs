//! Identities: of messages, and where new ones come from.
//!
//! ```
//! use saga_core::{id::{IdSource, MessageId}, time::Timestamp};
//!
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let (first, again) = (IdSource::seeded(7), IdSource::seeded(7));
//! let id = MessageId::from(first.uuid(now));
//! assert_eq!(id, again.uuid(now).into());
//! assert_ne!(id, first.uuid(now).into());
//! // UUIDs of version 7 begin with the time, so they sort by it to the millisecond.
//! assert!(id < first.uuid(now.after(std::time::Duration::from_millis(1))).into());
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// The identity of a message within its source: `ce_id`. Ours are UUIDs (version 7); a foreign producer's can be any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// The identity written as `text`.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Uuid> for MessageId {
    fn from(id: Uuid) -> Self {
        Self(id.to_string().into())
    }
}

/// Where new identities and random numbers come from: seeded, so that a test or a simulation can be run again.
#[derive(Clone, Debug)]
pub struct IdSource(Arc<Mutex<fastrand::Rng>>);

impl Default for IdSource {
    fn default() -> Self {
        Self::random()
    }
}

impl IdSource {
    /// A source that no two processes share.
    #[expect(clippy::disallowed_methods, reason = "the one place that draws an unseeded number")]
    pub fn random() -> Self {
        Self::seeded(Uuid::new_v4().as_u64_pair().0)
    }

    /// The source that always gives the same identities for the same `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// A new UUID of version 7, made at `now`.
    pub fn uuid(&self, now: Timestamp) -> Uuid {
        let mut bytes = [0; 10];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.as_millis()).unwrap_or(0), &bytes).into_uuid()
    }

    /// A number drawn evenly from `[0, 1)`.
    pub fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    /// A trace id (W3C Trace Context), which is never zero.
    pub(crate) fn trace_id(&self) -> u128 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).u128(1..)
    }

    /// A span id (W3C Trace Context), which is never zero.
    pub(crate) fn span_id(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).u64(1..)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_ids() {
        let now = Timestamp::from_millis(5);
        assert_eq!(IdSource::seeded(7).uuid(now), IdSource::seeded(7).uuid(now));
        assert_ne!(IdSource::seeded(7).uuid(now), IdSource::seeded(8).uuid(now));
    }
}
