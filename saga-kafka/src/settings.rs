//! The options of the clients: defaults that the user can change, and fixed options.
//!
//! librdkafka's defaults are for the throughput of a single stream: buffers of a gigabyte, and waits of seconds in some places.
//! These defaults limit the memory, and keep every wait short.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::{
    config::{GroupProtocol, KafkaConfig, SESSION_TIMEOUT},
    group_topic::GroupTopic,
};

/// The interval of a member's heartbeats. A member learns of a rebalance from the reply to a heartbeat, so this delays the
/// members that wait for a partition.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The default `client.id` of every client.
pub(crate) const CLIENT_ID: &str = "sagas";

/// The defaults of every client.
const COMMON: &[(&str, &str)] = &[
    ("client.id", CLIENT_ID),
    ("log.connection.close", "false"),
    // A broker that is available again is found within two seconds.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
    ("retry.backoff.ms", "50"),
    // A request that a broker does not answer fails after ten seconds.
    ("socket.timeout.ms", "10000"),
    ("socket.nagle.disable", "true"),
    ("statistics.interval.ms", "5000"),
    ("topic.metadata.refresh.fast.interval.ms", "50"),
    // The time within which added partitions are found, by consumers and by the producer, which maps keys to partitions by their
    // number.
    ("topic.metadata.refresh.interval.ms", "10000"),
];

/// The options of the user that only consumers take. A client of the other type ignores an option with a warning in its log, so
/// it is not given any. An option that is missing in both lists still works, with that warning.
const FOR_CONSUMERS: &[&str] = &[
    "check.crcs",
    "coordinator.query.interval.ms",
    "fetch.error.backoff.ms",
    "fetch.max.bytes",
    "fetch.min.bytes",
    "fetch.queue.backoff.ms",
    "fetch.wait.max.ms",
    "group.remote.assignor",
    "max.partition.fetch.bytes",
    "queued.max.messages.kbytes",
    "queued.min.messages",
];

/// The options of the user that only producers take.
const FOR_PRODUCERS: &[&str] = &[
    "batch.num.messages",
    "batch.size",
    "compression.level",
    "compression.type",
    "linger.ms",
    "queue.buffering.backpressure.threshold",
    "queue.buffering.max.kbytes",
    "queue.buffering.max.messages",
    "request.timeout.ms",
    "sticky.partitioning.linger.ms",
];

const PRODUCER: &[(&str, &str)] = &[
    ("linger.ms", "0"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    // High, because the topic's own limit decides whether a record is too large.
    ("message.max.bytes", "50000000"),
    ("request.timeout.ms", "8000"),
];

const PRODUCER_FIXED: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    // A safety net: the waiting call gives up earlier, and purges all records of a partition together.
    ("message.timeout.ms", "15000"),
];

const READER: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.max.bytes", "16777216"),
    // Fetched records of a partition that is paused are dropped and fetched again later, so the limit is low. A larger record is
    // fetched alone.
    ("max.partition.fetch.bytes", "262144"),
    ("queued.min.messages", "4000"),
];

/// How much all members of one group in this process can have fetched, in KiB, and the minimum for each member.
const FETCHED: usize = 16_384;
const FETCHED_AT_LEAST: usize = 2_048;
const FETCHED_AT_MOST: &str = "queued.max.messages.kbytes";

const READER_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
];

/// The options of the producer.
pub(crate) fn producer(config: &KafkaConfig) -> ClientConfig {
    with(config, FOR_CONSUMERS, PRODUCER, PRODUCER_FIXED)
}

/// The options of one member of a group that has `siblings` members in this process.
pub(crate) fn member(config: &KafkaConfig, member: &GroupTopic, siblings: usize) -> ClientConfig {
    let mut client = reader(config);
    if client.get(FETCHED_AT_MOST).is_none() {
        client.set(FETCHED_AT_MOST, (FETCHED / siblings.max(1)).max(FETCHED_AT_LEAST).to_string());
    }
    client.set("group.id", &member.group).set("max.poll.interval.ms", millis(config.group.max_poll_interval));
    match config.group.protocol {
        GroupProtocol::Consumer => {
            client.set("group.protocol", "consumer");
        }
        _ => {
            let session = config.group.session_timeout.unwrap_or(SESSION_TIMEOUT);
            client
                .set("partition.assignment.strategy", "cooperative-sticky")
                .set("session.timeout.ms", millis(session))
                .set("heartbeat.interval.ms", millis((session / 4).min(HEARTBEAT)));
        }
    }
    if let Some(id) = &config.group.instance_id {
        // An instance id must be unique within its group, and the process has one member for each topic.
        client.set("group.instance.id", format!("{id}.{}", member.topic));
    }
    client
}

/// The options of a client for requests only: for metadata and the ends of partitions, and, with a group, for committed offsets.
pub(crate) fn observer(config: &KafkaConfig, group: Option<&str>) -> ClientConfig {
    let mut client = reader(config);
    client.set("statistics.interval.ms", "0");
    if let Some(group) = group {
        client.set("group.id", group);
    }
    client
}

/// As [`observer`], but the ends of partitions include records of open transactions.
pub(crate) fn uncommitted(config: &KafkaConfig) -> ClientConfig {
    let mut client = observer(config, None);
    client.set("isolation.level", "read_uncommitted");
    client
}

/// The options of a client that tests whether partitions of `group` can be fetched. It reports the end of a partition, and
/// prefetches as little as possible.
pub(crate) fn probe(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut client = observer(config, Some(group));
    client.set("enable.partition.eof", "true").set("queued.min.messages", "1");
    client
}

/// The options of the client that creates topics.
pub(crate) fn admin(config: &KafkaConfig) -> ClientConfig {
    let mut client = with(config, FOR_CONSUMERS, &[], &[]);
    client.set("statistics.interval.ms", "0");
    client
}

fn reader(config: &KafkaConfig) -> ClientConfig {
    let mut client = with(config, FOR_PRODUCERS, READER, READER_FIXED);
    // The option limits what is sent. In a consumer it would only raise `fetch.max.bytes`.
    client.remove("message.max.bytes");
    client
}

/// The user's options except those in `others`, then `defaults` for what the user has not set, then the `fixed` options.
fn with(config: &KafkaConfig, others: &[&str], defaults: &[(&str, &str)], fixed: &[(&str, &str)]) -> ClientConfig {
    let mut client = config.client_config();
    for name in others {
        client.remove(name);
    }
    for (name, value) in COMMON.iter().chain(defaults) {
        if client.get(name).is_none() {
            client.set(*name, *value);
        }
    }
    for (name, value) in fixed {
        client.set(*name, *value);
    }
    client
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> KafkaConfig {
        url.parse().expect(url)
    }

    fn told<'a>(client: &'a ClientConfig, names: &[&str]) -> Vec<Option<&'a str>> {
        names.iter().map(|name| client.get(name)).collect()
    }

    #[test]
    fn each_client_is_told_what_concerns_it() {
        let config = config("kafka://a?linger.ms=5&fetch.wait.max.ms=9&client.rack=r&message.max.bytes=20000000&client.id=shop");
        let names =
            ["linger.ms", "fetch.wait.max.ms", "client.rack", "message.max.bytes", "client.id", "acks", "isolation.level"];
        let expected = [Some("5"), None, Some("r"), Some("20000000"), Some("shop"), Some("all"), None];
        assert_eq!(told(&producer(&config), &names), expected);
        let expected = [None, Some("9"), Some("r"), None, Some("shop"), None, Some("read_committed")];
        assert_eq!(told(&member(&config, &GroupTopic::new("billing", "orders"), 1), &names), expected);
        assert_eq!(told(&observer(&config, None), &names), expected);
    }

    #[test]
    fn a_killed_process_is_given_up_in_time() {
        let names = ["group.protocol", "session.timeout.ms", "partition.assignment.strategy", "group.instance.id", "group.id"];
        for (url, expected) in [
            ("kafka://a", [None, Some("8000"), Some("cooperative-sticky"), None, Some("g")]),
            ("kafka://a?session.timeout.ms=30000", [None, Some("30000"), Some("cooperative-sticky"), None, Some("g")]),
            (
                "kafka://a?group.protocol=consumer&group.instance.id=1",
                [Some("consumer"), None, None, Some("1.orders"), Some("g")],
            ),
        ] {
            assert_eq!(told(&member(&config(url), &GroupTopic::new("g", "orders"), 1), &names), expected, "{url}");
        }
    }

    #[test]
    fn what_is_fixed_is_not_the_users_to_change() {
        // Bypasses `check`, which rejects these options.
        let config = config("kafka://a?acks=0&enable.idempotence=false&enable.auto.commit=true&auto.offset.reset=latest");
        assert_eq!(told(&producer(&config), &["acks", "enable.idempotence"]), [Some("all"), Some("true")]);
        let names = ["enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"];
        assert_eq!(
            told(&member(&config, &GroupTopic::new("g", "orders"), 1), &names),
            [Some("false"), Some("false"), Some("error")]
        );
    }

    #[test]
    fn the_members_of_a_process_share_what_may_be_fetched() {
        for (url, siblings, expected) in [
            ("kafka://a", 1, "16384"),
            ("kafka://a", 4, "4096"),
            ("kafka://a", 100, "2048"),
            ("kafka://a?queued.max.messages.kbytes=9", 4, "9"),
        ] {
            let client = member(&config(url), &GroupTopic::new("g", "orders"), siblings);
            assert_eq!(client.get(FETCHED_AT_MOST), Some(expected), "{url} {siblings}");
        }
    }
}
