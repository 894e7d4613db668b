//! Sending: one call of the transport, and what its answers mean.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

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
        let (mut refused, mut unknown) = (Vec::new(), None);
        let (mut taken, mut failing) = (HashSet::new(), HashMap::new());
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
                        failing.entry(record.topic.clone()).or_insert_with(|| error.to_string());
                    }
                }
            }
        }
        self.core.moved();
        for topic in taken {
            self.topics.works(topic);
            if !failing.contains_key(topic) {
                self.core.sight.taken(topic);
            }
        }
        let now = self.core.clock.now();
        for (topic, error) in failing {
            let service = &*self.core.name;
            // What lasts becomes a condition.
            match self.core.sight.not_taken(&topic, error.clone(), now) {
                true => tracing::info!(service, topic, error, "the log did not take all of the outbox; trying again"),
                false => tracing::debug!(service, topic, error, "the log did not take all of the outbox; trying again"),
            }
            self.topic_failed(topic);
        }
        if let Some(name) = unknown {
            self.create(name).await;
        }
        for (id, record, reason) in refused {
            self.bury(id, record, &reason).await;
        }
    }

    /// Creates a topic that only an event published by hand names.
    async fn create(&self, name: String) {
        let spec = TopicSpec { name, partitions: self.core.settings.topic_partitions };
        match self.core.transport.ensure_topics(std::slice::from_ref(&spec)).await {
            Ok(()) => tracing::info!(service = &*self.core.name, topic = spec.name, "created a topic"),
            // It is why the topic does not take what is published to it.
            Err(error) => {
                tracing::debug!(service = &*self.core.name, topic = spec.name, %error, "a topic cannot be created");
                self.core.sight.not_taken(&spec.name, error.to_string(), self.core.clock.now());
            }
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
}
