//! The outbox relay: sends what has committed, in order, and removes what the log has acknowledged.
//!
//! Rows come straight from memory, right after their commit. What a crash left in the database is read when the service
//! starts. Nothing is polled: the relay sleeps until there is something to send.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use super::{core::Core, metrics::TopicSeries};
use crate::{
    engine::outbox::Ticket,
    message::{Envelope, Received, Record},
    store::{DeadLetter, DeadLetterState, OutboxId, OutboxRow, StoreError},
    transport::{TopicSpec, TransportError},
};

/// The most rows in one call of the transport.
const BATCH: usize = 500;
/// Rows read at a time from what a crash left.
const PAGE: usize = 1_000;
/// Rows removed at a time.
const REMOVE: usize = 2_000;

/// Reads what an earlier process left in the outbox.
pub(crate) async fn adopt(core: &Core) -> Result<usize, StoreError> {
    let (mut after, mut adopted) = (0, 0);
    loop {
        let rows = core.store().outbox(&core.name, after, PAGE).await?;
        let Some(last) = rows.last() else { break };
        after = last.id;
        adopted += rows.len();
        let mut ledger = core.ledger();
        let ticket = ledger.begin();
        for OutboxRow { id, record } in rows {
            let key = (record.topic.clone(), record.key.clone().unwrap_or_default());
            ledger.stage(ticket, id, key, record);
            ledger.commit(ticket, &[id]);
        }
    }
    Ok(adopted)
}

/// Sends and removes until `stopping` and nothing is left to send.
pub(crate) async fn run(core: Arc<Core>, mut stopping: tokio::sync::watch::Receiver<bool>) {
    let mut relay = Relay { core, failures: 0, topics: HashMap::new(), failing: HashSet::new() };
    loop {
        relay.work().await;
        let idle = {
            let ledger = relay.core.ledger();
            !ledger.has_ready() && !ledger.has_sent()
        };
        if idle && *stopping.borrow() {
            return;
        }
        if idle {
            tokio::select! {
                () = relay.core.relay_wake.notified() => {}
                stopped = stopping.wait_for(|stopping| *stopping) => if stopped.is_err() {
                    return;
                },
            }
        }
    }
}

struct Relay {
    core: Arc<Core>,
    failures: u32,
    topics: HashMap<String, TopicSeries>,
    /// Topics that took not all of their rows since the last wait. The others are sent before the next one; what commits during
    /// a wait is sent after it.
    failing: HashSet<String>,
}

impl Relay {
    async fn work(&mut self) {
        let doubtful = self.core.ledger().doubtful();
        if !doubtful.is_empty() {
            self.settle_doubt(&doubtful).await;
        }
        loop {
            let rows = self.core.ledger().take(BATCH, |topic| !self.failing.contains(topic));
            if rows.is_empty() {
                break;
            }
            self.send(rows).await;
        }
        if self.failing.is_empty() {
            self.failures = 0;
        } else {
            self.wait().await;
            self.failing.clear();
        }
        // Removing waits until there is nothing to send: it delays no one, and takes many rows at once.
        self.remove().await;
        let ledger = self.core.ledger();
        self.core.series.outbox_rows.set_count(ledger.len() as u64);
        let age = ledger.oldest().map_or(Duration::ZERO, |record| self.core.clock.now().since(record.timestamp));
        self.core.series.outbox_age_seconds.set(age.as_secs_f64());
    }

    async fn send(&mut self, rows: Vec<(OutboxId, Record)>) {
        let (ids, records): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let results = self.core.transport.publish(records.clone()).await;
        let (mut outage, mut refused, mut unknown) = (None, Vec::new(), None);
        {
            let mut ledger = self.core.ledger();
            let mut results = results.into_iter();
            for (id, record) in ids.iter().zip(&records) {
                let missing = || Err(TransportError::Unavailable("the log gave no answer for a record".into()));
                match results.next().unwrap_or_else(missing) {
                    Ok(_) => {
                        ledger.sent(*id);
                        let metrics = &self.core.metrics;
                        let series = self.topics.entry(record.topic.clone());
                        series.or_insert_with(|| TopicSeries::new(metrics, &record.topic)).published.increment();
                    }
                    Err(TransportError::Refused(reason)) => refused.push((*id, record.clone(), reason)),
                    Err(error) => {
                        ledger.failed(*id);
                        if matches!(error, TransportError::UnknownTopic(_)) {
                            unknown = Some(record.topic.clone());
                        }
                        self.failing.insert(record.topic.clone());
                        outage.get_or_insert(error);
                    }
                }
            }
        }
        self.core.moved();
        if let Some(name) = unknown {
            self.create(name).await;
        }
        for (id, record, reason) in refused {
            self.bury(id, record, &reason).await;
        }
        if let Some(error) = outage {
            tracing::warn!(service = &*self.core.name, %error, "the log took not all of the outbox; waiting");
        }
    }

    /// Creates a topic that only an event published by hand names. Should it fail, the next attempt to send tells.
    async fn create(&self, name: String) {
        let spec = TopicSpec { name, partitions: self.core.settings.topic_partitions };
        match self.core.transport.ensure_topics(std::slice::from_ref(&spec)).await {
            Ok(()) => tracing::info!(service = &*self.core.name, topic = spec.name, "created a topic"),
            Err(error) => tracing::error!(service = &*self.core.name, topic = spec.name, %error, "a topic cannot be created"),
        }
    }

    /// Keeps a record that the log will never take as a dead letter.
    async fn bury(&mut self, id: OutboxId, record: Record, reason: &str) {
        tracing::error!(service = &*self.core.name, topic = record.topic, reason, "the log refuses a record for good");
        let received = Received { record: Arc::new(record), partition: -1, offset: -1 };
        let envelope = Envelope::of(&received);
        let now = self.core.clock.now();
        let letter = DeadLetter {
            id: self.core.ids.uuid(now).into(),
            event_type: envelope.event_type,
            received,
            error: format!("the log refused it: {reason}"),
            attempts: 1,
            at: now,
            state: DeadLetterState::Open,
        };
        let kept = async {
            let mut tx = self.core.store().begin().await?;
            tx.bury(&self.core.name, std::slice::from_ref(&letter)).await?;
            tx.commit().await
        };
        match kept.await {
            Ok(()) => {
                self.core.series.dead_open.add(1.0);
                self.core.ledger().sent(id);
            }
            Err(error) => {
                tracing::warn!(service = &*self.core.name, %error, "a refused record could not be kept; trying again");
                self.core.ledger().failed(id);
                self.wait().await;
            }
        }
    }

    async fn remove(&mut self) {
        loop {
            let mut ids = self.core.ledger().take_sent();
            if ids.is_empty() {
                return;
            }
            let rest = ids.split_off(ids.len().min(REMOVE));
            self.core.ledger().not_removed(rest);
            let removed = async {
                let mut tx = self.core.store().begin().await?;
                tx.delete_outbox(&ids).await?;
                tx.commit().await
            };
            if let Err(error) = removed.await {
                tracing::warn!(service = &*self.core.name, %error, "sent rows could not be removed from the outbox; waiting");
                self.core.ledger().not_removed(ids);
                self.wait().await;
                return;
            }
            self.failures = 0;
            self.core.ledger().removed(&ids);
            self.core.moved();
            self.core.outbox_room.notify_one();
            if self.core.ledger().has_ready() {
                return;
            }
        }
    }

    /// Looks up whether rows are in the database whose commit gave no clear answer.
    async fn settle_doubt(&mut self, rows: &[(OutboxId, Ticket)]) {
        let (Some((first, _)), Some((last, _))) = (rows.first(), rows.last()) else { return };
        let (mut after, mut found) = (first - 1, Vec::new());
        while after < *last {
            match self.core.store().outbox(&self.core.name, after, PAGE).await {
                Ok(rows) => {
                    let Some(end) = rows.last() else { break };
                    after = end.id;
                    found.extend(rows.into_iter().map(|row| row.id));
                }
                Err(error) => {
                    tracing::warn!(service = &*self.core.name, %error, "rows in doubt could not be looked up; waiting");
                    self.core.relay_wake.notify_one();
                    return self.wait().await;
                }
            }
        }
        let mut ledger = self.core.ledger();
        for (id, ticket) in rows {
            match found.binary_search(id) {
                Ok(_) => ledger.commit(*ticket, &[*id]),
                Err(_) => ledger.roll_back(*ticket, &[*id]),
            }
        }
        drop(ledger);
        self.core.moved();
        self.core.outbox_room.notify_one();
    }

    async fn wait(&mut self) {
        self.core.clock.sleep(self.core.outage_backoff(self.failures)).await;
        self.failures = self.failures.saturating_add(1);
    }
}
