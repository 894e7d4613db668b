//! The identity of each topic's log. It is queried every few seconds, and on demand.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use super::core::Core;
use crate::{
    engine::identity::Identities,
    time::Timestamp,
    transport::{TopicIdentity, TransportError},
};

/// How often the identities are queried.
const ASK: Duration = Duration::from_secs(3);
/// The time limit of a query.
const PATIENCE: Duration = Duration::from_secs(5);

/// The known identities of a service's topics.
#[derive(Default)]
pub(crate) struct Logs {
    known: Mutex<Known>,
    changes: AtomicU64,
}

#[derive(Default)]
struct Known {
    identities: Identities,
    /// The topics without a known identity: since when, and why.
    unknown: BTreeMap<String, (Timestamp, String)>,
}

impl Logs {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the identity of the log of `topic`, if it is known.
    pub(crate) fn of(&self, topic: &str) -> Option<Arc<str>> {
        self.known().identities.of(topic).cloned()
    }

    /// Returns a counter that changes with every change of an identity.
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Returns the topics without a known identity for at least `patience`, with the start and the reason.
    pub(crate) fn unknown(&self, now: Timestamp, patience: Duration) -> Vec<(String, Timestamp, String)> {
        let known = self.known();
        let lasting = known.unknown.iter().filter(|(_, (since, _))| now.since(*since) >= patience);
        lasting.map(|(topic, (since, why))| (topic.clone(), *since, why.clone())).collect()
    }

    /// Records the answer of the log. Returns whether an identity has changed.
    fn learn(&self, topics: &[String], answer: Result<Vec<TopicIdentity>, TransportError>, now: Timestamp) -> bool {
        let mut known = self.known();
        let (mut news, mut failed) = (false, BTreeMap::new());
        match answer {
            Ok(identities) => {
                for TopicIdentity { topic, log } in identities {
                    match log {
                        Ok(log) => news |= known.identities.told(&topic, &log),
                        Err(why) => {
                            failed.insert(topic, why);
                        }
                    }
                }
            }
            Err(error) => failed.extend(topics.iter().map(|topic| (topic.clone(), error.to_string()))),
        }
        known.unknown.retain(|topic, _| !topics.contains(topic) || failed.contains_key(topic));
        for (topic, why) in failed {
            let since = known.unknown.get(&topic).map_or(now, |(since, _)| (*since).min(now));
            known.unknown.insert(topic, (since, why));
        }
        drop(known);
        if news {
            self.changes.fetch_add(1, Ordering::SeqCst);
        }
        news
    }
}

/// Queries the identities of `topics` and records them. If the log does not answer, the known identities are kept.
pub(crate) async fn ask(core: &Core, topics: &[String]) {
    let asked = tokio::time::timeout(PATIENCE, core.transport.identities(topics)).await;
    let late = || TransportError::Unavailable(format!("it did not answer within {} s", PATIENCE.as_secs()));
    if core.logs.learn(topics, asked.unwrap_or_else(|_| Err(late())), core.clock.now()) {
        core.parked_wake.notify_one();
    }
}

/// Queries the identities of all topics regularly, until the task is aborted.
pub(crate) async fn watch(core: Arc<Core>) {
    loop {
        ask(&core, &core.topics()).await;
        core.clock.sleep(ASK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_learned_is_told_when_it_lasts() {
        let (logs, topics) = (Logs::default(), ["orders".to_owned(), "payments".to_owned()]);
        let at = |second: i64| Timestamp::from_millis(second * 1_000);
        let orders = |log: Result<&str, &str>| {
            vec![TopicIdentity { topic: "orders".into(), log: log.map(str::to_owned).map_err(str::to_owned) }]
        };
        let unknown =
            |second| logs.unknown(at(second), Duration::from_secs(30)).into_iter().map(|(topic, ..)| topic).collect::<Vec<_>>();
        assert!(!logs.learn(&topics, Ok(orders(Err("grant Describe"))), at(0)));
        assert_eq!(unknown(29), [""; 0]);
        assert!(!logs.learn(&topics, Err(TransportError::Closed), at(20)));
        assert_eq!((unknown(30), unknown(50)), (vec!["orders".to_owned()], topics.to_vec()));
        assert!(logs.learn(&topics, Ok(orders(Ok("a"))), at(60)) && logs.changes() == 1);
        assert_eq!((unknown(100), logs.of("orders").as_deref()), (vec![], Some("a")));
        // After an outage, the known identities are kept.
        assert!(!logs.learn(&topics, Err(TransportError::Closed), at(70)) && logs.changes() == 1);
        assert_eq!(logs.of("orders").as_deref(), Some("a"));
        // A query for some topics does not affect the others.
        assert!(!logs.learn(&topics[..1], Ok(orders(Ok("a"))), at(80)));
        assert_eq!(unknown(100), ["payments"]);
    }
}
