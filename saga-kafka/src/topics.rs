//! Topics: which are there, and making those that are not.

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

/// The settings of a topic by name, or why they cannot be asked for.
type Described = Result<BTreeMap<String, String>, Code>;

/// How long creating topics may take, and how long until they can be used.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long until a topic that was made is looked at again.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The largest answer of a broker that the client takes, unless it is told otherwise.
const RECEIVES: u64 = 100_000_000;

/// The longest name that a topic can have.
const LONGEST_NAME: usize = 249;

/// After how long a topic is looked at again by whoever needs its number of partitions: somebody may have added some.
const STALE: Duration = Duration::from_secs(60);

/// The same for whoever asks whether topics are still there.
const RECENT: Duration = Duration::from_secs(5);

/// What is known of the topics of the cluster.
pub(crate) struct Topics {
    config: KafkaConfig,
    abilities: Abilities,
    /// The number of partitions of every topic that was seen, and when it was.
    known: Mutex<BTreeMap<String, (i32, Instant)>>,
    /// The same of topics that may be gone: made anew, they get it again, so that a key stays in its partition.
    had: Mutex<BTreeMap<String, u32>>,
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
    /// It cannot be looked at, and waiting does not help.
    Refused(Code),
}

impl Topics {
    pub(crate) fn new(config: &KafkaConfig) -> Self {
        let receives = config.client.get("receive.message.max.bytes").and_then(|bytes| bytes.parse().ok());
        let abilities = Abilities { receives: receives.unwrap_or(RECEIVES), zstd: config.reads_zstd() };
        Self { config: config.clone(), abilities, known: Mutex::default(), had: Mutex::default() }
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

    /// What is wrong with `topics` as a whole. A topic that was seen a few seconds ago is not looked at.
    pub(crate) async fn conditions(&self, observer: &Observer, topics: &[String]) -> Result<Vec<Condition>, TransportError> {
        let since = now().checked_sub(RECENT);
        let unseen: Vec<_> = {
            let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let is_recent = |topic: &String| known.get(topic).is_some_and(|(_, seen)| since.is_none_or(|since| *seen >= since));
            topics.iter().filter(|topic| !is_recent(topic)).cloned().collect()
        };
        let looked = self.look(observer, unseen).await?;
        Ok(looked.into_iter().filter_map(|(topic, seen)| condition(topic, seen)).collect())
    }

    /// Forgets that a topic is there: something said that it is not.
    pub(crate) fn forget(&self, topic: &str) {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }

    /// A topic that is known to be there.
    pub(crate) fn any(&self) -> Option<String> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).keys().next().cloned()
    }

    /// Looks for settings against which a guarantee cannot hold.
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
            match (settings, shown.get_mut(&topic)) {
                (Ok(settings), Some(shown)) => shown.settings = settings,
                (Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed), _) => findings.push(TopicFinding {
                    detail: "its settings cannot be checked, because the user may not ask for them: grant DescribeConfigs on it"
                        .to_owned(),
                    setting: "DescribeConfigs".to_owned(),
                    weight: Weight::Note,
                    topic,
                }),
                // It is not there, which is told as a condition of its own.
                _ => {}
            }
        }
        let of = |topic: &TopicExpectation| {
            let shown = shown.get(&topic.name).filter(|shown| shown.partitions > 0)?;
            Some(topic_settings::findings(topic, shown, self.abilities))
        };
        findings.extend(expected.iter().filter_map(of).flatten());
        Ok(findings)
    }

    /// The settings of each topic, or why they cannot be asked for.
    async fn describe(&self, topics: &[TopicExpectation]) -> Result<Vec<(String, Described)>, TransportError> {
        let asked = topics.iter().filter(|topic| illegal(&topic.name).is_none());
        let asked: Vec<_> = asked.map(|topic| ResourceSpecifier::Topic(&topic.name)).collect();
        let admin = self.admin()?;
        let patience = AdminOptions::new().request_timeout(Some(observer::PATIENCE));
        let described = tokio::time::timeout(PATIENCE, admin.describe_configs(&asked, &patience)).await;
        // Dropping it waits for a thread.
        tokio::task::spawn_blocking(move || drop(admin));
        let what = "asking for the settings of topics";
        let described = described
            .map_err(|_| TransportError::Unavailable(format!("{what} took more than {} s", PATIENCE.as_secs())))?
            .map_err(|error| unavailable(what, &error))?;
        let of = |(topic, described): (&TopicExpectation, Result<ConfigResource, Code>)| {
            let settings = described.map(|described| {
                described.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect::<BTreeMap<_, _>>()
            });
            (topic.name.clone(), settings)
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
        if let Some((topic, code)) = looked.iter().find_map(|(topic, seen)| match seen {
            Seen::Refused(code) => Some((topic, *code)),
            _ => None,
        }) {
            return Err(unavailable_by(&asking_for(topic), code, ""));
        }
        if !missing.is_empty() {
            let specs = specs.iter().filter(|spec| missing.contains(&spec.name));
            self.create(specs.map(|spec| self.as_before(spec)).collect()).await?;
        }
        self.usable(observer, specs).await
    }

    /// What a topic that is missing is made as.
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

/// How a topic is, but for its settings.
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

fn asking_for(topic: &str) -> String {
    format!("asking for the topic `{topic}`")
}

/// What is wrong with a topic that looks like this.
fn condition(topic: String, seen: Seen) -> Option<Condition> {
    let (name, detail) = match seen {
        Seen::Ready { .. } => return None,
        Seen::Missing => (
            "topic_missing",
            format!(
                "there is no topic `{topic}`: it was deleted, or the user may not know of it; create it again with the partitions that \
                 it had, or restart a service that uses it, which creates it"
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
