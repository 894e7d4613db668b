//! The outbox relay: sends what has committed, in order, and removes what the log has acknowledged.
//!
//! Rows come straight from memory, right after their commit. What a crash left in the database is read when the service
//! starts. Where several instances share a database, each sends the rows of its shards, and looks for those that others have
//! committed before it sends. Nothing is polled on the way from a commit to the log: the relay sleeps until there is something to
//! send.

mod held;
mod instance;
mod refused;
mod send;
mod unreadable;
mod upkeep;

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

pub(crate) use self::instance::{Instance, leave};
use self::{held::Held, upkeep::REMOVE};
use super::{
    core::Core,
    fence::Stop,
    metrics::TopicSeries,
    panics::{Panics, Restarts, Task, guarded, supervise},
};
use crate::{
    engine::{outbox::OrderKey, waits::Waits},
    message::{Record, Shards},
    store::{OutboxId, StoreError},
    time::Timestamp,
};

/// The most rows in one call of the transport.
const BATCH: usize = 500;
/// How long an instance that hears of nothing waits before it looks for rows of its shards all the same.
const LOOK: Duration = Duration::from_secs(2);

/// What keeps the order of `record`.
pub(crate) fn order_key(record: &Record) -> OrderKey {
    (record.topic.clone(), record.key.clone().unwrap_or_default())
}

/// The relay of a service.
pub(crate) struct Relay {
    core: Arc<Core>,
    /// Topics that did not take all of their rows.
    topics: Waits<String>,
    /// What the database did not do.
    upkeep: Waits<Upkeep>,
    series: HashMap<String, TopicSeries>,
    /// When the last look began.
    looked: Instant,
    /// What waits for topics that take nothing.
    held: Held,
    /// Topics that refused what tells others of a flow.
    uninformed: HashSet<String>,
    /// Rows whose headers cannot be read, and why.
    unreadable: HashMap<OutboxId, String>,
}

/// What the relay does with the database.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Upkeep {
    /// Looks for rows.
    Look,
    /// Looks up rows in doubt.
    Settle,
    /// Removes what was sent.
    Remove,
    /// Tells flows that what they waited for has left.
    Tell,
}

impl Relay {
    /// Joins the other instances, if there can be any, and reads what an earlier process left in the outbox.
    pub(crate) async fn start(core: Arc<Core>) -> Result<Self, StoreError> {
        instance::join(&core).await?;
        let looked = Instant::now();
        let mut relay = Self {
            core,
            topics: Waits::default(),
            upkeep: Waits::default(),
            series: HashMap::new(),
            looked,
            held: Held::default(),
            uninformed: HashSet::new(),
            unreadable: HashMap::new(),
        };
        relay.look().await?;
        let rows = relay.core.ledger().len();
        if rows > 0 {
            tracing::info!(service = &*relay.core.name, rows, "sending what was left in the outbox");
        }
        Ok(relay)
    }

    /// Sends and removes until `stopping` and nothing is left to send.
    ///
    /// A topic that fails waits by itself, and so does the database: what commits meanwhile for other topics is sent at once, and
    /// what was sent is removed. The relay sleeps until there is something to do that does not wait.
    ///
    /// After a panic it goes on with what it knows; rows that were with the transport then are sent again.
    pub(crate) async fn run(mut self, stopping: watch::Receiver<bool>) {
        let (core, stop) = (self.core.clone(), Stop::new(stopping.clone()));
        let others = core.clone();
        tokio::select! {
            () = supervise(others.clone(), "instances", Task::Vital, Stop::never(), || instance::run(others.clone())) => {}
            () = async {
                let mut restarts = Restarts::default();
                while let Err(text) = guarded(self.relay(stopping.clone())).await {
                    Panics::note(&core, "relay", Task::Vital, &text);
                    core.ledger().broken_off();
                    if stop.comes_within(&core, restarts.wait(core.clock.now())).await {
                        return;
                    }
                }
            } => {}
        }
    }

    async fn relay(&mut self, mut stopping: watch::Receiver<bool>) {
        loop {
            self.work().await;
            let core = self.core.clone();
            let now = core.clock.now();
            if self.has_work(now) {
                continue;
            }
            let stop = *stopping.borrow();
            let retry = self.next_retry(now);
            if stop && retry.is_none() {
                return;
            }
            let look_again = self.looked + LOOK;
            tokio::select! {
                () = core.relay_wake.notified() => {}
                () = async { if let Some(at) = retry { core.clock.sleep_until(at).await } else { pending().await } } => {}
                () = tokio::time::sleep_until(look_again), if core.instance.is_shared() && !stop => {
                    self.looked = Instant::now();
                    core.ledger().hear(Shards::ALL);
                }
                stopped = stopping.wait_for(|stopping| *stopping), if !stop => if stopped.is_err() {
                    return;
                },
            }
        }
    }

    async fn work(&mut self) {
        let doubtful = self.core.ledger().doubtful();
        if !doubtful.is_empty() && !self.upkeep.holds(&Upkeep::Settle, self.core.clock.now()) {
            self.settle_doubt(&doubtful).await;
        }
        // Removing waits until there is nothing to send, or much to remove: it delays no one, and takes many rows at once.
        while self.core.instance.may_send() {
            let now = self.core.clock.now();
            if self.core.ledger().to_remove() >= REMOVE && !self.upkeep.holds(&Upkeep::Remove, now) {
                break;
            }
            if self.wants_look(now)
                && let Err(error) = self.look().await
            {
                tracing::warn!(service = &*self.core.name, %error, "rows of the outbox could not be looked for; waiting");
            }
            let rows = self.core.ledger().take(BATCH, |topic| self.may_send(topic, now));
            if rows.is_empty() {
                break;
            }
            self.send(rows).await;
        }
        self.remove().await;
        self.tell_flows().await;
        self.measure();
    }

    /// Whether there is something to do at `now`.
    fn has_work(&self, now: Timestamp) -> bool {
        let upkeep = {
            let ledger = self.core.ledger();
            ledger.to_remove() > 0 && !self.upkeep.holds(&Upkeep::Remove, now)
                || ledger.has_doubtful() && !self.upkeep.holds(&Upkeep::Settle, now)
                || self.held.has_news() && !self.upkeep.holds(&Upkeep::Tell, now)
        };
        let ready = || self.core.ledger().has_ready(|topic| self.may_send(topic, now));
        upkeep || self.core.instance.may_send() && (ready() || self.wants_look(now))
    }

    fn wants_look(&self, now: Timestamp) -> bool {
        !self.upkeep.holds(&Upkeep::Look, now)
            && self.core.ledger().wants_look(self.core.settings.outbox_rows, |topic| self.may_send(topic, now))
    }

    fn may_send(&self, topic: &str, now: Timestamp) -> bool {
        !self.topics.holds(topic, now)
    }

    /// When something that waits at `now` may be tried again.
    fn next_retry(&self, now: Timestamp) -> Option<Timestamp> {
        self.topics.next(now).into_iter().chain(self.upkeep.next(now)).min()
    }

    /// Tries `topic` again later. The first failure of several is logged; what lasts becomes a condition.
    fn topic_failed(&mut self, topic: String, cause: &str) {
        let core = &self.core;
        let (service, mut before) = (&*core.name, 0);
        self.topics.failed(topic.clone(), core.clock.now(), |failures| {
            before = failures;
            core.outage_backoff(failures)
        });
        match before {
            0 => tracing::info!(service, topic, error = cause, "the log did not take all of the outbox; trying again"),
            _ => tracing::debug!(service, topic, error = cause, "the log did not take all of the outbox; trying again"),
        }
    }

    fn upkeep_failed(&mut self, what: Upkeep) {
        let core = &self.core;
        self.upkeep.failed(what, core.clock.now(), |failures| core.outage_backoff(failures));
    }

    /// Shows what waits. Of a service with several instances that is counted in the database.
    fn measure(&self) {
        let ledger = self.core.ledger();
        if self.core.instance.is_shared() {
            if !ledger.vacated().is_empty() {
                self.core.instance.ask();
            }
            return;
        }
        self.core.series.outbox_rows.set_count(ledger.len() as u64);
        let age = ledger.oldest().map_or(Duration::ZERO, |record| {
            let now = self.core.clock.now();
            now.since(record.timestamp.time().unwrap_or(now))
        });
        self.core.series.outbox_age_seconds.set(age.as_secs_f64());
    }
}
