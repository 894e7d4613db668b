//! Sending: one call of the transport, and what its answers mean.

use std::collections::{BTreeMap, HashSet};

use super::{
    super::{metrics::TopicSeries, spans::Sending},
    Relay,
};
use crate::{
    message::Record,
    store::OutboxId,
    transport::{TopicSpec, TransportError},
};

impl Relay {
    /// Gives `rows` to the log.
    pub(super) async fn send(&mut self, rows: Vec<(OutboxId, Record)>) {
        let rows = self.without_unreadable(rows).await;
        if rows.is_empty() {
            return;
        }
        let (ids, records): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let sending = Sending::begin(&self.core, records.len());
        let results = self.core.transport.publish(records.clone()).await;
        let (mut refused, mut unknown) = (Vec::new(), None);
        let (mut taken, mut failing) = (HashSet::new(), BTreeMap::new());
        let mut results = results.into_iter();
        let answers: Vec<_> = records
            .iter()
            .map(|record| {
                let missing = || Err(TransportError::Unavailable("the log gave no answer for a record".into()));
                let answer = results.next().unwrap_or_else(missing);
                // Of a topic that fails again and again only the first failure has a span: the relay tries as long as the log is away.
                if answer.is_ok() || !self.topics.has_failed(&record.topic) {
                    sending.answered(&self.core, record, &answer);
                }
                answer
            })
            .collect();
        {
            let mut ledger = self.core.ledger();
            for ((id, record), answer) in ids.iter().zip(&records).zip(answers) {
                match answer {
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
                    }
                }
            }
        }
        self.core.moved();
        for topic in taken {
            self.topics.works(topic);
            self.takes(topic);
        }
        for (topic, cause) in &failing {
            self.topic_failed(topic.clone(), cause);
        }
        if let Some(name) = unknown
            && let Err(error) = self.create(name.clone()).await
        {
            // It is why the topic takes nothing.
            failing.insert(name, error.to_string());
        }
        for (id, record, reason) in refused {
            self.refused(id, record, &reason).await;
        }
        for (topic, cause) in failing {
            self.weigh(topic, &cause).await;
        }
    }

    /// Creates a topic that only an event published by hand names, or that was deleted.
    async fn create(&self, name: String) -> Result<(), TransportError> {
        let spec = TopicSpec { name, partitions: self.core.settings.topic_partitions };
        self.core.transport.ensure_topics(std::slice::from_ref(&spec)).await?;
        tracing::info!(service = &*self.core.name, topic = spec.name, "created a topic");
        Ok(())
    }
}
