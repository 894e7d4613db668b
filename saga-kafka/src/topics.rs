//! The topics of the cluster: which exist, and the creation of missing ones.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rdkafka::{
    admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication},
    client::DefaultClientContext,
    consumer::Consumer as _,
    error::IsError as _,
    types::RDKafkaErrorCode as Code,
};
use saga_core::transport::{Condition, TopicExpectation, TopicFinding, TopicSpec, TransportError, Weight};

use crate::{
    KafkaConfig,
    error::{self, describe, unavailable, unavailable_by},
    observer::{self, Client, Observer},
    settings,
    time::now,
    topic_settings::{self, Abilities, Shown},
};

/// The timeout of the creation of topics, and of the wait until they are usable.
const PATIENCE: Duration = Duration::from_secs(15);

/// How often a created topic is checked until it is usable.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// librdkafka's default of `receive.message.max.bytes`.
const RECEIVES: u64 = 100_000_000;

/// The longest name of a topic.
const LONGEST_NAME: usize = 249;

/// The age at which a cached number of partitions is read again where it must be current: an operator may have added partitions.
const STALE: Duration = Duration::from_secs(60);

/// The same for checks whether topics still exist.
const RECENT: Duration = Duration::from_secs(5);

/// The known topics of the cluster.
pub(crate) struct Topics {
    config: KafkaConfig,
    abilities: Abilities,
    /// The number of partitions of each topic, and when it was read.
    known: Mutex<BTreeMap<String, (i32, Instant)>>,
    /// The last number of partitions of each topic, also of deleted ones: a topic is recreated with it, so that keys keep their
    /// partitions.
    had: Mutex<BTreeMap<String, u32>>,
}

/// The state of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Seen {
    Missing,
    /// The topic exists, but not every partition has a leader yet.
    Forming,
    Ready {
        partitions: i32,
    },
    /// The topic cannot be read, and waiting does not help.
    Refused(Code),
}

impl Topics {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        let receives = config.client.get("receive.message.max.bytes").and_then(|bytes| bytes.parse().ok());
        let abilities = Abilities { receives: receives.unwrap_or(RECEIVES), zstd: config.reads_zstd() };
        Self { config: config.clone(), abilities, known: Mutex::default(), had: Mutex::default() }
    }

    /// Returns the numbers of partitions of those `topics` that exist. Known topics are not requested.
    pub(crate) async fn find(
        &self,
        observer: &Observer,
        topics: impl IntoIterator<Item = &str>,
    ) -> Result<BTreeMap<String, i32>, TransportError> {
        self.find_since(observer, topics, None).await
    }

    /// As [`find`](Self::find), with numbers of partitions that are at most [`STALE`] old.
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
            match seen {
                Seen::Ready { partitions } => {
                    found.insert(topic, partitions);
                }
                Seen::Refused(code) => return Err(unavailable_by(&asking_for(&topic), code, "")),
                Seen::Missing | Seen::Forming => {}
            }
        }
        Ok(found)
    }

    /// Returns the conditions of `topics`. A topic that was seen a few seconds ago is not requested.
    pub(crate) async fn conditions(&self, observer: &Observer, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        let since = now().checked_sub(RECENT);
        let unseen: Vec<_> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_recent = |topic: &String| known.get(topic).is_some_and(|(_, seen)| since.is_none_or(|since| *seen >= since));
            topics.iter().filter(|topic| !is_recent(topic)).cloned().collect()
        };
        let looked = self.look(observer, unseen).await?;
        let creates = self.config.topic.create;
        Ok(looked.into_iter().filter_map(|(topic, seen)| condition(topic, seen, creates)).collect())
    }

    /// Returns the numbers of partitions of those `topics` that were found when they were last requested.
    pub(crate) fn counts(&self, topics: &[String]) -> BTreeMap<String, i32> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        topics.iter().filter_map(|topic| Some((topic.clone(), known.get(topic)?.0))).collect()
    }

    /// Removes a topic from the known ones, because a request has reported that it does not exist.
    pub(crate) fn forget(&self, topic: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// Returns a topic that is known to exist.
    pub(crate) fn any(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().next().cloned()
    }

    /// Finds settings of topics that break a guarantee.
    pub(crate) async fn check(
        &self,
        observer: &Observer,
        expected: &[TopicExpectation],
    ) -> Result<Vec<TopicFinding>, TransportError> {
        let names: Vec<_> = expected.iter().map(|topic| topic.name.clone()).collect();
        let look =
            move |client: &Client| names.into_iter().map(|name| shape(client, name)).collect::<Result<BTreeMap<_, _>, _>>();
        let mut shown = observer.ask(look).await?;
        let described = self.describe(expected).await?;
        let mut findings = Vec::new();
        for (topic, settings) in described {
            // `conditions` reports topics that do not exist.
            let Some(shown) = shown.get_mut(&topic).filter(|shown| shown.partitions > 0) else { continue };
            // The client does not report why there are no settings; an existing topic always has some.
            if settings.is_empty() {
                findings.push(TopicFinding {
                    detail:
                        "its settings cannot be checked, because the user may not ask for them, so one that loses events, as \
                             `cleanup.policy=compact`, is not noticed: grant DescribeConfigs on it"
                            .to_owned(),
                    setting: "DescribeConfigs".to_owned(),
                    weight: Weight::Warning,
                    topic,
                });
            }
            shown.settings = settings;
        }
        let of = |topic: &TopicExpectation| {
            let shown = shown.get(&topic.name).filter(|shown| shown.partitions > 0)?;
            // An app that does not create topics accepts any number of partitions.
            let partitions = if self.config.topic.create { topic.partitions } else { 1 };
            Some(topic_settings::findings(&TopicExpectation { partitions, ..topic.clone() }, shown, self.abilities))
        };
        findings.extend(expected.iter().filter_map(of).flatten());
        Ok(findings)
    }

    /// Returns the settings of each topic; empty where the user must not read them.
    async fn describe(&self, topics: &[TopicExpectation]) -> Result<Vec<(String, BTreeMap<String, String>)>, TransportError> {
        let asked = topics.iter().filter(|topic| illegal(&topic.name).is_none());
        let asked: Vec<_> = asked.map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        if asked.is_empty() {
            return Ok(Vec::new());
        }
        let admin = self.admin()?;
        let patience = AdminOptions::new().request_timeout(Some(observer::PATIENCE));
        let described = tokio::time::timeout(PATIENCE, admin.describe_configs(&asked, &patience)).await;
        // Dropping the client joins a thread.
        tokio::task::spawn_blocking(move || drop(admin));
        let what = "asking for the settings of topics";
        let described = described
            .map_err(|_| TransportError::Unavailable(format!("{what} took more than {} s", PATIENCE.as_secs())))?
            .map_err(|error| unavailable(what, &error))?;
        let of = |(topic, described): (&TopicExpectation, Result<ConfigResource, Code>)| {
            let entries = described.map_or_else(|_| Vec::new(), |described| described.entries);
            (topic.name.clone(), entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect())
        };
        Ok(topics.iter().filter(|topic| illegal(&topic.name).is_none()).zip(described).map(of).collect())
    }

    fn admin(&self) -> Result<Arc<AdminClient<DefaultClientContext>>, TransportError> {
        let admin = settings::admin(&self.config).create().map_err(|error| self.config.explain(&error))?;
        Ok(Arc::new(admin))
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
        let mut had = self.had.lock().unwrap_or_else(PoisonError::into_inner);
        for (topic, seen) in &looked {
            match seen {
                Seen::Ready { partitions } => {
                    known.insert(topic.clone(), (*partitions, now()));
                    had.insert(topic.clone(), partitions.unsigned_abs());
                }
                Seen::Missing => drop(known.remove(topic)),
                Seen::Forming | Seen::Refused(_) => {}
            }
        }
        drop((known, had));
        Ok(looked)
    }

    /// Creates the missing topics, and waits until all are usable.
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
        let refused = looked.iter().filter_map(|(topic, seen)| match seen {
            Seen::Refused(code) => Some((topic.as_str(), *code)),
            _ => None,
        });
        let (refused, codes): (Vec<_>, Vec<_>) = refused.unzip();
        if let Some(code) = codes.first() {
            return Err(unavailable_by(&asking_for(&refused.join("`, `")), *code, ""));
        }
        if !missing.is_empty() {
            let specs = specs.iter().filter(|spec| missing.contains(&spec.name));
            if !self.config.topic.create {
                return Err(not_there(specs));
            }
            self.create(specs.map(|spec| self.as_before(spec)).collect()).await?;
        }
        self.usable(observer, specs).await
    }

    /// The specification for a missing topic: a recreated topic gets its previous number of partitions.
    fn as_before(&self, spec: &TopicSpec) -> TopicSpec {
        let had = self.had.lock().unwrap_or_else(PoisonError::into_inner).get(&spec.name).copied();
        if let Some(had) = had.filter(|had| *had != spec.partitions) {
            tracing::warn!(
                topic = spec.name,
                partitions = had,
                wanted = spec.partitions,
                "the topic was deleted; it is made with the number of partitions that it had"
            );
        }
        TopicSpec { name: spec.name.clone(), partitions: had.unwrap_or(spec.partitions) }
    }

    async fn create(&self, specs: Vec<TopicSpec>) -> Result<(), TransportError> {
        let admin = self.admin()?;
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
        // Dropping the client joins a thread.
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

/// Reads the partitions and replicas of a topic, without its settings.
fn shape(client: &Client, topic: String) -> Result<(String, Shown), TransportError> {
    let metadata =
        client.fetch_metadata(Some(&topic), observer::PATIENCE).map_err(|error| unavailable(&asking_for(&topic), &error))?;
    let known = metadata.topics().iter().find(|known| known.name() == topic && known.error().is_none());
    let partitions = known.map_or(&[][..], |known| known.partitions());
    let shown = Shown {
        partitions: u32::try_from(partitions.len()).unwrap_or(u32::MAX),
        replicas: partitions.iter().map(|partition| partition.replicas().len()).min().unwrap_or(0),
        brokers: metadata.brokers().len(),
        settings: BTreeMap::new(),
    };
    Ok((topic, shown))
}

/// The error for missing topics that this program does not create.
fn not_there<'s>(missing: impl Iterator<Item = &'s TopicSpec>) -> TransportError {
    let create = |spec: &TopicSpec| format!("`kafka-topics --create --topic {} --partitions {}`", spec.name, spec.partitions);
    let missing: Vec<_> = missing.collect();
    TransportError::InvalidTopic {
        topic: missing.first().map(|spec| spec.name.clone()).unwrap_or_default(),
        reason: format!(
            "this program creates none (`topic.create` is false); have those created that are missing: {}; or let the user describe \
             them, where they are there",
            missing.iter().map(|spec| create(spec)).collect::<Vec<_>>().join(", ")
        ),
    }
}

fn asking_for(topic: &str) -> String {
    format!("asking for the topic `{topic}`")
}

/// The condition of a topic in this state.
fn condition(topic: String, seen: Seen, creates: bool) -> Option<Condition> {
    let (name, detail) = match seen {
        Seen::Ready { .. } => return None,
        Seen::Missing => (
            "topic_missing",
            format!(
                "there is no topic `{topic}`: it was deleted, or the user may not describe it; create it again with the partitions that \
                 it had{}",
                if creates { ", or restart a service that uses it, which creates it" } else { "" }
            ),
        ),
        Seen::Forming => (
            "topic_without_leader",
            format!("the topic `{topic}` has partitions without a leader: see that the brokers that have their replicas run"),
        ),
        Seen::Refused(code) => ("not_authorized", unavailable_by(&asking_for(&topic), code, "").to_string()),
    };
    Some(Condition { name, subject: topic, critical: true, detail })
}

fn look_at(client: &Client, topic: String) -> Result<(String, Seen), TransportError> {
    let metadata =
        client.fetch_metadata(Some(&topic), observer::PATIENCE).map_err(|error| unavailable(&asking_for(&topic), &error))?;
    let seen = match metadata.topics().iter().find(|known| known.name() == topic) {
        None => Seen::Missing,
        Some(known) => match known.error().map(Code::from) {
            Some(Code::UnknownTopicOrPartition | Code::UnknownTopic | Code::InvalidTopic) => Seen::Missing,
            Some(Code::LeaderNotAvailable) => Seen::Forming,
            Some(code) if error::is_lasting(code) => Seen::Refused(code),
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

/// Why this is not a valid name of a topic.
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
