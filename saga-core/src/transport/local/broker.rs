//! The part of a transport that is the same for every [`LogStore`].

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

use super::{Catalog, Limits, LogStore, Partition, Topic, group::Group, lock, partition::Tail, subscription::Member};
use crate::{
    message::Record,
    time::{Clock, Timestamp},
    transport::{GroupLag, PartitionOffsets, Position, Subscription, TopicIdentity, TopicSpec, TransportError},
};

/// The time a member has to release a partition that moves to another member.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(30);

/// The maximum number of partitions of a topic.
const MAX_PARTITIONS: u32 = 10_000;

/// The records read at a time while searching for the first record at or after a time.
const LOOK: Limits = Limits { records: 500, bytes: 1 << 20 };

/// The topics and groups of a log, and its store.
pub(crate) struct Broker<S> {
    pub(super) store: S,
    pub(super) clock: Clock,
    pub(super) limits: Limits,
    catalog: Arc<Catalog>,
    groups: Mutex<HashMap<Arc<str>, Arc<Mutex<Group>>>>,
    members: AtomicU64,
    closed: AtomicBool,
}

impl<S: LogStore> Broker<S> {
    pub(crate) fn new(store: S, catalog: Arc<Catalog>, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            store,
            // Timeouts use the monotonic clock, so that changes of the system clock do not affect them.
            clock: clock.steady(),
            limits: Limits::default(),
            catalog,
            groups: Mutex::default(),
            members: AtomicU64::new(0),
            closed: AtomicBool::new(false),
        })
    }

    pub(crate) fn store(&self) -> &S {
        &self.store
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    fn open(&self) -> Result<(), TransportError> {
        if self.is_closed() { Err(TransportError::Closed) } else { Ok(()) }
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, TransportError> {
        self.catalog.topic(name).ok_or_else(|| TransportError::UnknownTopic(name.to_owned()))
    }

    pub(crate) async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.open()?;
        let mut missing = Vec::new();
        for spec in topics {
            accept(spec)?;
            if self.catalog.topic(&spec.name).is_none() {
                missing.push(spec.clone());
            }
        }
        if missing.is_empty() { Ok(()) } else { self.store.create(missing).await }
    }

    pub(crate) async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        let mut answers = Vec::with_capacity(records.len());
        let mut routed = Vec::with_capacity(records.len());
        let mut topic: Option<Arc<Topic>> = None;
        for record in records {
            if topic.as_ref().is_none_or(|topic| *topic.name != *record.topic) {
                topic = self.catalog.topic(&record.topic);
            }
            answers.push(match &topic {
                _ if self.is_closed() => Err(TransportError::Closed),
                None => Err(TransportError::UnknownTopic(record.topic)),
                Some(_) if record.size() > self.store.max_record_bytes() => Err(TransportError::Refused(format!(
                    "it has {} bytes and this log takes records of at most {}; raise `max_record_bytes` or send less",
                    record.size(),
                    self.store.max_record_bytes()
                ))),
                Some(topic) => {
                    let partition = topic.route(record.key.as_deref());
                    let position = Position { partition: partition.id.partition, offset: 0 };
                    routed.push((Arc::clone(partition), Arc::new(record)));
                    Ok(position)
                }
            });
        }
        if !routed.is_empty() {
            let offsets = self.store.append(routed).await;
            for (answer, offset) in answers.iter_mut().filter(|answer| answer.is_ok()).zip(offsets) {
                match (offset, &mut *answer) {
                    (Ok(offset), Ok(position)) => position.offset = offset,
                    (Err(error), answer) => *answer = Err(error),
                    (Ok(_), Err(_)) => {}
                }
            }
        }
        answers
    }

    pub(crate) async fn subscribe(
        self: &Arc<Self>,
        group: &str,
        topics: &[String],
    ) -> Result<Box<dyn Subscription>, TransportError> {
        self.open()?;
        let mut found = Vec::with_capacity(topics.len());
        for name in topics {
            let topic = self.topic(name)?;
            if !found.iter().any(|other| Arc::ptr_eq(other, &topic)) {
                found.push(topic);
            }
        }
        let name: Arc<str> = group.into();
        let partitions = found.iter().flat_map(|topic| topic.partitions.iter().cloned()).collect();
        self.store.register(&name, partitions).await?;
        let id = self.members.fetch_add(1, Ordering::Relaxed);
        let wake = Arc::new(Notify::new());
        let group = Arc::clone(
            lock(&self.groups).entry(Arc::clone(&name)).or_insert_with(|| Arc::new(Mutex::new(Group::new(RELEASE_TIMEOUT)))),
        );
        lock(&group).join(id, found, Arc::clone(&wake), self.clock.now());
        Ok(Box::new(Member::new(Arc::clone(self), name, group, id, wake)))
    }

    pub(crate) fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        self.open()?;
        let mut lag = Vec::new();
        for name in topics {
            for partition in &self.topic(name)?.partitions {
                let end = partition.readable();
                lag.push(GroupLag {
                    partition: partition.id.clone(),
                    committed: partition.committed(group),
                    end,
                    blocked: partition.bounds().1 - end,
                });
            }
        }
        Ok(lag)
    }

    pub(crate) async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        self.open()?;
        let mut all = Vec::new();
        for partition in &self.topic(topic)?.partitions {
            let (oldest, end) = partition.bounds();
            let at = match at {
                Some(time) => self.first_from(partition, time, oldest, end).await?,
                None => oldest,
            };
            all.push(PartitionOffsets { partition: partition.id.clone(), oldest, end, at });
        }
        Ok(all)
    }

    /// Returns the offset of the first record of `partition` that is not older than `time`. All records before it are older. The search is
    /// linear, because records have the times of their publishers, which need not be in ascending order.
    async fn first_from(
        &self,
        partition: &Arc<Partition>,
        time: Timestamp,
        oldest: i64,
        end: i64,
    ) -> Result<i64, TransportError> {
        let mut from = oldest;
        while from < end {
            let records = match partition.tail(from, LOOK) {
                Tail::Records(records) => records,
                Tail::Stored => self.store.read(partition, from, LOOK).await?,
                Tail::Passed(next) => {
                    from = next;
                    continue;
                }
                Tail::Nothing | Tail::Gone(..) => break,
            };
            let Some(last) = records.last() else { break };
            from = last.offset + 1;
            if let Some(found) = records.iter().find(|received| received.record.timestamp.time().is_some_and(|at| at >= time)) {
                return Ok(found.offset);
            }
        }
        Ok(end)
    }

    pub(crate) fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        self.open()?;
        let there = topics.iter().filter_map(|name| self.catalog.topic(name));
        Ok(there.map(|topic| TopicIdentity { topic: topic.name.to_string(), log: Ok(topic.identity.to_string()) }).collect())
    }

    /// Reports to the groups that the partitions of a topic have changed.
    pub(crate) async fn repartitioned(&self, name: &str) -> Result<(), TransportError> {
        let topic = self.topic(name)?;
        let groups: Vec<_> = lock(&self.groups).iter().map(|(name, group)| (Arc::clone(name), Arc::clone(group))).collect();
        for (name, group) in groups {
            self.store.register(&name, topic.partitions.clone()).await?;
            lock(&group).replace(&topic, self.clock.now());
        }
        Ok(())
    }

    pub(crate) async fn check(&self) -> Result<(), TransportError> {
        self.open()?;
        self.store.check().await
    }

    pub(crate) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for group in lock(&self.groups).values() {
            lock(group).wake_all();
        }
        self.store.close().await;
    }
}

/// Rejects what Kafka would reject, so that a system that works with this log also works with Kafka.
fn accept(spec: &TopicSpec) -> Result<(), TransportError> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let name = &spec.name;
    let reason = if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.chars().all(legal) {
        "its name must be 1 to 249 letters, digits, `.`, `_` and `-`".to_owned()
    } else if !(1..=MAX_PARTITIONS).contains(&spec.partitions) {
        format!("it must have 1 to {MAX_PARTITIONS} partitions, not {}", spec.partitions)
    } else {
        return Ok(());
    };
    Err(TransportError::InvalidTopic { topic: name.clone(), reason })
}
