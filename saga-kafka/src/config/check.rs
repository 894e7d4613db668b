//! Checks of a configuration, before any connection is opened.

use std::{collections::BTreeMap, time::Duration};

use rdkafka::{ClientConfig, error::KafkaError, types::RDKafkaConfRes};
use saga_core::time::duration;

use super::{
    GroupProtocol, KafkaConfig, KafkaConfigError, Problem, SESSION_TIMEOUT,
    address::Address,
    names, options,
    security::{self, Features},
};

impl KafkaConfig {
    /// Finds everything that is wrong and can be detected without the cluster.
    ///
    /// # Errors
    /// All problems that were found.
    pub fn check(&self) -> Result<(), KafkaConfigError> {
        self.check_for(&Features::of_client())
    }

    /// As [`check`](Self::check), for a client with these features.
    pub(super) fn check_for(&self, features: &Features) -> Result<(), KafkaConfigError> {
        let mut problems = self.addresses();
        problems.extend(self.client_options(features));
        problems.extend(security::problems(self, features));
        problems.extend(self.topics());
        problems.extend(self.groups());
        KafkaConfigError::unless_empty(problems)?;
        self.client_config().create_native_config().map_err(|error| self.explain(&error))?;
        Ok(())
    }

    /// Whether the client of this build can decompress zstd records.
    pub(crate) fn reads_zstd(&self) -> bool {
        Features::of_client().has("zstd")
    }

    fn addresses(&self) -> Vec<Problem> {
        if self.bootstrap.is_empty() {
            return vec![Problem::NoBroker];
        }
        let wrong = self.bootstrap.iter().filter_map(|text| Some((text, Address::parse(text).err()?)));
        wrong.map(|(text, reason)| Problem::Address { address: shown(text), reason }).collect()
    }

    fn client_options(&self, features: &Features) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut given = BTreeMap::new();
        for (option, value) in &self.client {
            if let Some(reason) = options::refusal(option) {
                problems.push(Problem::Refused { option: option.clone(), reason });
            } else if let Some(other) = given.insert(names::canonical(option), option) {
                problems.push(invalid(option, format!("is another name of `{other}`; leave one of them out")));
            } else if option == "statistics.interval.ms" && !value.parse().is_ok_and(|millis: u32| (1..=10_000).contains(&millis))
            {
                problems.push(invalid(
                    option,
                    "must be from 1 to 10000: health and metrics use the statistics that the client then reports",
                ));
            } else {
                problems.extend(self.rejection(option, value, features));
            }
        }
        problems
    }

    /// The problem that the client reports for one option.
    fn rejection(&self, option: &str, value: &str, features: &Features) -> Option<Problem> {
        match ClientConfig::new().set(option, value).create_native_config() {
            Ok(_) => None,
            Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
                Some(Problem::Unknown { option: option.to_owned(), nearest: names::nearest(option) })
            }
            // `security` reports these.
            Err(_) if option == "security.protocol" || (option.starts_with("ssl.") && !features.has("ssl")) => None,
            Err(KafkaError::ClientConfig(_, text, ..)) => Some(self.rejected(option, &text)),
            Err(_) => Some(invalid(option, "has a zero byte in its name or value")),
        }
    }

    fn topics(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.topic.replication != -1 && self.topic.replication < 1 {
            problems.push(invalid("topic.replication", "must be a number of brokers, or -1 for the cluster's default"));
        }
        if self.topic.retention.is_some_and(|retention| retention < Duration::from_millis(1)) {
            problems.push(invalid("topic.retention", "must be at least 1ms; leave it out for the cluster's default"));
        }
        if self.topic.retention.is_some() && self.topic.options.contains_key("retention.ms") {
            problems.push(invalid("topic.retention", "is given twice, also as the option `retention.ms`; leave one of them out"));
        }
        problems
    }

    fn groups(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let group = &self.group;
        let session = match (group.protocol, group.session_timeout) {
            (GroupProtocol::Consumer, None) => None,
            (GroupProtocol::Consumer, Some(_)) => {
                let reason = "is the cluster's with the protocol `consumer`: set `group.consumer.session.timeout.ms` there";
                problems.push(invalid("group.session_timeout", reason));
                None
            }
            (GroupProtocol::Classic, given) => Some(given.unwrap_or(SESSION_TIMEOUT)),
        };
        let range = |name: &str, value: Duration, least: Duration, most: Duration| {
            let reason = || format!("must be from {} to {}", duration::text(least), duration::text(most));
            (value < least || value > most).then(|| invalid(name, reason()))
        };
        let (second, hour, day) = (Duration::from_secs(1), Duration::from_secs(3_600), Duration::from_secs(86_400));
        problems.extend(session.and_then(|session| range("group.session_timeout", session, second, hour)));
        problems.extend(range("group.max_poll_interval", group.max_poll_interval, second, day));
        if session.is_some_and(|session| session > group.max_poll_interval) {
            problems.push(invalid("group.max_poll_interval", "must be at least the session timeout"));
        }
        if group.drain_timeout >= group.max_poll_interval {
            let most = duration::text(group.max_poll_interval);
            problems
                .push(invalid("group.drain_timeout", format!("must be shorter than `group.max_poll_interval`, which is {most}")));
        }
        if group.instance_id.as_deref() == Some("") {
            problems.push(invalid("group.instance_id", "must not be empty; leave it out"));
        }
        problems
    }
}

/// An address without what may be credentials.
fn shown(text: &str) -> String {
    text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("…@{host}"))
}

fn invalid(name: &str, reason: impl Into<String>) -> Problem {
    Problem::Value { name: name.to_owned(), reason: reason.into() }
}
