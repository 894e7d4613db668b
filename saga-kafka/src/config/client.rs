//! What the client is told: defaults, over them what the user says, over that what the delivery guarantees need.

use rdkafka::{ClientConfig, config::RDKafkaLogLevel, error::KafkaError};

use super::{GroupProtocol, KafkaConfig, KafkaConfigError, Problem, address::Address, duration::millis, names, secret};

/// The session timeout of the classic protocol. With the time that a group needs to form anew, what a killed process owned is read
/// again within 15 seconds. Clusters allow 6 s to 30 min.
pub(super) const SESSION_TIMEOUT_MS: u64 = 8_000;

/// Defaults of every client. Where a broker is gone, the client is to notice, and to be back soon after it.
const EVERY_CLIENT: &[(&str, &str)] = &[
    ("client.id", "sagas"),
    ("log.connection.close", "false"),
    ("reconnect.backoff.max.ms", "2000"),
    ("socket.connection.setup.timeout.ms", "10000"),
    ("socket.keepalive.enable", "true"),
    ("socket.timeout.ms", "15000"),
    ("statistics.interval.ms", "5000"),
];

/// Defaults of a producer. The outbox keeps what waits, so the client keeps little; it has batches already, so it waits for none.
const PRODUCER: &[(&str, &str)] =
    &[("linger.ms", "0"), ("queue.buffering.max.kbytes", "65536"), ("queue.buffering.max.messages", "20000")];

/// Defaults of a consumer. Librdkafka would prefetch 100,000 records of each partition and 64 MiB.
const CONSUMER: &[(&str, &str)] = &[
    ("fetch.error.backoff.ms", "100"),
    ("fetch.max.bytes", "8388608"),
    ("fetch.queue.backoff.ms", "20"),
    ("queued.max.messages.kbytes", "8192"),
    ("queued.min.messages", "1000"),
];

/// What the guarantees need of a producer.
const PRODUCER_ALWAYS: &[(&str, &str)] = &[("acks", "all"), ("enable.idempotence", "true"), ("partitioner", "murmur2_random")];

/// What the guarantees need of a consumer.
const CONSUMER_ALWAYS: &[(&str, &str)] = &[
    ("allow.auto.create.topics", "false"),
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
];

impl KafkaConfig {
    /// What all clients share: where the cluster is, who we are, how to connect.
    pub(crate) fn client_config(&self) -> ClientConfig {
        let addresses = self.bootstrap.iter().filter_map(|address| Address::parse(address).ok());
        let addresses: Vec<_> = addresses.map(|address| address.to_string()).collect();
        let mut config = ClientConfig::new();
        config.set_log_level(RDKafkaLogLevel::Info);
        self.fill(&mut config, EVERY_CLIENT, |name| !names::CONSUMER.contains(&name) && !names::PRODUCER.contains(&name));
        config.set("bootstrap.servers", addresses.join(","));
        config
    }

    /// What the producer is told.
    pub(crate) fn producer_config(&self) -> ClientConfig {
        let mut config = self.client_config();
        self.fill(&mut config, PRODUCER, |name| names::PRODUCER.contains(&name));
        set_all(&mut config, PRODUCER_ALWAYS);
        config
    }

    /// What a member of `group` is told.
    pub(crate) fn consumer_config(&self, group: &str) -> ClientConfig {
        let mut config = self.client_config();
        self.fill(&mut config, CONSUMER, |name| names::CONSUMER.contains(&name));
        set_all(&mut config, CONSUMER_ALWAYS);
        config.set("group.id", group);
        config.set("group.protocol", self.group.protocol.as_str());
        config.set("max.poll.interval.ms", millis(self.group.max_poll_interval).to_string());
        if let Some(id) = &self.group.instance_id {
            config.set("group.instance.id", id);
        }
        if self.group.protocol == GroupProtocol::Classic {
            let session = self.group.session_timeout.map_or(SESSION_TIMEOUT_MS, millis);
            config.set("partition.assignment.strategy", "cooperative-sticky");
            config.set("session.timeout.ms", session.to_string());
            config.set("heartbeat.interval.ms", (session / 3).clamp(1, 3_000).to_string());
        }
        config
    }

    fn fill(&self, config: &mut ClientConfig, defaults: &[(&str, &str)], is_meant: impl Fn(&str) -> bool) {
        set_all(config, defaults);
        for (name, value) in self.client.iter().filter(|(name, _)| is_meant(name)) {
            config.set(names::canonical(name), value);
        }
    }

    /// What the client's `error` means in terms of this configuration, without any value that is secret.
    pub(crate) fn explain(&self, error: &KafkaError) -> KafkaConfigError {
        let problem = match error {
            KafkaError::ClientConfig(_, text, name, _) => self.rejected(name, text),
            KafkaError::ClientCreation(text) => {
                Problem::Value { name: "client".to_owned(), reason: format!("was refused by the client: {}", self.scrub(text)) }
            }
            other => Problem::Value {
                name: "client".to_owned(),
                reason: match other.rdkafka_error_code() {
                    Some(code) => format!("was refused by the client: {code}"),
                    None => "was refused by the client".to_owned(),
                },
            },
        };
        problem.into()
    }

    /// What the client's `text` says of the option `name`.
    pub(super) fn rejected(&self, name: &str, text: &str) -> Problem {
        let reason = match secret::is_secret(name) {
            true => "has a value that the client does not take".to_owned(),
            false => format!("has a value that the client does not take: {}", self.scrub(text)),
        };
        Problem::Value { name: name.to_owned(), reason }
    }

    /// `text` without the values of the options that are secret.
    fn scrub(&self, text: &str) -> String {
        let secrets = self.client.iter().filter(|(name, value)| secret::is_secret(name) && !value.is_empty());
        secrets.fold(text.to_owned(), |text, (_, value)| text.replace(value.as_str(), "…"))
    }
}

fn set_all(config: &mut ClientConfig, options: &[(&str, &str)]) {
    for (name, value) in options {
        config.set(*name, *value);
    }
}
