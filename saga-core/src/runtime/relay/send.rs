//! Sends rows, with one call of the transport, and handles the results.

use std::collections::{BTreeMap, HashSet};

use super::{
    super::{metrics::TopicSeries, spans::Sending, start},
    Relay,
};
use crate::{
    message::Record,
    store::OutboxId,
    transport::{TopicSpec, TransportError},
};

impl Relay {
    /// Passes `rows` to the log.
    pub(super) async fn send(&mut self, rows: Vec<(OutboxId, Record)>) {
        let rows = self.without_unreadable(rows).await;
        if rows.is_empty() {
            return;
        }
        let (ids, records): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
        let sending = Sending::begin(&self.core, records.len());
        let results = self.core.transport.publish(records.clone()).await;
        let (mut refused, mut unknown) = (Vec::new(), None);
        let (mut stored_topics, mut failing) = (HashSet::new(), BTreeMap::new());
        let mut results = results.into_iter();
        let answers: Vec<_> = records
            .iter()
            .map(|record| {
                let missing = || Err(TransportError::Unavailable("the log gave no answer for a record".into()));
                let answer = results.next().unwrap_or_else(missing);
                // For a topic that fails repeatedly only the first failure has a span, because the relay tries again as long as the log is
                // unavailable.
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
                        stored_topics.insert(&record.topic);
                        self.held.sent(&self.core, *id, record);
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
        self.core.record_activity();
        for topic in stored_topics {
            self.topics.succeeded(topic);
            self.topic_recovered(topic);
        }
        for (topic, cause) in &failing {
            self.topic_failed(topic.clone(), cause);
        }
        if let Some(name) = unknown
            && let Err(error) = self.create(name.clone()).await
        {
            // This error is why the topic stores nothing.
            failing.insert(name, error.to_string());
        }
        for (id, record, reason) in refused {
            self.refused(id, record, &reason).await;
        }
        for (topic, cause) in failing {
            self.assess_topic_failure(topic, &cause).await;
        }
    }

    /// Creates a missing topic: one that was deleted, or that is named only by an event published without a declaration.
    async fn create(&self, name: String) -> Result<(), TransportError> {
        let spec = TopicSpec { partitions: start::partitions(&name, &self.core.settings), name };
        self.core.transport.ensure_topics(std::slice::from_ref(&spec)).await?;
        tracing::info!(service = &*self.core.name, topic = &*self.core.name_in_log(&spec.name), "created a topic");
        Ok(())
    }
}
