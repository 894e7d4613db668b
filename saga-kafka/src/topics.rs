//! Topics: which are there, and making those that are not.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, NewTopic, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer as _,
    error::IsError as _,
    types::RDKafkaErrorCode as Code,
};
use saga_core::transport::{TopicSpec, TransportError};

use crate::{
    KafkaConfig,
    error::{self, describe, unavailable, unavailable_by},
    observer::{self, Client, Observer},
    settings,
    time::now,
};

/// How long creating topics may take, and how long until they can be used.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long until a topic that was made is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The longest name that a topic can have.
const LONGEST_NAME: usize = 249;

/// After how long a topic is looked at again by whoever needs its number of partitions: somebody may have added some.
const STALE: Duration = Duration::from_secs(60);

/// What is known of the topics of the cluster.
pub(crate) struct Topics {
    config: KafkaConfig,
    /// The number of partitions of every topic that was seen, and when it was.
    known: Mutex<BTreeMap<String, (i32, Instant)>>,
}

/// What a look at a topic shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Missing,
    /// It is there, but not every partition has a leader yet.
    Forming,
    Ready {
        partitions: i32,
    },
}

impl Topics {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        Self { config: config.clone(), known: Mutex::default() }
    }

    /// Those of `topics` that are there, with their numbers of partitions. A topic that is known to be there is not looked at.
    pub(crate) async fn find(
        &self,
        observer: &Observer,
        topics: impl IntoIterator<Item = &str>,
    ) -> Result<BTreeMap<String, i32>, TransportError> {
        self.find_since(observer, topics, None).await
    }

    /// The same, with numbers of partitions that are not long ago.
    pub(crate) async fn find_fresh(
        &self,
        observer: &Observer,
        topics: impl IntoIterator<Item = &str>,
    ) -> Result<BTreeMap<String, i32>, TransportError> {
        self.find_since(observer, topics, now().checked_sub(STALE)).await
    }

    async fn find_since(
        &self,
        observer: &Observer,
        topics: impl IntoIterator<Item = &str>,
        since: Option<Instant>,
    ) -> Result<BTreeMap<String, i32>, TransportError> {
        let mut found = BTreeMap::new();
        let mut unseen = Vec::new();
        {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            for topic in topics.into_iter().collect::<BTreeSet<_>>() {
                match known.get(topic) {
                    Some((partitions, seen)) if since.is_none_or(|since| *seen >= since) => {
                        found.insert(topic.to_owned(), *partitions);
                    }
                    _ => unseen.push(topic.to_owned()),
                }
            }
        }
        for (topic, seen) in self.look(observer, unseen).await? {
            if let Seen::Ready { partitions } = seen {
                found.insert(topic, partitions);
            }
        }
        Ok(found)
    }

    /// Forgets that a topic is there: something said that it is not.
    pub(crate) fn forget(&self, topic: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// A topic that is known to be there.
    pub(crate) fn any(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().next().cloned()
    }

    async fn look(&self, observer: &Observer, topics: Vec<String>) -> Result<Vec<(String, Seen)>, TransportError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let legal: Vec<_> = topics.into_iter().filter(|topic| illegal(topic).is_none()).collect();
        let looked =
            observer.ask(move |client| legal.into_iter().map(|topic| look_at(client, topic)).collect::<Result<Vec<_>, _>>());
        let looked = looked.await?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, seen) in &looked {
            match seen {
                Seen::Ready { partitions } => known.insert(topic.clone(), (*partitions, now())),
                Seen::Missing => known.remove(topic),
                Seen::Forming => None,
            };
        }
        Ok(looked)
    }

    /// Creates what is missing, checks what is there, and waits until all can be used.
    pub(crate) async fn ensure(&self, observer: &Observer, specs: &[TopicSpec]) -> Result<(), TransportError> {
        for spec in specs {
            let invalid = |reason: String| TransportError::InvalidTopic { topic: spec.name.clone(), reason };
            if let Some(reason) = illegal(&spec.name) {
                return Err(invalid(reason.to_owned()));
            }
            if spec.partitions == 0 || i32::try_from(spec.partitions).is_err() {
                return Err(invalid(format!("it cannot have {} partitions", spec.partitions)));
            }
        }
        let names: Vec<_> = specs.iter().map(|spec| spec.name.clone()).collect();
        let looked = self.look(observer, names).await?;
        let missing: BTreeSet<_> = looked.iter().filter(|(_, seen)| *seen == Seen::Missing).map(|(topic, _)| topic).collect();
        for (spec, (topic, seen)) in specs.iter().zip(&looked) {
            if let Seen::Ready { partitions } = seen
                && partitions.unsigned_abs() < spec.partitions
            {
                tracing::warn!(
                    topic,
                    partitions,
                    wanted = spec.partitions,
                    "a topic has fewer partitions than wanted, and no more members of a group than that have work; more can be added \
                     with `kafka-topics --alter --partitions`, which moves keys, so do it while nothing of the topic is under way"
                );
            }
        }
        if !missing.is_empty() {
            let specs: Vec<_> = specs.iter().filter(|spec| missing.contains(&spec.name)).cloned().collect();
            self.create(specs).await?;
        }
        self.usable(observer, specs).await
    }

    async fn create(&self, specs: Vec<TopicSpec>) -> Result<(), TransportError> {
        let admin: AdminClient<DefaultClientContext> =
            settings::admin(&self.config).create().map_err(|error| self.config.explain(&error))?;
        let admin = Arc::new(admin);
        let retention = self.config.topic.retention.map(|retention| retention.as_millis().to_string());
        let topics: Vec<_> = specs
            .iter()
            .map(|spec| {
                let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
                let replication = TopicReplication::Fixed(self.config.topic.replication.into());
                let mut topic = NewTopic::new(&spec.name, partitions, replication);
                for (name, value) in &self.config.topic.options {
                    topic = topic.set(name, value);
                }
                retention.iter().fold(topic, |topic, retention| topic.set("retention.ms", retention))
            })
            .collect();
        let patience = AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE));
        let created = tokio::time::timeout(PATIENCE, admin.create_topics(&topics, &patience)).await;
        // Dropping it waits for a thread.
        tokio::task::spawn_blocking(move || drop(admin));
        let created = created
            .map_err(|_| TransportError::Unavailable(format!("creating topics took more than {} s", PATIENCE.as_secs())))?
            .map_err(|error| unavailable("creating topics", &error))?;
        for result in created {
            match result {
                Ok(topic) => tracing::info!(topic, "created a topic"),
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((topic, code)) => return Err(self.not_created(topic, code)),
            }
        }
        Ok(())
    }

    fn not_created(&self, topic: String, code: Code) -> TransportError {
        let fix = match code {
            Code::InvalidReplicationFactor => format!(
                "there are fewer than {} brokers: set `topic.replication` to what there are, or -1 for the cluster's default",
                self.config.topic.replication
            ),
            Code::InvalidConfig => "see `topic.options` and `topic.retention`".to_owned(),
            Code::PolicyViolation => "the cluster has a policy for new topics; create the topic by hand".to_owned(),
            Code::InvalidTopic | Code::InvalidPartitions => String::new(),
            code => return unavailable_by(&format!("creating the topic `{topic}`"), code, ""),
        };
        let reason = [describe(code), fix].into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("; ");
        TransportError::InvalidTopic { topic, reason }
    }

    /// Waits until every topic has its partitions and their leaders.
    async fn usable(&self, observer: &Observer, specs: &[TopicSpec]) -> Result<(), TransportError> {
        let usable = async {
            loop {
                let looked = self.find(observer, specs.iter().map(|spec| &*spec.name)).await?;
                if specs.iter().all(|spec| looked.contains_key(&spec.name)) {
                    return Ok(());
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        tokio::time::timeout(PATIENCE, usable).await.unwrap_or_else(|_| {
            Err(TransportError::Unavailable(format!("topics that were made have no leaders after {} s", PATIENCE.as_secs())))
        })
    }
}

fn look_at(client: &Client, topic: String) -> Result<(String, Seen), TransportError> {
    let what = format!("asking for the topic `{topic}`");
    let metadata = client.fetch_metadata(Some(&topic), observer::PATIENCE).map_err(|error| unavailable(&what, &error))?;
    let seen = match metadata.topics().iter().find(|known| known.name() == topic) {
        None => Seen::Missing,
        Some(known) => match known.error().map(Code::from) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic) => Seen::Missing,
            Some(Code::LeaderNotAvailable) => Seen::Forming,
            Some(code) if error::is_lasting(code) => return Err(unavailable_by(&what, code, "")),
            Some(_) => Seen::Forming,
            None => {
                let ready = |partition: &rdkafka::metadata::MetadataPartition| {
                    partition.leader() >= 0 && !partition.error().is_some_and(|error| error.is_error())
                };
                match i32::try_from(known.partitions().len()) {
                    Ok(partitions) if partitions > 0 && known.partitions().iter().all(ready) => Seen::Ready { partitions },
                    _ => Seen::Forming,
                }
            }
        },
    };
    Ok((topic, seen))
}

/// Why no topic can have this name.
fn illegal(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        return Some("the name is empty");
    }
    if name.len() > LONGEST_NAME {
        return Some("the name is longer than 249 characters");
    }
    if name == "." || name == ".." {
        return Some("`.` and `..` are no names");
    }
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    (!name.chars().all(fits)).then_some("a name has letters, digits, `.`, `_` and `-`")
}
