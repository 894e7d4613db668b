//! What has failed and waits for its next attempt, each thing by itself.

use std::{borrow::Borrow, collections::HashMap, hash::Hash};

use crate::time::Timestamp;

/// Things that have failed: how often in a row, and when each may be tried again.
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
    /// Takes note that `thing` has failed at `now` once more, and may be tried again after `wait` of how often it had failed
    /// before.
    pub fn failed(&mut self, thing: K, now: Timestamp, wait: impl FnOnce(u32) -> std::time::Duration) {
        let failures = self.0.get(&thing).map_or(0, |wait| wait.failures);
        self.0.insert(thing, Wait { failures: failures.saturating_add(1), until: now.after(wait(failures)) });
    }

    /// Takes note that `thing` works.
    pub fn works<Q>(&mut self, thing: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.remove(thing);
    }

    /// Whether `thing` waits at `now`.
    pub fn holds<Q>(&self, thing: &Q, now: Timestamp) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(thing).is_some_and(|wait| wait.until > now)
    }

    /// Whether `thing` has failed since it last worked.
    pub fn has_failed<Q>(&self, thing: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.contains_key(thing)
    }

    /// When the first of those that wait at `now` may be tried again.
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
    fn each_thing_waits_for_itself_and_longer_each_time() {
        let mut waits = Waits::default();
        waits.failed("orders", at(0), doubling);
        waits.failed("payments", at(5), doubling);
        assert!(waits.holds("orders", at(9)) && !waits.holds("orders", at(10)) && !waits.holds("stock", at(0)));
        assert_eq!([waits.next(at(5)), waits.next(at(10)), waits.next(at(15))], [Some(at(10)), Some(at(15)), None]);
        waits.failed("orders", at(10), doubling);
        assert!(waits.holds("orders", at(29)) && !waits.holds("orders", at(30)));
    }

    #[test]
    fn what_works_again_begins_anew() {
        let mut waits = Waits::default();
        waits.failed("orders", at(0), doubling);
        waits.failed("orders", at(10), doubling);
        waits.works("orders");
        assert!(!waits.holds("orders", at(10)));
        waits.failed("orders", at(40), doubling);
        assert_eq!(waits.next(at(40)), Some(at(50)));
    }
}
