//! What has failed and waits for its next attempt, independently of each other.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use crate::time::Timestamp;

/// The things that have failed: how often in a row, and when each can be tried again.
#[derive(Debug)]
pub struct Waits<K>(HashMap<K, Wait>);

#[derive(Debug, Clone, Copy)]
struct Wait {
    failures: u32,
    until: Timestamp,
}

impl<K> Default for Waits<K> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<K: Eq + Hash> Waits<K> {
    /// Records that `thing` failed again at `now`.
    ///
    /// The next attempt is possible after `wait`, called with the number of earlier failures in a row.
    pub fn failed(&mut self, thing: K, now: Timestamp, wait: impl FnOnce(u32) -> std::time::Duration) {
        let failures = self.0.get(&thing).map_or(0, |wait| wait.failures);
        self.0.insert(thing, Wait { failures: failures.saturating_add(1), until: now.after(wait(failures)) });
    }

    /// Records that `thing` succeeded.
    pub fn succeeded<Q>(&mut self, thing: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.remove(thing);
    }

    /// Returns whether `thing` waits at `now`.
    pub fn is_waiting<Q>(&self, thing: &Q, now: Timestamp) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(thing).is_some_and(|wait| wait.until > now)
    }

    /// Returns whether `thing` has failed since it last succeeded.
    pub fn has_failed<Q>(&self, thing: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.contains_key(thing)
    }

    /// Returns the earliest time at which one of the things that wait at `now` can be tried again.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        self.0.values().map(|wait| wait.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn doubling(failures: u32) -> Duration {
        Duration::from_millis(10 << failures)
    }

    #[test]
    fn waits_are_independent_and_grow() {
        let mut waits = Waits::default();
        waits.failed("orders", at(0), doubling);
        waits.failed("payments", at(5), doubling);
        assert!(waits.is_waiting("orders", at(9)) && !waits.is_waiting("orders", at(10)) && !waits.is_waiting("stock", at(0)));
        assert_eq!([waits.next(at(5)), waits.next(at(10)), waits.next(at(15))], [Some(at(10)), Some(at(15)), None]);
        waits.failed("orders", at(10), doubling);
        assert!(waits.is_waiting("orders", at(29)) && !waits.is_waiting("orders", at(30)));
    }

    #[test]
    fn a_success_resets_the_failures() {
        let mut waits = Waits::default();
        waits.failed("orders", at(0), doubling);
        waits.failed("orders", at(10), doubling);
        waits.succeeded("orders");
        assert!(!waits.is_waiting("orders", at(10)));
        waits.failed("orders", at(40), doubling);
        assert_eq!(waits.next(at(40)), Some(at(50)));
    }
}
