//! Message ids, and the source of new ids and random numbers.
//!
//! ```
//! use saga_core::{id::{IdSource, MessageId}, time::Timestamp};
//!
//! let now = Timestamp::from_millis(1_700_000_000_000);
//! let (first, again) = (IdSource::seeded(7), IdSource::seeded(7));
//! let id = MessageId::from(first.uuid(now));
//! assert_eq!(id, again.uuid(now).into());
//! assert_ne!(id, first.uuid(now).into());
//! // UUIDs of version 7 begin with the time, so they sort by time, to the millisecond.
//! assert!(id < first.uuid(now.after(std::time::Duration::from_millis(1))).into());
//! ```

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::time::Timestamp;

/// The id of a message within its source: `ce_id`. The framework creates UUIDs (version 7); another producer's id can be any text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct MessageId(Arc<str>);

impl MessageId {
    /// Creates an id from its text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Returns the id as text.
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

/// A source of new ids and random numbers. It can be seeded, so that a test or a simulation is reproducible.
#[derive(Clone, Debug)]
pub struct IdSource(Arc<Mutex<fastrand::Rng>>);

impl Default for IdSource {
    fn default() -> Self {
        Self::random()
    }
}

impl IdSource {
    /// Creates a source with a random seed, different for each call.
    #[expect(clippy::disallowed_methods, reason = "the only place that draws an unseeded random number")]
    pub fn random() -> Self {
        Self::seeded(Uuid::new_v4().as_u64_pair().0)
    }

    /// Creates a source that always returns the same sequence for the same `seed`.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(fastrand::Rng::with_seed(seed))))
    }

    /// Returns a new UUID of version 7 with the time `now`.
    pub fn uuid(&self, now: Timestamp) -> Uuid {
        let mut bytes = [0; 10];
        self.0.lock().unwrap_or_else(PoisonError::into_inner).fill(&mut bytes);
        uuid::Builder::from_unix_timestamp_millis(u64::try_from(now.as_millis()).unwrap_or(0), &bytes).into_uuid()
    }

    /// Returns a random number from `[0, 1)`, uniformly distributed.
    pub fn fraction(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).f64()
    }

    /// Returns a trace id (W3C Trace Context), never zero.
    pub(crate) fn trace_id(&self) -> u128 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).u128(1..)
    }

    /// Returns a span id (W3C Trace Context), never zero.
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
