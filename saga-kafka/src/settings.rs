//! How the clients are set up: defaults that the user may change, and what is fixed.
//!
//! librdkafka's defaults are made for throughput of one stream: a gigabyte of buffers, and seconds of waiting in places. Ours
//! bound memory and let nothing wait longer than a person would.

use std::time::Duration;

use rdkafka::ClientConfig;

use crate::config::{GroupProtocol, KafkaConfig, SESSION_TIMEOUT, names};

/// How often a member says that it is there. It learns of a rebalance by the answer, so others wait this long for a partition.
const HEARTBEAT: Duration = Duration::from_millis(500);

/// The name of every client, unless another is configured.
pub(crate) const CLIENT_ID: &str = "sagas";

/// What every client has.
const COMMON: &[(&str, &str)] = &[
    ("client.id", CLIENT_ID),
    ("log.connection.close", "false"),
    // A broker that is back is found again within two seconds.
    ("reconnect.backoff.ms", "50"),
    ("reconnect.backoff.max.ms", "2000"),
    ("retry.backoff.ms", "50"),
    // One that does not answer is given up after ten.
    ("socket.timeout.ms", "10000"),
    ("socket.nagle.disable", "true"),
    ("statistics.interval.ms", "5000"),
    ("topic.metadata.refresh.fast.interval.ms", "50"),
    // Partitions that were added are found within this time, by readers and by producers, which place keys by their number.
    ("topic.metadata.refresh.interval.ms", "10000"),
];

const PRODUCER: &[(&str, &str)] = &[
    ("linger.ms", "0"),
    ("batch.size", "1000000"),
    ("queue.buffering.max.messages", "100000"),
    ("queue.buffering.max.kbytes", "65536"),
    // Whether a record is too large is for the topic to say.
    ("message.max.bytes", "50000000"),
    ("request.timeout.ms", "8000"),
];

const PRODUCER_FIXED: &[(&str, &str)] = &[
    ("acks", "all"),
    ("enable.idempotence", "true"),
    ("partitioner", "murmur2_random"),
    // The call that waits gives up earlier, and all of a partition at once; this is the net below it.
    ("message.timeout.ms", "15000"),
];

const READER: &[(&str, &str)] = &[
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "100"),
    ("fetch.queue.backoff.ms", "20"),
    ("fetch.max.bytes", "16777216"),
    // Whatever of a partition is fetched when it is paused is fetched again later, so not too much at a time. A record that is
    // larger comes alone.
    ("max.partition.fetch.bytes", "262144"),
    ("queued.min.messages", "4000"),
    ("queued.max.messages.kbytes", "16384"),
];

/// How often a member looks for topics that are there again, and for partitions that were added: else it is five minutes.
const REFRESH: &str = "5000";

const READER_FIXED: &[(&str, &str)] = &[
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("enable.partition.eof", "false"),
    ("auto.offset.reset", "error"),
    ("isolation.level", "read_committed"),
    ("allow.auto.create.topics", "false"),
];

/// The producer.
pub(crate) fn producer(config: &KafkaConfig) -> ClientConfig {
    with(config, names::CONSUMER, PRODUCER, PRODUCER_FIXED)
}

/// A member of `group`.
pub(crate) fn member(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut client = reader(config);
    client.set("group.id", group).set("max.poll.interval.ms", millis(config.group.max_poll_interval));
    if client.get("topic.metadata.refresh.interval.ms").is_none() {
        client.set("topic.metadata.refresh.interval.ms", REFRESH);
    }
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
        // Each group of a process is a member of its own, and a name counts within its group.
        client.set("group.instance.id", id);
    }
    client
}

/// A client that only asks: for metadata and ends of partitions, and with a group for what it has committed.
pub(crate) fn observer(config: &KafkaConfig, group: Option<&str>) -> ClientConfig {
    let mut client = reader(config);
    client.set("statistics.interval.ms", "0");
    if let Some(group) = group {
        client.set("group.id", group);
    }
    client
}

/// A client that only asks, and is told where partitions end with what open transactions have written.
pub(crate) fn uncommitted(config: &KafkaConfig) -> ClientConfig {
    let mut client = observer(config, None);
    client.set("isolation.level", "read_uncommitted");
    client
}

/// A client that tries whether partitions of `group` can be fetched: it is told of their ends, and fetches no more than it has to.
pub(crate) fn probe(config: &KafkaConfig, group: &str) -> ClientConfig {
    let mut client = observer(config, Some(group));
    client.set("enable.partition.eof", "true").set("queued.min.messages", "1");
    client
}

/// The client that creates topics.
pub(crate) fn admin(config: &KafkaConfig) -> ClientConfig {
    let mut client = with(config, names::CONSUMER, &[], &[]);
    client.set("statistics.interval.ms", "0");
    client
}

fn reader(config: &KafkaConfig) -> ClientConfig {
    let mut client = with(config, names::PRODUCER, READER, READER_FIXED);
    // It bounds what is sent; of a consumer it would only raise what has to be fetched at once.
    client.remove("message.max.bytes");
    client
}

/// What the user says, without what is of `others`, with `defaults` where he says nothing, and what is fixed.
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
        assert_eq!(told(&member(&config, "billing"), &names), expected);
        assert_eq!(told(&observer(&config, None), &names), expected);
    }

    #[test]
    fn a_killed_process_is_given_up_in_time() {
        let names = ["group.protocol", "session.timeout.ms", "partition.assignment.strategy", "group.instance.id", "group.id"];
        for (url, expected) in [
            ("kafka://a", [None, Some("8000"), Some("cooperative-sticky"), None, Some("g")]),
            ("kafka://a?session.timeout.ms=30000", [None, Some("30000"), Some("cooperative-sticky"), None, Some("g")]),
            ("kafka://a?group.protocol=consumer&group.instance.id=1", [Some("consumer"), None, None, Some("1"), Some("g")]),
        ] {
            assert_eq!(told(&member(&config(url), "g"), &names), expected, "{url}");
        }
    }

    #[test]
    fn what_is_fixed_is_not_the_users_to_change() {
        // Set past `check`, which refuses it.
        let config = config("kafka://a?acks=0&enable.idempotence=false&enable.auto.commit=true&auto.offset.reset=latest");
        assert_eq!(told(&producer(&config), &["acks", "enable.idempotence"]), [Some("all"), Some("true")]);
        let names = ["enable.auto.commit", "enable.auto.offset.store", "auto.offset.reset"];
        assert_eq!(told(&member(&config, "g"), &names), [Some("false"), Some("false"), Some("error")]);
    }
}
