//! A log whose topics have the names that a deployment gave them.
//!
//! The code above this module sees the names in the code, and the log has those of the deployment. They are translated here and nowhere
//! else. Texts from the log (errors, conditions) keep the log's names, because operators search for these.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::future::BoxFuture;

use super::{
    ClientStatistics, Condition, Delivery, GroupLag, PartitionOffsets, Position, Subscription, TopicExpectation, TopicFinding,
    TopicIdentity, TopicNames, TopicPartition, TopicSpec, Transport, TransportError,
};
use crate::{
    message::{Received, Record, headers},
    time::Timestamp,
};

/// The topic names of the deployment, and the translations back.
#[derive(Default)]
struct Names {
    names: TopicNames,
    /// The name in the code by the name in the log, for topics that the log may return.
    back: RwLock<HashMap<String, Arc<str>>>,
}

impl Names {
    /// Returns the name of `topic` in the log.
    fn of<'t>(&'t self, topic: &'t str) -> Cow<'t, str> {
        self.names.of(topic)
    }

    /// As [`of`](Self::of), for topics that the log will return: also stores the translation back.
    fn all(&self, topics: &[String]) -> Vec<String> {
        let named: Vec<_> = topics.iter().map(|topic| self.of(topic).into_owned()).collect();
        let mut back = self.back.write().unwrap_or_else(PoisonError::into_inner);
        for (topic, name) in topics.iter().zip(&named).filter(|(topic, name)| topic != name) {
            if back.get(name).is_none_or(|known| **known != **topic) {
                back.insert(name.clone(), Arc::from(topic.as_str()));
            }
        }
        named
    }

    /// Replaces the name in the log by the name in the code.
    fn back(&self, topic: &mut String) {
        let back = self.back.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = back.get(topic.as_str()) {
            *topic = known.to_string();
        }
    }

    fn partition(&self, at: &TopicPartition) -> TopicPartition {
        TopicPartition::new(self.of(&at.topic), at.partition)
    }

    fn partitions(&self, partitions: &[TopicPartition]) -> Vec<TopicPartition> {
        partitions.iter().map(|at| self.partition(at)).collect()
    }

    /// Translates the topic of `record` to the name in the log.
    fn publish(&self, record: &mut Record) {
        let name = self.of(&record.topic);
        if *name != *record.topic {
            record.topic = name.into_owned();
        }
        // The source topic of a dead letter, translated too, so that a reader of the dead-letter topic can find it in the log.
        let came_from = record.headers.iter_mut().find(|header| header.name == headers::DLT_TOPIC);
        if let Some(value) = came_from.and_then(|header| header.value.as_mut())
            && let Ok(topic) = std::str::from_utf8(value)
        {
            let name = Bytes::from(self.of(topic).into_owned());
            *value = name;
        }
    }

    /// Sets the topic of `received` to `topic`, the name in the code.
    fn receive(received: &mut Received, topic: &str) {
        if received.record.topic != topic {
            topic.clone_into(&mut Arc::make_mut(&mut received.record).topic);
        }
    }
}

/// A log whose topics have the names that a deployment gave them.
pub(crate) struct Named {
    log: Arc<dyn Transport>,
    names: Arc<Names>,
}

impl Named {
    /// Wraps `log`, in which topics have the names given by `names`.
    pub(crate) fn new(log: Arc<dyn Transport>, names: TopicNames) -> Self {
        Self { log, names: Arc::new(Names { names, back: RwLock::default() }) }
    }
}

#[async_trait]
impl Transport for Named {
    fn name_in_log<'t>(&'t self, topic: &'t str) -> Cow<'t, str> {
        self.names.of(topic)
    }

    async fn about(&self) -> Option<String> {
        self.log.about().await
    }

    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        let named = |topic: &TopicSpec| TopicSpec { name: self.names.of(&topic.name).into_owned(), ..topic.clone() };
        self.log.ensure_topics(&topics.iter().map(named).collect::<Vec<_>>()).await
    }

    async fn publish(&self, mut records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        records.iter_mut().for_each(|record| self.names.publish(record));
        self.log.publish(records).await
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        let member = self.log.subscribe(group, &self.names.all(topics)).await?;
        Ok(Box::new(NamedSubscription { member, names: self.names.clone() }))
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        let mut lags = self.log.lag(group, &self.names.all(topics)).await?;
        lags.iter_mut().for_each(|lag| self.names.back(&mut lag.partition.topic));
        Ok(lags)
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        let mut offsets = self.log.offsets(&self.names.of(topic), at).await?;
        offsets.iter_mut().for_each(|of| topic.clone_into(&mut of.partition.topic));
        Ok(offsets)
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.log.check().await
    }

    async fn conditions(&self, group: &str, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        self.log.conditions(group, &self.names.all(topics)).await
    }

    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        let mut identities = self.log.identities(&self.names.all(topics)).await?;
        identities.iter_mut().for_each(|identity| self.names.back(&mut identity.topic));
        Ok(identities)
    }

    async fn check_topics(&self, topics: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        let named =
            |topic: &TopicExpectation| TopicExpectation { name: self.names.of(&topic.name).into_owned(), ..topic.clone() };
        self.log.check_topics(&topics.iter().map(named).collect::<Vec<_>>()).await
    }

    fn statistics(&self) -> Vec<ClientStatistics> {
        let mut clients = self.log.statistics();
        let partitions = clients.iter_mut().flat_map(|client| &mut client.partitions);
        partitions.for_each(|known| self.names.back(&mut known.partition.topic));
        clients
    }

    async fn close(&self) {
        self.log.close().await;
    }
}

/// A member of a group of a [`Named`] log.
struct NamedSubscription {
    member: Box<dyn Subscription>,
    names: Arc<Names>,
}

#[async_trait]
impl Subscription for NamedSubscription {
    async fn next(&mut self) -> Result<Delivery, TransportError> {
        let mut delivery = self.member.next().await?;
        match &mut delivery {
            Delivery::Records { partition, records } => {
                self.names.back(&mut partition.topic);
                records.iter_mut().for_each(|received| Names::receive(received, &partition.topic));
            }
            Delivery::Passed { partition, .. } | Delivery::Gap { partition, .. } => self.names.back(&mut partition.topic),
            Delivery::Assigned(partitions) | Delivery::Revoked(partitions) | Delivery::Lost(partitions) => {
                partitions.iter_mut().for_each(|at| self.names.back(&mut at.topic));
            }
        }
        Ok(delivery)
    }

    fn start(&mut self, from: &[(TopicPartition, Option<i64>)]) {
        let named = |(at, offset): &(TopicPartition, Option<i64>)| (self.names.partition(at), *offset);
        self.member.start(&from.iter().map(named).collect::<Vec<_>>());
    }

    fn pause(&mut self, partitions: &[TopicPartition]) {
        self.member.pause(&self.names.partitions(partitions));
    }

    fn resume(&mut self, partitions: &[TopicPartition]) {
        self.member.resume(&self.names.partitions(partitions));
    }

    fn commit(&mut self, mut offsets: Vec<(TopicPartition, i64)>) -> BoxFuture<'static, Result<(), TransportError>> {
        offsets.iter_mut().for_each(|(at, _)| *at = self.names.partition(at));
        self.member.commit(offsets)
    }

    fn made_anew(&mut self, partitions: &[TopicPartition]) {
        self.member.made_anew(&self.names.partitions(partitions));
    }

    fn release(&mut self, partitions: &[TopicPartition]) {
        self.member.release(&self.names.partitions(partitions));
    }

    async fn close(self: Box<Self>) {
        self.member.close().await;
    }
}
