//! Whether the transactions of a service fail, and for how long.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::{store::StoreError, time::Timestamp};

/// How long transactions must fail, without a commit, before it is reported as lasting.
const LASTING: Duration = Duration::from_secs(10);
/// How long after the last failure the outage is considered over.
const OVER: Duration = Duration::from_secs(60);

/// The recent failures of transactions, if any since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Failing>>);

#[derive(Debug)]
struct Failing {
    since: Timestamp,
    last: Timestamp,
    error: String,
}

impl Outage {
    /// Records that a transaction failed because of the database. A conflict with another transaction is not counted.
    pub(crate) fn failed(&self, error: &StoreError, now: Timestamp) {
        if !matches!(error, StoreError::Contended(_)) {
            let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let since = failing.as_ref().map_or(now, |failing| failing.since);
            *failing = Some(Failing { since, last: now, error: error.to_string() });
        }
    }

    /// Records that a transaction was committed.
    pub(crate) fn worked(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Returns the last error, if transactions have failed for a long time.
    pub(crate) fn lasting(&self, now: Timestamp) -> Option<String> {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if failing.as_ref().is_some_and(|failing| now.since(failing.last) > OVER) {
            *failing = None;
        }
        failing.as_ref().filter(|failing| failing.last.since(failing.since) >= LASTING).map(|failing| failing.error.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_for_long_and_never_works_is_an_outage() {
        let at = |seconds: i64| Timestamp::from_millis(seconds * 1_000);
        let full = StoreError::Unavailable("the disk is full".into());
        let outage = Outage::default();
        outage.failed(&full, at(0));
        outage.failed(&full, at(9));
        assert_eq!(outage.lasting(at(9)), None);
        outage.failed(&full, at(10));
        assert!(outage.lasting(at(12)).is_some_and(|error| error.contains("the disk is full")));
        outage.worked();
        assert_eq!(outage.lasting(at(12)), None);
        for second in 20..40 {
            outage.failed(&StoreError::Contended("first".into()), at(second));
        }
        assert_eq!(outage.lasting(at(40)), None);
        outage.failed(&full, at(50));
        outage.failed(&full, at(70));
        assert!(outage.lasting(at(129)).is_some());
        assert_eq!(outage.lasting(at(131)), None, "nothing has failed for a minute");
    }
}
