//! The outbox relay: sends committed rows to the log in order, and removes those that the log has stored.
//!
//! Rows reach the relay from memory, right after their commit. Rows that an earlier process left are read from the database when the
//! service starts. When several processes share a database, each sends the rows of its own shards, and reads rows of these shards that
//! other processes have committed. The relay does not poll between a commit and the log: it sleeps until there is something to send.

mod held;
mod refused;
mod send;
mod sharing;
mod unreadable;
mod upkeep;

use std::{
    collections::{HashMap, HashSet},
    future::pending,
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, time::Instant};

pub(crate) use self::sharing::leave;
use self::{held::Held, upkeep::REMOVE};
use super::{
    core::Core,
    fence::Shutdown,
    metrics::TopicSeries,
    panics::{Panics, Restarts, Task, guarded, supervise},
};
use crate::{
    engine::waits::Waits,
    message::Shards,
    store::{OutboxId, StoreError},
    time::Timestamp,
};

/// The most rows in one call of the transport.
const BATCH: usize = 500;
/// How long a process that receives no notification waits before it scans the outbox for rows of its shards.
const LOOK: Duration = Duration::from_secs(2);

/// The relay of a service.
pub(crate) struct Relay {
    core: Arc<Core>,
    /// Topics that did not store all of their rows, and when each is tried again.
    topics: Waits<String>,
    /// Database operations that failed, and when each is tried again.
    upkeep: Waits<Upkeep>,
    series: HashMap<String, TopicSeries>,
    /// When the last scan of the outbox began.
    looked: Instant,
    /// Topics that store nothing, and the rows that wait for them.
    held: Held,
    /// Topics on which the log refused a message between services about a saga.
    uninformed: HashSet<String>,
    /// Rows whose headers cannot be decoded, and the error.
    unreadable: HashMap<OutboxId, String>,
}

/// A database operation of the relay that is retried by itself.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Upkeep {
    /// Scans the outbox for rows that this process does not know.
    Look,
    /// Looks up rows in doubt.
    Settle,
    /// Removes rows that were sent.
    Remove,
    /// Records at saga instances that the events they waited for were sent.
    UpdateInstances,
}

impl Relay {
    /// Acquires the first shards of this process, if the outbox is shared, and reads the rows that are already in the outbox.
    pub(crate) async fn start(core: Arc<Core>) -> Result<Self, StoreError> {
        sharing::join(&core).await?;
        #[cfg(feature = "sql")]
        core.joined.started();
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

    /// Sends and removes rows until `stopping`, and then until nothing is left to do.
    ///
    /// Each failing topic has its own backoff, and so has the database: rows of other topics are still sent at once, and sent rows are
    /// removed. The relay sleeps until there is work that is not in a backoff.
    ///
    /// After a panic it continues with its state in memory. Rows that were with the transport at that time are sent again.
    pub(crate) async fn run(mut self, stopping: watch::Receiver<bool>) {
        let (core, stop) = (self.core.clone(), Shutdown::new(stopping.clone()));
        let others = core.clone();
        tokio::select! {
            () = supervise(others.clone(), "instances", Task::Vital, Shutdown::never(), || sharing::run(others.clone())) => {}
            () = async {
                let mut restarts = Restarts::default();
                while let Err(text) = guarded(self.relay(stopping.clone())).await {
                    Panics::note(&core, "relay", Task::Vital, &text);
                    core.ledger().broken_off();
                    if stop.sleep(&core, restarts.wait(core.clock.now())).await {
                        return;
                    }
                }
            } => {}
        }
    }

    async fn relay(&mut self, mut stopping: watch::Receiver<bool>) {
        // The notification of a commit may not have arrived yet.
        let mut scan_at_stop = self.core.process.is_shared();
        loop {
            self.work().await;
            let core = self.core.clone();
            let now = core.clock.now();
            if self.has_work(now) {
                continue;
            }
            let stop = *stopping.borrow();
            if stop && std::mem::take(&mut scan_at_stop) {
                core.ledger().mark_stale(Shards::ALL);
                continue;
            }
            let retry = self.next_retry(now);
            if stop && retry.is_none() {
                return;
            }
            let look_again = self.looked + LOOK;
            tokio::select! {
                () = core.relay_wake.notified() => {}
                () = async { if let Some(at) = retry { core.clock.sleep_until(at).await } else { pending().await } } => {}
                () = tokio::time::sleep_until(look_again), if core.process.is_shared() && !stop => {
                    self.looked = Instant::now();
                    core.ledger().mark_stale(Shards::ALL);
                }
                stopped = stopping.wait_for(|stopping| *stopping), if !stop => if stopped.is_err() {
                    return;
                },
            }
        }
    }

    async fn work(&mut self) {
        let doubtful = self.core.ledger().in_doubt();
        if !doubtful.is_empty() && !self.upkeep.is_waiting(&Upkeep::Settle, self.core.clock.now()) {
            self.settle_doubt(&doubtful).await;
        }
        // Sent rows are removed when nothing is left to send, or when there are many of them: so removal delays no sending, and one
        // statement removes many rows.
        while self.core.process.may_send() {
            let now = self.core.clock.now();
            if self.core.ledger().to_remove() >= REMOVE && !self.upkeep.is_waiting(&Upkeep::Remove, now) {
                break;
            }
            if self.wants_look(now)
                && let Err(error) = self.look().await
            {
                tracing::warn!(service = &*self.core.name, %error, "rows of the outbox could not be read; waiting");
            }
            let rows = self.core.ledger().take(BATCH, |topic| self.may_send(topic, now));
            if rows.is_empty() {
                break;
            }
            self.send(rows).await;
        }
        self.remove().await;
        self.update_instances().await;
        self.measure();
    }

    /// Whether there is work at `now` that is not in a backoff.
    fn has_work(&self, now: Timestamp) -> bool {
        let upkeep = {
            let ledger = self.core.ledger();
            ledger.to_remove() > 0 && !self.upkeep.is_waiting(&Upkeep::Remove, now)
                || ledger.has_in_doubt() && !self.upkeep.is_waiting(&Upkeep::Settle, now)
                || self.held.has_news() && !self.upkeep.is_waiting(&Upkeep::UpdateInstances, now)
        };
        let ready = || self.core.ledger().has_ready(|topic| self.may_send(topic, now));
        upkeep || self.core.process.may_send() && (ready() || self.wants_look(now))
    }

    fn wants_look(&self, now: Timestamp) -> bool {
        !self.upkeep.is_waiting(&Upkeep::Look, now)
            && self.core.ledger().needs_scan(self.core.settings.outbox_rows, |topic| self.may_send(topic, now))
    }

    fn may_send(&self, topic: &str, now: Timestamp) -> bool {
        !self.topics.is_waiting(topic, now)
    }

    /// When the next backoff ends that is running at `now`.
    fn next_retry(&self, now: Timestamp) -> Option<Timestamp> {
        self.topics.next(now).into_iter().chain(self.upkeep.next(now)).min()
    }

    /// Schedules the next attempt for `topic`. Only the first of consecutive failures is logged at level INFO; a failure that lasts becomes
    /// a condition.
    fn topic_failed(&mut self, topic: String, cause: &str) {
        let core = &self.core;
        let (service, mut before) = (&*core.name, 0);
        self.topics.failed(topic.clone(), core.clock.now(), |failures| {
            before = failures;
            core.outage_backoff(failures)
        });
        let topic = &*core.name_in_log(&topic);
        match before {
            0 => tracing::info!(service, topic, error = cause, "the log did not take all of the outbox; trying again"),
            _ => tracing::debug!(service, topic, error = cause, "the log did not take all of the outbox; trying again"),
        }
    }

    fn upkeep_failed(&mut self, what: Upkeep) {
        let core = &self.core;
        self.upkeep.failed(what, core.clock.now(), |failures| core.outage_backoff(failures));
    }

    /// Updates the gauges of the outbox. When processes share it, [`process`] counts its rows in the database instead.
    fn measure(&self) {
        let ledger = self.core.ledger();
        if self.core.process.is_shared() {
            if !ledger.vacated().is_empty() {
                self.core.process.renew_soon();
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
