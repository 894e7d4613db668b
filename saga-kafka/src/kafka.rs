//! The implementation of [`Transport`] for Kafka.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

use async_trait::async_trait;
use rdkafka::consumer::Consumer as _;
use saga_core::{
    message::Record,
    time::Timestamp,
    transport::{
        ClientStatistics, Condition, GroupLag, PartitionOffsets, Position, Subscription, TopicExpectation, TopicFinding,
        TopicIdentity, TopicSpec, Transport, TransportError,
    },
};

use crate::{
    KafkaConfig,
    error::unavailable,
    foreign,
    group_topic::GroupTopic,
    groups::Groups,
    identity,
    member::{self, Feed, Members},
    observer::{self, Observer},
    producer::Producer,
    statistics::StatsRegistry,
    time::now,
    topics::Topics,
    unassigned::Rejoin,
};

/// The longest time that closing waits: once for all consumers together, then for the producer.
const CLOSE: Duration = Duration::from_secs(5);

/// A cluster of Apache Kafka brokers.
///
/// # Delivery
/// An idempotent producer stores the records; a record counts as stored when all in-sync replicas have it. Group members read
/// committed records only. They start at the offsets that the service's database has, and commit the offsets up to which messages
/// are durable in that database.
pub struct Kafka {
    config: KafkaConfig,
    board: Arc<StatsRegistry>,
    producer: Producer,
    topics: Topics,
    /// Makes the requests that concern no group.
    observer: Observer,
    /// The observers of groups, created on first use; `None` when the transport is closed.
    observers: Mutex<Option<HashMap<String, Arc<Observer>>>>,
    /// Reads the ends of partitions, including records of open transactions; created on first use.
    uncommitted: Mutex<Option<Arc<Observer>>>,
    members: Mutex<Vec<(GroupTopic, Weak<Feed>)>>,
    groups: Groups,
}

impl Kafka {
    /// Connects to the cluster that `config` describes.
    ///
    /// # Errors
    /// If the configuration is invalid, or the cluster does not answer.
    pub async fn connect(config: KafkaConfig) -> Result<Arc<Self>, TransportError> {
        let kafka = Self::connect_lazy(config)?;
        kafka.check().await?;
        Ok(kafka)
    }

    /// Checks `config`, and connects when the cluster is needed first. For an app that starts also while no broker can be reached:
    /// [`App::allow_unreachable_log`](https://docs.rs/sagas/latest/sagas/struct.App.html#method.allow_unreachable_log).
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn connect_lazy(config: KafkaConfig) -> Result<Arc<Self>, TransportError> {
        config.check()?;
        let board = Arc::new(StatsRegistry::default());
        Ok(Arc::new(Self {
            producer: Producer::new(&config, Arc::clone(&board))?,
            topics: Topics::new(&config),
            observer: Observer::new(&config, None)?,
            observers: Mutex::new(Some(HashMap::new())),
            uncommitted: Mutex::default(),
            members: Mutex::default(),
            groups: Groups::default(),
            board,
            config,
        }))
    }

    fn observers(&self) -> MutexGuard<'_, Option<HashMap<String, Arc<Observer>>>> {
        self.observers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the observer for `group`.
    fn observer(&self, group: &str) -> Result<Arc<Observer>, TransportError> {
        let mut observers = self.observers();
        let observers = observers.as_mut().ok_or(TransportError::Closed)?;
        if let Some(observer) = observers.get(group) {
            return Ok(Arc::clone(observer));
        }
        let observer = Arc::new(Observer::new(&self.config, Some(group))?);
        observers.insert(group.to_owned(), Arc::clone(&observer));
        Ok(observer)
    }

    /// Returns the observer that reads the ends of partitions.
    fn uncommitted(&self) -> Result<Arc<Observer>, TransportError> {
        let mut made = self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(observer) = &*made {
            return Ok(Arc::clone(observer));
        }
        let observer = Arc::new(Observer::uncommitted(&self.config)?);
        *made = Some(Arc::clone(&observer));
        Ok(observer)
    }

    /// Commands the members of this process for that topic to join the group again, if they are the given member.
    fn rejoin(&self, group: &str, rejoin: Rejoin) {
        let member = GroupTopic::new(group, &rejoin.topic);
        let members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        let of_topic = members.iter().filter(|(of, _)| *of == member).filter_map(|(_, feed)| feed.upgrade());
        of_topic.for_each(|feed| feed.rejoin(rejoin.clone()));
    }

    fn open(&self) -> Result<(), TransportError> {
        self.observers().as_ref().map(drop).ok_or(TransportError::Closed)
    }

    /// Returns the number of partitions of each of `topics`, all of which must exist.
    async fn partitions(&self, topics: &[String]) -> Result<BTreeMap<String, i32>, TransportError> {
        let found = self.topics.find_fresh(&self.observer, topics.iter().map(String::as_str)).await?;
        match topics.iter().find(|topic| !found.contains_key(*topic)) {
            Some(missing) => Err(TransportError::UnknownTopic(missing.clone())),
            None => Ok(found),
        }
    }
}

#[async_trait]
impl Transport for Kafka {
    async fn ensure_topics(&self, topics: &[TopicSpec]) -> Result<(), TransportError> {
        self.open()?;
        self.topics.ensure(&self.observer, topics).await
    }

    async fn publish(&self, records: Vec<Record>) -> Vec<Result<Position, TransportError>> {
        if self.open().is_err() {
            return records.iter().map(|_| Err(TransportError::Closed)).collect();
        }
        // Checked first, because a send to a topic that does not exist can create it, with the brokers' default number of
        // partitions.
        let found = self.topics.find(&self.observer, records.iter().map(|record| &*record.topic)).await;
        let answers = self
            .producer
            .publish(&records, |topic| match &found {
                Ok(found) => found.get(topic).copied().ok_or_else(|| TransportError::UnknownTopic(topic.to_owned())),
                Err(error) => Err(TransportError::Unavailable(error.to_string())),
            })
            .await;
        for answer in &answers {
            if let Err(TransportError::UnknownTopic(topic)) = answer {
                self.topics.forget(topic);
                self.producer.forget(topic);
            }
        }
        answers
    }

    async fn subscribe(&self, group: &str, topics: &[String]) -> Result<Box<dyn Subscription>, TransportError> {
        self.open()?;
        self.partitions(topics).await?;
        let observer = self.observer(group)?;
        let joined = Members::join(&self.config, group, topics, &observer, &self.board)?;
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        members.retain(|(_, member)| member.strong_count() > 0);
        members.extend(joined.feeds().map(|(topic, feed)| (GroupTopic::new(group, topic), feed)));
        Ok(Box::new(joined))
    }

    async fn lag(&self, group: &str, topics: &[String]) -> Result<Vec<GroupLag>, TransportError> {
        // librdkafka rejects a request for no partitions.
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let observer = self.observer(group)?;
        let partitions = self.partitions(topics).await?;
        let (group, topics) = (group.to_owned(), partitions.clone());
        let last = self.uncommitted()?.ask(move |client| member::ends(client, &topics)).await?;
        observer.ask(move |client| member::lag(client, &group, &partitions, &last)).await
    }

    async fn conditions(&self, group: &str, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        self.open()?;
        let mut found = self.topics.conditions(&self.observer, topics).await?;
        found.extend(self.board.conditions(group, now()));
        let (counts, drain) = (self.topics.counts(topics), self.config.group.drain_timeout);
        // Listing the members of a group can be refused to a user that may consume; such a failure is not a condition.
        if let Ok(observer) = self.observer(group)
            && let Ok((described, rejoins)) = self.groups.look(&observer, group, &counts, drain).await
        {
            found.extend(foreign::conditions(&self.config, group, &described));
            rejoins.into_iter().for_each(|rejoin| self.rejoin(group, rejoin));
        }
        Ok(found)
    }

    async fn identities(&self, topics: &[String]) -> Result<Vec<TopicIdentity>, TransportError> {
        self.open()?;
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let topics = topics.to_vec();
        self.observer.ask(move |client| identity::ask(client, &topics)).await
    }

    async fn check_topics(&self, topics: &[TopicExpectation]) -> Result<Vec<TopicFinding>, TransportError> {
        self.open()?;
        self.topics.check(&self.observer, topics).await
    }

    async fn offsets(&self, topic: &str, at: Option<Timestamp>) -> Result<Vec<PartitionOffsets>, TransportError> {
        self.open()?;
        let partitions = self.partitions(std::slice::from_ref(&topic.to_owned())).await?;
        self.observer.ask(move |client| member::offsets(client, &partitions, at)).await
    }

    async fn check(&self) -> Result<(), TransportError> {
        self.open()?;
        let topic = self.topics.any();
        self.observer
            .ask(move |client| {
                let answer = client.fetch_metadata(topic.as_deref(), observer::PATIENCE);
                answer.map(drop).map_err(|error| unavailable("asking the cluster", &error))
            })
            .await
    }

    /// Brokers do not report their version to clients, so this contains the version of librdkafka.
    async fn about(&self) -> Option<String> {
        let asked = self.observer.ask(|client| Ok(client.client().fetch_cluster_id(observer::PATIENCE))).await;
        let cluster = asked.ok().flatten().unwrap_or_else(|| "unknown".to_owned());
        let (at, (_, librdkafka)) = (self.config.bootstrap.join(","), rdkafka::util::get_rdkafka_version());
        Some(format!("Apache Kafka at {at}, cluster `{cluster}`, by librdkafka {librdkafka}"))
    }

    /// Updated every five seconds; a client without a first report is missing.
    fn statistics(&self) -> Vec<ClientStatistics> {
        self.board.all()
    }

    async fn close(&self) {
        if self.observers().take().is_none() {
            return;
        }
        drop(self.uncommitted.lock().unwrap_or_else(PoisonError::into_inner).take());
        let members = std::mem::take(&mut *self.members.lock().unwrap_or_else(PoisonError::into_inner));
        let members: Vec<_> = members.iter().filter_map(|(_, member)| member.upgrade()).collect();
        members.iter().for_each(|member| member.close());
        let left = futures_util::future::join_all(members.iter().map(|member| member.left()));
        let _ = tokio::time::timeout(CLOSE, left).await;
        self.producer.close(CLOSE).await;
    }
}

impl fmt::Debug for Kafka {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Kafka").field("config", &self.config).finish_non_exhaustive()
    }
}
