//! What is done is told to the log, which commits it, and to the database, which says after a restart where to read on.
//!
//! The database is told by the consumer, about once a second, and not by the lanes: they would all write one row. It matters
//! how far behind it is, not for what happens, as the inbox knows what was handled, but for how much is delivered again.

use std::time::Duration;

use super::{Commit, Consumer, asked};
use crate::{
    message::TopicPartition,
    store::{Ownership, StoreError},
    time::Timestamp,
    transport::TransportError,
};

/// How often the database is told how far the partitions are applied.
const ADVANCE: Duration = Duration::from_secs(1);

/// What a task reports that told the database.
pub(super) struct Advanced {
    applied: Vec<Ownership>,
    result: Result<Vec<bool>, StoreError>,
}

impl Consumer {
    /// Commits what is done, one commit at a time.
    pub(super) fn commit(&mut self) {
        if self.committing.is_some() || self.commit_again.is_some() {
            return;
        }
        let offsets: Vec<_> =
            self.partitions.iter().filter_map(|(partition, owned)| Some((partition.clone(), owned.committable()?))).collect();
        if offsets.is_empty() {
            return;
        }
        let committing = self.subscription.commit(offsets.clone());
        self.committing = Some(Box::pin(async move { (offsets, committing.await) }));
    }

    pub(super) fn committed(&mut self, offsets: Vec<(TopicPartition, i64)>, result: Result<(), TransportError>) {
        self.committing = None;
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.failed_commits) > 0 {
                    self.core.sight.committed(Ok(()), self.core.clock.now());
                }
                for (partition, offset) in offsets {
                    if let Some(owned) = self.partitions.get_mut(&partition) {
                        owned.watermark.committed(offset);
                    }
                }
            }
            // Only a restart would see the records again, and the inbox knows them. The next commit covers these.
            Err(error) => {
                tracing::debug!(service = &*self.core.name, %error, "offsets were not committed; trying again");
                let now = self.core.clock.now();
                // What lasts becomes a condition.
                self.core.sight.committed(Err(&error), now);
                self.commit_again = Some(now.after(self.core.outage_backoff(self.failed_commits)));
                self.failed_commits = self.failed_commits.saturating_add(1);
            }
        }
        self.core.moved();
    }

    /// Tells the database how far partitions are applied, if it is time.
    pub(super) fn advance(&mut self) {
        let now = self.core.clock.now();
        if self.advance_at().is_some_and(|at| at <= now) {
            self.begin_advance();
        }
    }

    /// When the database is to be told; `None` while it is, or knows.
    pub(super) fn advance_at(&self) -> Option<Timestamp> {
        if !self.advances.is_empty() || self.partitions.values().all(|owned| owned.ahead().is_none()) {
            return None;
        }
        // A partition that is given up does not wait.
        let last = self.partitions.values().any(|owned| owned.revoked.is_some() && owned.running == 0 && owned.ahead().is_some());
        let at = if last { Timestamp::from_millis(0) } else { self.advance_next };
        Some(self.advance_again.map_or(at, |again| again.max(at)))
    }

    fn begin_advance(&mut self) {
        let ahead = |(partition, owned): (&TopicPartition, &super::partition::Owned)| {
            let (applied, log) = owned.ahead()?;
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
                        owned.noted = told.log.map(Into::into).or_else(|| owned.noted.take());
                        owned.setbacks = 0;
                    }
                }
            }
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "how far partitions are applied was not noted; waiting");
                self.advance_again = Some(self.core.clock.now().after(self.core.outage_backoff(self.failed_advances)));
                self.failed_advances = self.failed_advances.saturating_add(1);
            }
        }
        self.core.moved();
    }

    /// Tells the log and the database for the last time, the database within `patience`.
    pub(super) async fn finish_progress(&mut self, patience: Duration) {
        let telling = async {
            if let Some(Ok(advanced)) = self.advances.join_next().await {
                self.advanced(advanced);
            }
            self.begin_advance();
            self.advances.join_next().await
        };
        // What the database was not told, it is told by the next deliveries of the same records.
        if let Ok(Some(Ok(advanced))) = tokio::time::timeout(patience, telling).await {
            self.advanced(advanced);
        }
        if let Some(committing) = self.committing.take() {
            let (offsets, result) = committing.await;
            self.committed(offsets, result);
        }
        self.commit_again = None;
        self.commit();
        if let Some(committing) = self.committing.take() {
            let (offsets, result) = committing.await;
            self.committed(offsets, result);
        }
    }
}

/// Waits for the commit in flight; for ever without one.
pub(super) async fn pending(commit: Option<&mut Commit>) -> (Vec<(TopicPartition, i64)>, Result<(), TransportError>) {
    match commit {
        Some(commit) => commit.await,
        None => std::future::pending().await,
    }
}
