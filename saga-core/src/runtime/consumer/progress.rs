//! Commits offsets to the log, and writes the applied offsets to the database. The service continues from the applied offset after a
//! restart.
//!
//! The consumer writes the applied offsets about once a second. If the lanes wrote them, they would all update the same row. An applied
//! offset that lags is safe, because the inbox contains what was handled; it only increases the number of records that are delivered again.

use std::{collections::BTreeMap, time::Duration};

use futures_util::StreamExt;

use super::{Committed, Consumer, asked};
use crate::{
    message::TopicPartition,
    store::{Ownership, StoreError},
    time::Timestamp,
};

/// How often the applied offsets are written to the database.
const ADVANCE: Duration = Duration::from_secs(1);

/// The result of the task that writes applied offsets.
pub(super) struct Advanced {
    applied: Vec<Ownership>,
    result: Result<Vec<bool>, StoreError>,
}

impl Consumer {
    /// Commits the offsets of what is done, with one commit per topic at a time, so that a slow commit delays no other topic.
    pub(super) fn commit(&mut self) {
        if self.commit_again.is_some() {
            return;
        }
        let mut topics: BTreeMap<&str, Vec<_>> = BTreeMap::new();
        for (partition, owned) in self.partitions.iter().filter(|(partition, _)| !self.committing.contains(&partition.topic)) {
            if let Some(offset) = owned.committable() {
                topics.entry(&partition.topic).or_default().push((partition.clone(), offset));
            }
        }
        for (topic, offsets) in topics {
            let committing = self.subscription.commit(offsets.clone());
            self.committing.insert(topic.to_owned());
            self.commits.push(Box::pin(async move { (offsets, committing.await) }));
        }
    }

    pub(super) fn committed(&mut self, (offsets, result): Committed) {
        for (partition, _) in &offsets {
            self.committing.remove(&partition.topic);
            match result {
                Ok(()) => drop(self.failing.remove(partition)),
                Err(_) if self.partitions.contains_key(partition) => drop(self.failing.insert(partition.clone())),
                // The partition has another owner, which commits its offsets.
                Err(_) => {}
            }
        }
        match result {
            Ok(()) => {
                self.commits_are_well();
                for (partition, offset) in offsets {
                    if let Some(owned) = self.partitions.get_mut(&partition) {
                        owned.watermark.committed(offset);
                    }
                }
            }
            Err(error) if self.failing.is_empty() => {
                tracing::debug!(service = &*self.core.name, %error, "offsets of partitions that are given up were not committed");
            }
            // The records are delivered again only after a restart, and the inbox recognizes them. The next commit includes these offsets.
            Err(error) => {
                tracing::debug!(service = &*self.core.name, %error, "offsets were not committed; trying again");
                let now = self.core.clock.now();
                // A failure that lasts becomes a condition.
                self.core.sight.committed(Err(&error), now);
                self.commit_again = Some(now.after(self.core.outage_backoff(self.failed_commits)));
                self.failed_commits = self.failed_commits.saturating_add(1);
            }
        }
        self.core.record_activity();
    }

    /// Clears the failure of commits once it concerns none of the owned partitions.
    pub(super) fn commits_are_well(&mut self) {
        self.failing.retain(|partition| self.partitions.contains_key(partition));
        if self.failing.is_empty() && std::mem::take(&mut self.failed_commits) > 0 {
            self.core.sight.committed(Ok(()), self.core.clock.now());
        }
    }

    /// Starts to write the applied offsets to the database when it is time.
    pub(super) fn advance(&mut self) {
        let now = self.core.clock.now();
        if self.advance_at().is_some_and(|at| at <= now) {
            self.begin_advance();
        }
    }

    /// When the applied offsets are to be written; `None` while a write is in progress or there is nothing to write.
    pub(super) fn advance_at(&self) -> Option<Timestamp> {
        if !self.advances.is_empty() || self.partitions.values().all(|owned| owned.unsaved_progress().is_none()) {
            return None;
        }
        // A partition that is being released does not wait for the interval.
        let last = self
            .partitions
            .values()
            .any(|owned| owned.revoked.is_some() && owned.running == 0 && owned.unsaved_progress().is_some());
        let at = if last { Timestamp::from_millis(0) } else { self.advance_next };
        Some(self.advance_again.map_or(at, |again| again.max(at)))
    }

    fn begin_advance(&mut self) {
        let ahead = |(partition, owned): (&TopicPartition, &super::partition::Owned)| {
            let (applied, log) = owned.unsaved_progress()?;
            Some(Ownership { partition: partition.clone(), epoch: owned.epoch, applied, log: log.map(ToString::to_string) })
        };
        let applied: Vec<_> = self.partitions.iter().filter_map(ahead).collect();
        if applied.is_empty() {
            return;
        }
        self.advance_next = self.core.clock.now().after(ADVANCE);
        let core = self.core.clone();
        self.advances.spawn(async move {
            let result = asked(&core, "progress", core.store().advance(&core.name, &applied)).await;
            Advanced { applied, result }
        });
    }

    pub(super) fn advanced(&mut self, Advanced { applied, result }: Advanced) {
        match result {
            Ok(stood) => {
                (self.failed_advances, self.advance_again) = (0, None);
                for (told, stood) in applied.into_iter().zip(stood) {
                    if !stood {
                        self.fenced(&told.partition, told.epoch);
                    } else if let Some(owned) = self.partitions.get_mut(&told.partition).filter(|owned| owned.epoch == told.epoch)
                    {
                        owned.applied = owned.applied.max(told.applied);
                        owned.stored_log = told.log.map(Into::into).or_else(|| owned.stored_log.take());
                        owned.setbacks = 0;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "the applied offsets of partitions could not be written; waiting");
                self.advance_again = Some(self.core.clock.now().after(self.core.outage_backoff(self.failed_advances)));
                self.failed_advances = self.failed_advances.saturating_add(1);
            }
        }
        self.core.record_activity();
    }

    /// Writes the applied offsets, within `patience`, and commits to the log for the last time.
    pub(super) async fn finish_progress(&mut self, patience: Duration) {
        let telling = async {
            if let Some(Ok(advanced)) = self.advances.join_next().await {
                self.advanced(advanced);
            }
            self.begin_advance();
            self.advances.join_next().await
        };
        // If this write fails, the records after the offset in the database are delivered again.
        if let Ok(Some(Ok(advanced))) = tokio::time::timeout(patience, telling).await {
            self.advanced(advanced);
        }
        self.finish_commits().await;
        self.commit_again = None;
        self.commit();
        self.finish_commits().await;
    }

    async fn finish_commits(&mut self) {
        while let Some(committed) = self.commits.next().await {
            self.committed(committed);
        }
    }
}
