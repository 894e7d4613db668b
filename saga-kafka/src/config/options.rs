//! Which options the user can set, and which are fixed.

use std::time::Duration;

use saga_core::time::duration;

use super::{GroupProtocol, KafkaConfig, Problem};

/// The options of a URL that are not options of the client.
pub(super) const OWN: &[&str] =
    &["plaintext", "topic.create", "topic.replication", "topic.retention", "topic.option.", "drain.timeout.ms"];

/// Options that the user cannot set, with the reasons.
const REFUSED: &[(&[&str], &str)] = &[
    (&["bootstrap.servers", "metadata.broker.list"], "the brokers are the hosts of the URL, or `bootstrap`"),
    (&["group.id"], "the group of a service is its name"),
    (
        &[
            "auto.commit.enable",
            "auto.commit.interval.ms",
            "enable.auto.commit",
            "enable.auto.offset.store",
            "offset.store.method",
            "offset.store.path",
            "offset.store.sync.interval.ms",
        ],
        "offsets are committed after the database has what they stand for; a client that commits by itself loses messages",
    ),
    (
        &["auto.offset.reset"],
        "a new service reads from the oldest record, and a gap stops a partition instead of being jumped over: see the setting \
         `on_gap`",
    ),
    (&["isolation.level"], "only what was committed is read"),
    (
        &[
            "acks",
            "delivery.timeout.ms",
            "enable.gapless.guarantee",
            "enable.idempotence",
            "max.in.flight",
            "max.in.flight.requests.per.connection",
            "message.send.max.retries",
            "message.timeout.ms",
            "queuing.strategy",
            "request.required.acks",
            "retries",
        ],
        "a record counts as published when all replicas have it, once and in its order; the outbox tries until then",
    ),
    (&["transaction.timeout.ms", "transactional.id"], "what belongs together is one transaction of the database, not of Kafka"),
    (
        &["partition.assignment.strategy"],
        "the members of a group have to agree on `cooperative-sticky`; with `group.protocol=consumer`, set `group.remote.assignor`",
    ),
    (&["partitioner"], "a key has one partition, the one that Java's clients would choose, or its records lose their order"),
    (
        &["group.protocol.type", "consume.callback.max.messages", "enable.partition.eof"],
        "it means how records are read, which is fixed",
    ),
    (&["delivery.report.only.error", "produce.offset.report"], "every record has to be acknowledged, with its offset"),
    (&["allow.auto.create.topics"], "topics are created with the partitions and options that are configured"),
    (&["heartbeat.interval.ms"], "it follows from the session timeout"),
    (&["log_level", "log.queue"], "the client's log goes to `tracing`, target `librdkafka`; filter it there"),
    (&["enabled_events", "internal.termination.signal"], "it means how the client is embedded, which is fixed"),
];

/// Client options that have a setting of their own in the table.
const SETTINGS: &[(&str, &str)] = &[
    ("session.timeout.ms", "it is the setting `group.session_timeout`"),
    ("max.poll.interval.ms", "it is the setting `group.max_poll_interval`"),
    ("group.protocol", "it is the setting `group.protocol`"),
    ("group.instance.id", "it is the setting `group.instance_id`"),
];

/// Why the option `name` is rejected, if it is.
pub(super) fn refusal(name: &str) -> Option<&'static str> {
    let refused = REFUSED.iter().find(|(names, _)| names.contains(&name)).map(|(_, reason)| *reason);
    refused.or_else(|| SETTINGS.iter().find(|(known, _)| *known == name).map(|(_, reason)| *reason))
}

/// Sets one option of a URL.
///
/// # Errors
/// If the value is invalid. Options of the client are checked later.
pub(super) fn set(config: &mut KafkaConfig, name: &str, value: String) -> Result<(), Problem> {
    let invalid = |reason: &str| Problem::Value { name: name.to_owned(), reason: reason.to_owned() };
    let millis = || {
        let millis = value.parse().map_err(|_| invalid("must be a whole number of milliseconds"))?;
        Ok(Duration::from_millis(millis))
    };
    match name {
        "plaintext" => {
            config.allow_plaintext = match value.as_str() {
                "allow" => true,
                "deny" => false,
                _ => return Err(invalid("must be `allow` or `deny`")),
            }
        }
        "topic.create" => {
            config.topic.create = value.parse().map_err(|_| invalid("must be `true` or `false`"))?;
        }
        "topic.replication" => {
            config.topic.replication = value.parse().map_err(|_| invalid("must be a number of brokers, or -1"))?;
        }
        "topic.retention" => {
            let retention = duration::parse(&value);
            config.topic.retention = Some(retention.ok_or_else(|| invalid(&format!("must be {}", duration::FORM)))?);
        }
        "drain.timeout.ms" => config.group.drain_timeout = millis()?,
        "session.timeout.ms" => config.group.session_timeout = Some(millis()?),
        "max.poll.interval.ms" => config.group.max_poll_interval = millis()?,
        "group.protocol" => {
            let protocols = [GroupProtocol::Classic, GroupProtocol::Consumer];
            let protocol = protocols.into_iter().find(|protocol| protocol.as_str() == value);
            config.group.protocol = protocol.ok_or_else(|| invalid("must be `classic` or `consumer`"))?;
        }
        "group.instance.id" => config.group.instance_id = Some(value),
        _ => {
            let (map, name) = match name.strip_prefix("topic.option.") {
                Some(name) => (&mut config.topic.options, name),
                None => (&mut config.client, name),
            };
            map.insert(name.to_owned(), value);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::names::is_known;

    #[test]
    fn the_client_knows_every_option_that_is_refused() {
        let refused = REFUSED.iter().flat_map(|(names, _)| *names);
        for name in refused.chain(SETTINGS.iter().map(|(name, _)| name)) {
            assert!(is_known(name), "{name}");
        }
    }
}
