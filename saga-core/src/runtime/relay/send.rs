//! Sending: one call of the transport, and what its answers mean.

use std::{collections::HashSet, sync::Arc};

use super::{super::metrics::TopicSeries, Relay};
use crate::{
    message::{Envelope, Received, Record},
    store::{DeadLetter, DeadLetterState, OutboxId},
    transport::{TopicSpec, TransportError},
};

impl Relay {
    /// Gives `rows` to the log.
    pub(super) async fn send(&mut self, rows: Vec<(OutboxId, Record)>) {
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
        let letter = DeadLetter {
            id: self.core.ids.uuid(now).into(),
            event_type: Envelope::by_position(&received, now).event_type,
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
}
