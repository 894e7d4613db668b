//! Topics that take nothing for longer than a moment, though the log is well: a right is missing, or the topic is. That is a condition,
//! and the instances of flows whose events wait for it need attention until those have left.

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

/// A topic takes nothing of what is published.
const TOPIC_UNWRITABLE: &str = "topic_unwritable";
/// For how long a topic may take nothing before that is told.
const LASTING: Duration = Duration::from_secs(3);
/// How long the log is waited for that is asked whether it is well.
const PATIENCE: Duration = Duration::from_secs(1);
/// Waiting events whose flows are told in one transaction.
const TOLD: usize = 200;
/// How often instances are looked for that wait for rows which others may have sent.
const LOOK: Duration = Duration::from_secs(30);

/// What waits for topics that take nothing.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// Of topics that take nothing: since when the log was well all the same, and whether that was told.
    topics: BTreeMap<String, (Timestamp, bool)>,
    /// Rows whose flows were told.
    rows: HashSet<OutboxId>,
    /// Instances of this service whose rows have left.
    left: Vec<Waiting>,
    /// When instances were looked for last.
    looked: Option<Instant>,
}

impl Held {
    /// A row has left the outbox.
    pub(super) fn left(&mut self, core: &Core, row: OutboxId, record: &Record) {
        if !self.rows.is_empty() && self.rows.remove(&row) {
            self.left.extend(unsent::tracked_keys(core, record).into_iter().map(|key| (key, row)));
        }
    }

    /// A row has become something else.
    pub(super) fn forget(&mut self, row: OutboxId) {
        self.rows.remove(&row);
    }

    /// Whether there are flows to be told that their rows have left.
    pub(super) fn has_news(&self) -> bool {
        !self.left.is_empty()
    }
}

impl Relay {
    /// Weighs that `topic` has taken nothing because of `cause`: lasting, if the log is well otherwise.
    pub(super) async fn weigh(&mut self, topic: String, cause: &str) {
        let core = self.core.clone();
        let well = matches!(timeout(PATIENCE, core.transport.check()).await, Ok(Ok(())));
        let now = core.clock.now();
        if !well {
            // It is the log as a whole that fails, which shows by itself.
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
        core.conditions.raise(
            TOPIC_UNWRITABLE,
            &topic,
            severity,
            format!("the topic `{topic}` takes nothing: {cause}; {rows} {waits}"),
            now,
        );
        if let Err(error) = self.hold(&topic, cause, now).await {
            tracing::warn!(service = &*core.name, %error, "flows whose events wait for the log could not be told; trying again");
        }
    }

    /// A topic takes records again.
    pub(super) fn mended(&mut self, topic: &str) {
        if let Some((_, true)) = self.held.topics.remove(topic) {
            self.core.conditions.clear(TOPIC_UNWRITABLE, topic, self.core.clock.now());
        }
    }

    /// Has the instances of flows need attention whose events wait for `topic`.
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
        let signals = unsent::tell(&core, &mut *tx, &unsent, now).await?;
        let staged = core.stage(&mut *tx, &signals).await?;
        core.commit(tx, staged).await?;
        self.held.rows.extend(new.into_iter().map(|(row, _)| row));
        Ok(())
    }

    /// Whether instances are to be looked for: at the start, and now and then where others send rows too.
    pub(super) fn wants_to_recall(&self) -> bool {
        let due = self.held.looked.is_none_or(|looked| self.core.instance.is_shared() && looked.elapsed() >= LOOK);
        due && !self.core.sagas.tracked.is_empty()
    }

    /// Finds the instances that wait for rows of the outbox, as an earlier process or another instance has left them.
    pub(super) async fn recall(&mut self) -> Result<(), StoreError> {
        let (waiting, gone) = unsent::waiting(&self.core).await?;
        self.held.rows.extend(waiting.into_iter().map(|(_, row)| row));
        self.held.left.extend(gone);
        self.held.looked = Some(Instant::now());
        Ok(())
    }

    /// Tells flows that what they waited for has left, and looks for those that others have left behind.
    pub(super) async fn tell_flows(&mut self) {
        let core = self.core.clone();
        if self.upkeep.holds(&Upkeep::Tell, core.clock.now()) {
            return;
        }
        let told = async {
            if self.wants_to_recall() {
                self.recall().await?;
            }
            while self.held.has_news() {
                let some = &self.held.left[..self.held.left.len().min(TOLD)];
                let mut tx = core.store().begin().await?;
                unsent::left(&core, &mut *tx, some, core.clock.now()).await?;
                tx.commit().await?;
                let count = some.len();
                self.held.left.drain(..count);
            }
            Ok::<_, StoreError>(())
        };
        match told.await {
            Ok(()) => self.upkeep.works(&Upkeep::Tell),
            Err(error) => {
                tracing::warn!(service = &*core.name, %error, "flows could not be told that their events have left; waiting");
                self.upkeep_failed(Upkeep::Tell);
            }
        }
    }
}
