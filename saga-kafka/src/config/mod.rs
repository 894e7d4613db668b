//! How to reach a Kafka cluster, and how to behave there.
//!
//! A [`KafkaConfig`] comes from a URL, from code, or from a configuration file by serde:
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
//! Whatever else librdkafka, the client library, can be told is an option by its own name, in the URL or in
//! [`KafkaConfig::client`]. An option that the delivery guarantees rest on is refused with the reason, and an unknown one with the
//! name that is nearest, by [`KafkaConfig::check`], which runs before anything is connected.

mod address;
mod check;
mod client;
mod duration;
mod error;
pub(crate) mod names;
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

/// The session timeout when none is said. With the time that a group takes to form anew, what a killed process owned is read
/// again within 15 seconds. Clusters allow 6 s to 30 min.
pub(crate) const SESSION_TIMEOUT: Duration = Duration::from_secs(8);

/// What a program says of its Kafka cluster. [`KafkaConfig::check`] says whether it can work.
///
/// `Debug` shows no password, key or user name; serializing shows them all, because a configuration file has to be read back.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(remote = "Self", deny_unknown_fields)]
#[non_exhaustive]
pub struct KafkaConfig {
    /// The brokers that are asked first, each `host`, `host:port` or `[IPv6]:port`; the port is 9092 if there is none. The
    /// cluster tells of the others. In a file a list, or one text with commas.
    #[serde(deserialize_with = "serial::addresses")]
    pub bootstrap: Vec<String>,
    /// Whether records and credentials may travel unencrypted to another machine. `false`.
    #[serde(default)]
    pub allow_plaintext: bool,
    /// Further options of the client, by librdkafka's names. In a file the dots may be underscores.
    #[serde(default, deserialize_with = "serial::options")]
    pub client: BTreeMap<String, String>,
    /// How topics are created that are not there.
    #[serde(default)]
    pub topic: TopicDefaults,
    /// How the members of a group behave.
    #[serde(default)]
    pub group: GroupConfig,
}

/// How topics are created that are not there. A topic that is there keeps what it has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct TopicDefaults {
    /// On how many brokers each partition is. -1, the default, is what the cluster's `default.replication.factor` says.
    pub replication: i16,
    /// How long records are kept. `None`, the default, is what the cluster says.
    #[serde(with = "duration::optional")]
    pub retention: Option<Duration>,
    /// Further options of a topic, by Kafka's names, as `min.insync.replicas`. In a file the dots may be underscores.
    #[serde(deserialize_with = "serial::options")]
    pub options: BTreeMap<String, String>,
}

/// How the members of a group behave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct GroupConfig {
    /// How partitions are handed out. [`GroupProtocol::Classic`].
    pub protocol: GroupProtocol,
    /// After how long of silence the cluster gives a member up: what a process that was killed owns stays its own that long.
    /// `None` is 8 s. Only of the classic protocol; with the other one, the cluster has it
    /// (`group.consumer.session.timeout.ms`).
    #[serde(with = "duration::optional")]
    pub session_timeout: Option<Duration>,
    /// After how long without asking for records a member gives itself up: the process hangs or was stopped. 60 s.
    #[serde(with = "duration::required")]
    pub max_poll_interval: Duration,
    /// The name by which a member is known again after a restart (static membership), so that it gets its partitions back at
    /// once and nobody else is disturbed. Every process needs its own. `None`, the default: a member is new whenever it starts.
    pub instance_id: Option<String>,
    /// How long a partition that another member wants may be kept, to finish and commit what is running. 5 s.
    #[serde(with = "duration::required")]
    pub drain_timeout: Duration,
}

/// How the partitions of a group are handed out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum GroupProtocol {
    /// The members agree among each other, step by step (`cooperative-sticky`): who keeps a partition goes on reading it.
    #[default]
    Classic,
    /// The cluster decides (KIP-848). Needs Apache Kafka 4.0, and all members of a group on it.
    Consumer,
}

impl KafkaConfig {
    /// A cluster that is reached through `bootstrap`: one or more brokers, separated by commas.
    pub fn new(bootstrap: impl AsRef<str>) -> Self {
        Self {
            bootstrap: address::split(bootstrap.as_ref()),
            allow_plaintext: false,
            client: BTreeMap::new(),
            topic: TopicDefaults::default(),
            group: GroupConfig::default(),
        }
    }

    /// Lets records and credentials travel unencrypted to other machines: for a network that encrypts by itself, or is trusted.
    #[must_use]
    pub fn allow_plaintext(mut self) -> Self {
        self.allow_plaintext = true;
        self
    }

    /// With an option of the client, by librdkafka's name.
    #[must_use]
    pub fn client(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.client.insert(name.into(), value.into());
        self
    }

    /// With topics created on this many brokers.
    #[must_use]
    pub fn replication(mut self, brokers: i16) -> Self {
        self.topic.replication = brokers;
        self
    }

    /// With topics created to keep records this long.
    #[must_use]
    pub fn retention(mut self, retention: Duration) -> Self {
        self.topic.retention = Some(retention);
        self
    }

    /// With topics created with this option, by Kafka's name.
    #[must_use]
    pub fn topic_option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.topic.options.insert(name.into(), value.into());
        self
    }

    /// With partitions handed out in this way.
    #[must_use]
    pub fn group_protocol(mut self, protocol: GroupProtocol) -> Self {
        self.group.protocol = protocol;
        self
    }

    /// With members given up after this long of silence.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.group.session_timeout = Some(timeout);
        self
    }

    /// With members that are known again by `id` after a restart.
    #[must_use]
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.group.instance_id = Some(id.into());
        self
    }
}

impl Default for TopicDefaults {
    fn default() -> Self {
        Self { replication: -1, retention: None, options: BTreeMap::new() }
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
