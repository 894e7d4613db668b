//! Topics that store nothing for a while although the log works: a permission or the topic is missing. This is a condition, and the saga
//! instances whose events wait for such a topic need attention until these events were sent.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use tokio::time::{Instant, timeout};

use super::{
    super::{
        conditions::Severity,
        core::Core,
        saga::unsent::{self, Unsent, Waiting},
    },
    Relay, Upkeep,
};
use crate::{
    message::Record,
    store::{OutboxId, StoreError},
    time::Timestamp,
};

/// The condition of a topic that stores no records.
const TOPIC_UNWRITABLE: &str = "topic_unwritable";
/// How long a topic must store nothing before the condition is raised.
const LASTING: Duration = Duration::from_secs(3);
/// How long the health check of the log can take.
const PATIENCE: Duration = Duration::from_secs(1);
/// The most waiting events whose instances are updated in one transaction.
const TOLD: usize = 200;
/// How often a process that shares the outbox checks instances that wait for rows which other processes can have sent.
const LOOK: Duration = Duration::from_secs(30);

/// Topics that store nothing, and the rows that wait for them.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// For each topic that stores nothing: since when the rest of the log has worked, and whether the condition was raised.
    topics: BTreeMap<String, (Timestamp, bool)>,
    /// Rows whose instances were set to need attention.
    rows: HashSet<OutboxId>,
    /// Instances of this service whose rows were sent.
    left: Vec<Waiting>,
    /// When the waiting instances were last read.
    looked: Option<Instant>,
}

impl Held {
    /// Records that a row was sent.
    pub(super) fn sent(&mut self, core: &Core, row: OutboxId, record: &Record) {
        if !self.rows.is_empty() && self.rows.remove(&row) {
            self.left.extend(unsent::tracked_keys(core, record).into_iter().map(|key| (key, row)));
        }
    }

    /// Forgets a row that was replaced, for example by a dead letter.
    pub(super) fn forget(&mut self, row: OutboxId) {
        self.rows.remove(&row);
    }

    /// Whether there are instances to update because their rows were sent.
    pub(super) fn has_news(&self) -> bool {
        !self.left.is_empty()
    }
}

impl Relay {
    /// Handles that `topic` stored nothing because of `cause`. If that lasts while the rest of the log works, it raises the condition.
    pub(super) async fn assess_topic_failure(&mut self, topic: String, cause: &str) {
        let core = self.core.clone();
        let well = matches!(timeout(PATIENCE, core.transport.check()).await, Ok(Ok(())));
        let now = core.clock.now();
        if !well {
            // The log as a whole fails, which is reported elsewhere.
            if let Some((since, _)) = self.held.topics.get_mut(&topic) {
                *since = now;
            }
            return;
        }
        let (since, told) = self.held.topics.entry(topic.clone()).or_insert((now, false));
        if now.since(*since) < LASTING && !*told {
            return;
        }
        *told = true;
        let severity = if topic == core.dead_letter_topic() { Severity::Warning } else { Severity::Critical };
        let rows = core.ledger().count_waiting(&topic);
        let waits = "records wait in the outbox, and are sent in order as soon as the topic takes them";
        let name = core.name_in_log(&topic);
        core.conditions.raise(
            TOPIC_UNWRITABLE,
            &name,
            severity,
            format!("the topic `{name}` stores no records: {cause}; {rows} {waits}"),
            now,
        );
        if let Err(error) = self.hold(&topic, cause, now).await {
            tracing::warn!(service = &*core.name, %error, "instances whose events wait for the log could not be updated; trying again");
        }
    }

    /// Clears the condition of a topic that stores records again.
    pub(super) fn mended(&mut self, topic: &str) {
        if let Some((_, true)) = self.held.topics.remove(topic) {
            self.core.conditions.clear(TOPIC_UNWRITABLE, &self.core.name_in_log(topic), self.core.clock.now());
        }
    }

    /// Sets the instances whose events wait for `topic` to need attention.
    async fn hold(&mut self, topic: &str, cause: &str, now: Timestamp) -> Result<(), StoreError> {
        let core = self.core.clone();
        let rows = core.ledger().waiting(topic, core.settings.outbox_rows);
        let new = rows.into_iter().filter(|(id, record)| !self.held.rows.contains(id) && unsent::concerns(&core, record));
        let new: Vec<_> = new.take(TOLD).collect();
        if new.is_empty() {
            return Ok(());
        }
        let unsent: Vec<_> = new.iter().map(|(row, record)| Unsent { row: *row, record, letter: None, why: cause }).collect();
        let mut tx = core.store().begin().await?;
        let signals = unsent::require_attention(&core, &mut *tx, &unsent, now).await?;
        let staged = core.stage(&mut *tx, &signals).await?;
        core.commit(tx, staged).await?;
        self.held.rows.extend(new.into_iter().map(|(row, _)| row));
        Ok(())
    }

    /// Whether the waiting instances are to be read: at the start, and regularly when other processes send rows too.
    pub(super) fn wants_to_recall(&self) -> bool {
        let due = self.held.looked.is_none_or(|looked| self.core.process.is_shared() && looked.elapsed() >= LOOK);
        due && !self.core.sagas.tracked.is_empty()
    }

    /// Reads the instances that wait for rows of the outbox, as set by an earlier process or by another one.
    pub(super) async fn recall(&mut self) -> Result<(), StoreError> {
        let (waiting, gone) = unsent::waiting(&self.core).await?;
        self.held.rows.extend(waiting.into_iter().map(|(_, row)| row));
        self.held.left.extend(gone);
        self.held.looked = Some(Instant::now());
        Ok(())
    }

    /// Updates the instances whose rows were sent, including those that other processes have set.
    pub(super) async fn update_instances(&mut self) {
        let core = self.core.clone();
        if self.upkeep.is_waiting(&Upkeep::UpdateInstances, core.clock.now()) {
            return;
        }
        let told = async {
            if self.wants_to_recall() {
                self.recall().await?;
            }
            while self.held.has_news() {
                let some = &self.held.left[..self.held.left.len().min(TOLD)];
                let mut tx = core.store().begin().await?;
                unsent::record_sent(&core, &mut *tx, some, core.clock.now()).await?;
                tx.commit().await?;
                let count = some.len();
                self.held.left.drain(..count);
            }
            Ok::<_, StoreError>(())
        };
        match told.await {
            Ok(()) => self.upkeep.succeeded(&Upkeep::UpdateInstances),
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "instances whose events were sent could not be updated; waiting");
                self.upkeep_failed(Upkeep::UpdateInstances);
            }
        }
    }
}
