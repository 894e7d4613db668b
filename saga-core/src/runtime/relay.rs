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
    engine::{outbox::Ticket, waits::Waits},
    message::{Envelope, Received, Record},
    store::{DeadLetter, DeadLetterState, OutboxId, OutboxRow, StoreError},
    time::Timestamp,
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
///
/// A topic that fails waits by itself, and so does the database: what commits meanwhile for other topics is sent at once, and
/// what was sent is removed. The relay sleeps until there is something to do that does not wait.
pub(crate) async fn run(core: Arc<Core>, mut stopping: tokio::sync::watch::Receiver<bool>) {
    let mut relay = Relay { core, topics: Waits::default(), upkeep: Waits::default(), series: HashMap::new() };
    loop {
        relay.work().await;
        let core = relay.core.clone();
        let now = core.clock.now();
        if relay.has_work(now) {
            continue;
        }
        let stop = *stopping.borrow();
        let retry = relay.next_retry(now);
        if stop && retry.is_none() {
            return;
        }
        tokio::select! {
            () = core.relay_wake.notified() => {}
            () = core.clock.sleep_until(retry.unwrap_or_default()), if retry.is_some() => {}
            stopped = stopping.wait_for(|stopping| *stopping), if !stop => if stopped.is_err() {
                return;
            },
        }
    }
}

/// What the relay does with the database.
#[derive(Debug, PartialEq, Eq, Hash)]
enum Upkeep {
    /// Looks up rows in doubt.
    Settle,
    /// Removes what was sent.
    Remove,
}

struct Relay {
    core: Arc<Core>,
    /// Topics that did not take all of their rows.
    topics: Waits<String>,
    /// What the database did not do.
    upkeep: Waits<Upkeep>,
    series: HashMap<String, TopicSeries>,
}

impl Relay {
    async fn work(&mut self) {
        let doubtful = self.core.ledger().doubtful();
        if !doubtful.is_empty() && !self.upkeep.holds(&Upkeep::Settle, self.core.clock.now()) {
            self.settle_doubt(&doubtful).await;
        }
        loop {
            let now = self.core.clock.now();
            let rows = self.core.ledger().take(BATCH, |topic| self.may_send(topic, now));
            if rows.is_empty() {
                break;
            }
            self.send(rows).await;
        }
        // Removing waits until there is nothing to send: it delays no one, and takes many rows at once.
        self.remove().await;
        let ledger = self.core.ledger();
        self.core.series.outbox_rows.set_count(ledger.len() as u64);
        let age = ledger.oldest().map_or(Duration::ZERO, |record| self.core.clock.now().since(record.timestamp));
        self.core.series.outbox_age_seconds.set(age.as_secs_f64());
    }

    /// Whether there is something to do at `now`.
    fn has_work(&self, now: Timestamp) -> bool {
        let ledger = self.core.ledger();
        ledger.has_ready(|topic| self.may_send(topic, now))
            || ledger.has_sent() && !self.upkeep.holds(&Upkeep::Remove, now)
            || ledger.has_doubtful() && !self.upkeep.holds(&Upkeep::Settle, now)
    }

    fn may_send(&self, topic: &str, now: Timestamp) -> bool {
        !self.topics.holds(topic, now)
    }

    /// When something that waits at `now` may be tried again.
    fn next_retry(&self, now: Timestamp) -> Option<Timestamp> {
        self.topics.next(now).into_iter().chain(self.upkeep.next(now)).min()
    }

    fn topic_failed(&mut self, topic: String) {
        let core = &self.core;
        self.topics.failed(topic, core.clock.now(), |failures| core.outage_backoff(failures));
    }

    fn upkeep_failed(&mut self, what: Upkeep) {
        let core = &self.core;
        self.upkeep.failed(what, core.clock.now(), |failures| core.outage_backoff(failures));
    }

    async fn send(&mut self, rows: Vec<(OutboxId, Record)>) {
        let (ids, records): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let results = self.core.transport.publish(records.clone()).await;
        let (mut outage, mut refused, mut unknown) = (None, Vec::new(), None);
        let (mut taken, mut failing) = (HashSet::new(), HashSet::new());
        {
            let mut ledger = self.core.ledger();
            let mut results = results.into_iter();
            for (id, record) in ids.iter().zip(&records) {
                let missing = || Err(TransportError::Unavailable("the log gave no answer for a record".into()));
                match results.next().unwrap_or_else(missing) {
                    Ok(_) => {
                        ledger.sent(*id);
                        let metrics = &self.core.metrics;
                        let series = self.series.entry(record.topic.clone());
                        series.or_insert_with(|| TopicSeries::new(metrics, &record.topic)).published.increment();
                        taken.insert(&record.topic);
                    }
                    Err(TransportError::Refused(reason)) => refused.push((*id, record.clone(), reason)),
                    Err(error) => {
                        ledger.failed(*id);
                        if matches!(error, TransportError::UnknownTopic(_)) {
                            unknown = Some(record.topic.clone());
                        }
                        failing.insert(record.topic.clone());
                        outage.get_or_insert(error);
                    }
                }
            }
        }
        self.core.moved();
        for topic in taken {
            self.topics.works(topic);
        }
        for topic in failing {
            self.topic_failed(topic);
        }
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
        let (now, topic) = (self.core.clock.now(), record.topic.clone());
        let received = Received { record: Arc::new(record), partition: -1, offset: -1 };
        let envelope = Envelope::of(&received);
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
                self.topic_failed(topic);
            }
        }
    }

    async fn remove(&mut self) {
        while !self.upkeep.holds(&Upkeep::Remove, self.core.clock.now()) {
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
                return self.upkeep_failed(Upkeep::Remove);
            }
            self.upkeep.works(&Upkeep::Remove);
            self.core.ledger().removed(&ids);
            self.core.moved();
            self.core.outbox_room.notify_one();
            let now = self.core.clock.now();
            if self.core.ledger().has_ready(|topic| self.may_send(topic, now)) {
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
                    return self.upkeep_failed(Upkeep::Settle);
                }
            }
        }
        self.upkeep.works(&Upkeep::Settle);
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
}
