//! How to connect to a Kafka cluster, and how to behave as its client.
//!
//! A [`KafkaConfig`] comes from a URL, from code, or from a configuration file through serde:
//!
//! ```
//! use std::time::Duration;
//!
//! use saga_kafka::config::{GroupProtocol, KafkaConfig};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let url: KafkaConfig = "kafka://127.0.0.1:9092,[::1]:9094?topic.replication=3&session.timeout.ms=6000".parse()?;
//! let code = KafkaConfig::new("127.0.0.1:9092,[::1]:9094").replication(3).session_timeout(Duration::from_secs(6));
//! assert_eq!(url, code);
//! url.check()?;
//!
//! let file: KafkaConfig = serde_json::from_str(
//!     r#"{ "bootstrap": ["127.0.0.1:9092"], "topic": { "retention": "7d" }, "group": { "protocol": "consumer" } }"#,
//! )?;
//! assert_eq!(file.topic.retention, Some(Duration::from_secs(7 * 86_400)));
//! assert_eq!(file.group.protocol, GroupProtocol::Consumer);
//! # Ok(()) }
//! ```
//!
//! Every other option of librdkafka, the client library, can be set by its own name, in the URL or with [`KafkaConfig::client`].
//! [`KafkaConfig::check`] runs before any connection is opened. It rejects an option that the delivery guarantees depend on, with
//! the reason, and an unknown option, with the name that it is probably a misspelling of.

mod address;
mod check;
mod client;
mod duration;
mod error;
mod names;
mod options;
mod secret;
mod security;
mod serial;
#[cfg(test)]
mod tests;
mod url;

use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{Deserialize, Serialize};

pub use error::{KafkaConfigError, Problem};

/// The default session timeout. With the time that a rebalance takes, the partitions of a killed process are read again within 15
/// seconds. Brokers allow 6 s to 30 min by default.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(8);

/// The settings of a Kafka cluster. [`KafkaConfig::check`] finds out whether they can work.
///
/// `Debug` hides passwords, keys and user names. Serialization includes them, so that a written configuration can be read back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// The brokers to connect to first, each as `host`, `host:port` or `[IPv6]:port`; the default port is 9092. The cluster
    /// reports its other brokers. In a file: a list, or one string separated by commas.
    #[serde(deserialize_with = "serial::addresses")]
    pub bootstrap: Vec<String>,
    /// Whether records and credentials can be sent unencrypted to another machine. The default is `false`.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Other options of the client, by librdkafka's names. In a file, underscores can replace the dots.
    #[serde(default, deserialize_with = "serial::options")]
    pub client: BTreeMap<String, String>,
    /// How missing topics are created.
    #[serde(default)]
    pub topic: TopicDefaults,
    /// How the members of a group behave.
    #[serde(default)]
    pub group: GroupConfig,
}

/// How missing topics are created. An existing topic keeps its settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicDefaults {
    /// Whether missing topics are created. The default is `true`. With `false`, none is created, including the topics of the
    /// framework and the dead-letter topics: an app with missing topics does not start and names them, and an existing topic can
    /// have any number of partitions.
    pub create: bool,
    /// The number of replicas of each partition. The default, -1, is the cluster's `default.replication.factor`.
    pub replication: i16,
    /// How long records are kept. The default, `None`, is the cluster's setting.
    #[serde(with = "duration::optional")]
    pub retention: Option<Duration>,
    /// Other options of the topics, by Kafka's names, such as `min.insync.replicas`. In a file, underscores can replace the dots.
    #[serde(deserialize_with = "serial::options")]
    pub options: BTreeMap<String, String>,
}

/// How the members of a group behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GroupConfig {
    /// How the group assigns partitions. The default is [`GroupProtocol::Classic`].
    pub protocol: GroupProtocol,
    /// How long the cluster waits for a silent member before it removes the member from the group. The partitions of a killed
    /// process are not read for that long. `None` is 8 s. For the classic protocol only; with the other protocol it is a setting
    /// of the cluster (`group.consumer.session.timeout.ms`).
    #[serde(with = "duration::optional")]
    pub session_timeout: Option<Duration>,
    /// How long a member can go without polling before it leaves the group, because its process hangs or is suspended. The
    /// default is 60 s.
    #[serde(with = "duration::required")]
    pub max_poll_interval: Duration,
    /// The name that identifies a member across restarts (static membership), so that it gets its partitions back at once,
    /// without a rebalance. Every process needs its own name. With `None`, the default, a member is new at every start.
    pub instance_id: Option<String>,
    /// How long a revoked partition can be kept, to finish and commit the running deliveries. The default is 5 s.
    #[serde(with = "duration::required")]
    pub drain_timeout: Duration,
}

/// How the partitions of a group are assigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GroupProtocol {
    /// The members agree among themselves, in incremental steps (`cooperative-sticky`): a member reads the partitions that it
    /// keeps without interruption.
    #[default]
    Classic,
    /// The cluster assigns them (KIP-848). Requires Apache Kafka 4.0, and that all members of the group use it.
    Consumer,
}

impl KafkaConfig {
    /// Creates the configuration of a cluster that is reached through `bootstrap`: one or more brokers, separated by commas.
    pub fn new(bootstrap: impl AsRef<str>) -> Self {
        Self {
            bootstrap: address::split(bootstrap.as_ref()),
            allow_plaintext: false,
            client: BTreeMap::new(),
            topic: TopicDefaults::default(),
            group: GroupConfig::default(),
        }
    }

    /// Allows records and credentials to be sent unencrypted to other machines: for a network that encrypts traffic itself, or is
    /// trusted.
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// Sets an option of the client, by librdkafka's name.
    #[must_use]
    pub fn client(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.client.insert(name.into(), value.into());
        self
    }

    /// Sets whether missing topics are created.
    #[must_use]
    pub fn create_topics(mut self, create: bool) -> Self {
        self.topic.create = create;
        self
    }

    /// Sets the number of replicas of created topics.
    #[must_use]
    pub fn replication(mut self, brokers: i16) -> Self {
        self.topic.replication = brokers;
        self
    }

    /// Sets how long created topics keep records.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.topic.retention = Some(retention);
        self
    }

    /// Sets an option of created topics, by Kafka's name.
    #[must_use]
    pub fn topic_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.topic.options.insert(name.into(), value.into());
        self
    }

    /// Sets how the group assigns partitions.
    #[must_use]
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.group.protocol = protocol;
        self
    }

    /// Sets how long the cluster waits for a silent member.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.group.session_timeout = Some(timeout);
        self
    }

    /// Sets the name that identifies a member across restarts.
    #[must_use]
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.group.instance_id = Some(id.into());
        self
    }
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self { create: true, replication: -1, retention: None, options: BTreeMap::new() }
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            protocol: GroupProtocol::Classic,
            session_timeout: None,
            max_poll_interval: Duration::from_secs(60),
            instance_id: None,
            drain_timeout: Duration::from_secs(5),
        }
    }
}

impl GroupProtocol {
    fn as_str(self) -> &'static str {
        match self {
            Self::Classic => "classic",
            Self::Consumer => "consumer",
        }
    }
}

impl fmt::Debug for KafkaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaConfig")
            .field("bootstrap", &self.bootstrap)
            .field("allow_plaintext", &self.allow_plaintext)
            .field("client", &secret::Shown(&self.client))
            .field("topic", &self.topic)
            .field("group", &self.group)
            .finish()
    }
}
