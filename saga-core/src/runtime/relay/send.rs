//! Sending: one call of the transport, and what its answers mean.

use std::collections::{BTreeMap, HashSet};

use super::{super::metrics::TopicSeries, Relay};
use crate::{
    message::Record,
    store::OutboxId,
    transport::{TopicSpec, TransportError},
};

impl Relay {
    /// Gives `rows` to the log.
    pub(super) async fn send(&mut self, rows: Vec<(OutboxId, Record)>) {
        let (ids, records): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let results = self.core.transport.publish(records.clone()).await;
        let (mut outage, mut refused, mut unknown) = (None, Vec::new(), None);
        let (mut taken, mut failing) = (HashSet::new(), BTreeMap::new());
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
                        self.held.left(&self.core, *id, record);
                    }
                    Err(TransportError::Refused(reason)) => refused.push((*id, record.clone(), reason)),
                    Err(error) => {
                        ledger.failed(*id);
                        if matches!(error, TransportError::UnknownTopic(_)) {
                            unknown = Some(record.topic.clone());
                        }
                        failing.entry(record.topic.clone()).or_insert_with(|| error.to_string());
                        outage.get_or_insert(error);
                    }
                }
            }
        }
        self.core.moved();
        for topic in taken {
            self.topics.works(topic);
            self.takes(topic);
        }
        for topic in failing.keys() {
            self.topic_failed(topic.clone());
        }
        if let Some(name) = unknown {
            self.create(name).await;
        }
        for (id, record, reason) in refused {
            self.refused(id, record, &reason).await;
        }
        for (topic, cause) in failing {
            self.weigh(topic, &cause).await;
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
}
