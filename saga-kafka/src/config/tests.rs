use std::{collections::BTreeMap, time::Duration};

use super::*;

fn url(text: &str) -> Result<KafkaConfig, String> {
    text.parse().map_err(|error: KafkaConfigError| error.to_string())
}

/// All problems, as text.
fn wrong(config: &KafkaConfig) -> Vec<String> {
    let problems = config.check().err().map(|error| error.problems().to_vec()).unwrap_or_default();
    problems.iter().map(ToString::to_string).collect()
}

#[test]
fn a_url_says_what_code_says() {
    let seconds = Duration::from_secs;
    for (text, expected) in [
        ("kafka://127.0.0.1:9092", KafkaConfig::new("127.0.0.1:9092")),
        ("KAFKA://a:1,b:2/", KafkaConfig::new("a:1, b:2")),
        ("kafka://[::1]:9092,[2001:db8::1]", KafkaConfig::new("[::1]:9092,[2001:db8::1]")),
        ("kafka://kafka?plaintext=allow", KafkaConfig::new("kafka").allow_plaintext()),
        ("kafka://kafka?plaintext=deny&", KafkaConfig::new("kafka")),
        (
            "kafka://kafka?client.id=shop%20one&linger.ms=1",
            KafkaConfig::new("kafka").client("client.id", "shop one").client("linger.ms", "1"),
        ),
        (
            "kafka://kafka?topic.replication=3&topic.retention=7d&topic.create=false",
            KafkaConfig::new("kafka").replication(3).retention(seconds(604_800)).create_topics(false),
        ),
        (
            "kafka://kafka?topic.option.min.insync.replicas=2&topic.metadata.refresh.interval.ms=60000",
            KafkaConfig::new("kafka")
                .topic_option("min.insync.replicas", "2")
                .client("topic.metadata.refresh.interval.ms", "60000"),
        ),
        (
            "kafka://kafka?session.timeout.ms=6000&group.instance.id=a-1",
            KafkaConfig::new("kafka").session_timeout(seconds(6)).instance_id("a-1"),
        ),
        ("kafka://kafka?group.protocol=consumer", KafkaConfig::new("kafka").group_protocol(GroupProtocol::Consumer)),
        (
            "kafka://me%40shop:a%2Fb%3Fc@d+e@kafka:9093?security.protocol=sasl_ssl",
            KafkaConfig::new("kafka:9093")
                .client("sasl.username", "me@shop")
                .client("sasl.password", "a/b?c@d+e")
                .client("security.protocol", "sasl_ssl"),
        ),
    ] {
        assert_eq!(url(text), Ok(expected), "{text}");
    }
    let timeouts = url("kafka://kafka?max.poll.interval.ms=30000&drain.timeout.ms=2000").expect("two timeouts").group;
    assert_eq!((timeouts.max_poll_interval, timeouts.drain_timeout), (seconds(30), seconds(2)));
}

#[test]
fn what_is_no_url_says_why_and_repeats_nothing() {
    for (text, message) in [
        ("", "the Kafka URL does not begin with kafka://"),
        ("hunter2:9092", "the Kafka URL does not begin with kafka://; write kafka://host:port,host:port?option=value"),
        ("kafkas://hunter2", "the Kafka URL does not begin with kafka://"),
        ("kafka:/é", "the Kafka URL does not begin with kafka://"),
        ("kafka://", "no broker is named"),
        ("kafka://?linger.ms=1", "no broker is named"),
        ("kafka://me:hunter2@", "no broker is named"),
        ("kafka://kafka/hunter2", "the Kafka URL has a path"),
        ("kafka://me:hunter/2@kafka", "the Kafka URL has a path"),
        ("kafka://me:hunter2?x@kafka", "the Kafka URL has something other than hosts and ports before the `?`"),
        ("kafka://kafka#hunter2", "the Kafka URL has a `#`"),
        ("kafka://kafka?sasl.password", "`sasl.password` has no value"),
        ("kafka://kafka?=hunter2", "the Kafka URL has an option without a name"),
        ("kafka://kafka?sasl.password=hunter2&sasl.password=hunter2", "`sasl.password` is given twice"),
        ("kafka://me:hunter2@kafka?sasl.password=hunter2", "`sasl.password` is given twice"),
        ("kafka://kafka?sasl.password=%ff", "`sasl.password` is not UTF-8"),
        ("kafka://kafka?%ff=hunter2", "the Kafka URL has an option that is not UTF-8"),
        ("kafka://kafka?plaintext=yes", "`plaintext` must be `allow` or `deny`"),
        ("kafka://kafka?topic.replication=many", "`topic.replication` must be a number of brokers, or -1"),
        ("kafka://kafka?topic.create=no", "`topic.create` must be `true` or `false`"),
        ("kafka://kafka?topic.retention=7", "`topic.retention` must be a whole number and its unit, as 250ms, 8s"),
        ("kafka://kafka?session.timeout.ms=8s", "`session.timeout.ms` must be a whole number of milliseconds"),
        ("kafka://kafka?group.protocol=new", "`group.protocol` must be `classic` or `consumer`"),
        ("kafka://kafka?plaintext=yes&drain.timeout.ms=-1", "`plaintext` must be `allow` or `deny`; `drain.timeout.ms` must be"),
    ] {
        let error = url(text).expect_err(text);
        assert!(error.starts_with(message), "{text}: {error}");
        assert!(!error.contains("hunter"), "{text}: {error}");
    }
}

#[test]
fn a_file_says_what_code_says() {
    let text = r#"{
        "bootstrap": "a:1, b:2", "allow_plaintext": true,
        "client": { "client.id": "shop", "socket_timeout_ms": "5000" },
        "topic": { "replication": 3, "retention": "12h", "options": { "cleanup_policy": "compact" } },
        "group": { "protocol": "classic", "session_timeout": "6s", "max_poll_interval": "2m", "instance_id": "a", "drain_timeout": "900ms" }
    }"#;
    let read: KafkaConfig = serde_json::from_str(text).expect("a table");
    let mut expected = KafkaConfig::new("a:1,b:2")
        .allow_plaintext()
        .client("client.id", "shop")
        .client("socket.timeout.ms", "5000")
        .replication(3)
        .retention(Duration::from_secs(43_200))
        .topic_option("cleanup.policy", "compact")
        .session_timeout(Duration::from_secs(6))
        .instance_id("a");
    expected.group.max_poll_interval = Duration::from_secs(120);
    expected.group.drain_timeout = Duration::from_millis(900);
    assert_eq!(read, expected);
    assert_eq!(serde_json::from_value::<KafkaConfig>(serde_json::to_value(&read).expect("written")).expect("read again"), read);

    let minimal: KafkaConfig = serde_json::from_str(r#"{ "bootstrap": ["a:1"] }"#).expect("a list");
    assert_eq!(minimal, KafkaConfig::new("a:1"));
    let from_url: KafkaConfig = serde_json::from_str(r#""kafka://a:1?topic.replication=2""#).expect("a URL");
    assert_eq!(from_url, KafkaConfig::new("a:1").replication(2));
}

#[test]
fn what_a_file_cannot_say_is_an_error() {
    for (text, message) in [
        ("{}", "missing field `bootstrap`"),
        (r#"{ "bootstrap": 9092 }"#, "expected a list of addresses, or a string with commas"),
        (r#"{ "bootstrap": "a", "brokers": "b" }"#, "unknown field `brokers`, expected one of `bootstrap`, `allow_plaintext`"),
        (r#"{ "bootstrap": "a", "group": { "timeout": "1s" } }"#, "unknown field `timeout`"),
        (r#"{ "bootstrap": "a", "group": { "drain_timeout": 5 } }"#, "expected a string with a whole number and its unit"),
        (r#"{ "bootstrap": "a", "group": { "drain_timeout": "5" } }"#, "a duration is a whole number and its unit, as 250ms"),
        (r#"{ "bootstrap": "a", "group": { "protocol": "new" } }"#, "unknown variant `new`, expected `classic` or `consumer`"),
        (r#"{ "bootstrap": "a", "client": { "client.id": 7 } }"#, "expected a string"),
        (r#"{ "bootstrap": "a", "client": { "client.id": "a", "client_id": "b" } }"#, "`client.id` is given twice"),
        (r#""kafka://""#, "no broker is named"),
        ("7", "expected a Kafka URL as a string, or a table with `bootstrap`"),
    ] {
        let error = serde_json::from_str::<KafkaConfig>(text).expect_err(text).to_string();
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn what_is_wrong_is_said_at_once_and_with_the_fix() {
    for (text, expected) in [
        ("kafka://127.0.0.1", vec![]),
        ("kafka://127.0.0.1?compression.type=lz4&queue.buffering.max.ms=1&fetch.wait.max.ms=100", vec![]),
        (
            "kafka://127.0.0.1:99999,b c",
            vec!["`127.0.0.1:99999` has no port from 1 to 65535 after `:`; write", "`b c` is no host name"],
        ),
        (
            "kafka://127.0.0.1?enable.auto.commit=true",
            vec!["the option `enable.auto.commit` cannot be set: offsets are committed after"],
        ),
        (
            "kafka://127.0.0.1?acks=1&auto.offset.reset=latest",
            vec!["the option `acks` cannot", "the option `auto.offset.reset` cannot"],
        ),
        ("kafka://127.0.0.1?group.id=shop", vec!["the option `group.id` cannot be set: the group of a service is its name"]),
        (
            "kafka://127.0.0.1?sesion.timeout.ms=1",
            vec!["the option `sesion.timeout.ms` is unknown; did you mean `session.timeout.ms`?"],
        ),
        ("kafka://127.0.0.1?plain_text=allow", vec!["the option `plain_text` is unknown; did you mean `plaintext`?"]),
        (
            "kafka://127.0.0.1?key.serializer=x",
            vec!["the option `key.serializer` is unknown; librdkafka's CONFIGURATION.md lists"],
        ),
        ("kafka://127.0.0.1?socket.timeout.ms=1", vec!["`socket.timeout.ms` has a value that the client does not take: Conf"]),
        (
            "kafka://127.0.0.1?linger.ms=1&queue.buffering.max.ms=2",
            vec!["`queue.buffering.max.ms` is another name of `linger.ms`; leave"],
        ),
        ("kafka://127.0.0.1?client.id=a%00b", vec!["`client.id` has a zero byte in its name or value"]),
        ("kafka://127.0.0.1?topic.replication=0", vec!["`topic.replication` must be a number of brokers, or -1 for"]),
        ("kafka://127.0.0.1?topic.retention=0s", vec!["`topic.retention` must be at least 1ms"]),
        ("kafka://127.0.0.1?topic.retention=1d&topic.option.retention.ms=5", vec!["`topic.retention` is given twice, also as"]),
        ("kafka://127.0.0.1?session.timeout.ms=10", vec!["`group.session_timeout` must be from 1s to 1h"]),
        ("kafka://127.0.0.1?session.timeout.ms=90000", vec!["`group.max_poll_interval` must be at least the session timeout"]),
        (
            "kafka://127.0.0.1?session.timeout.ms=6000&group.protocol=consumer",
            vec!["`group.session_timeout` is the cluster's with"],
        ),
        (
            "kafka://127.0.0.1?drain.timeout.ms=60000",
            vec!["`group.drain_timeout` must be shorter than `group.max_poll_interval`, which is 1m"],
        ),
        ("kafka://127.0.0.1?statistics.interval.ms=0", vec!["`statistics.interval.ms` must be from 1 to 10000"]),
        ("kafka://127.0.0.1?statistics.interval.ms=60000", vec!["`statistics.interval.ms` must be from 1 to 10000"]),
        ("kafka://127.0.0.1?group.instance.id=", vec!["`group.instance_id` must not be empty"]),
        (
            "kafka://kafka?acks=1&sasl.password=hunter2&sasl.pasword=hunter2",
            vec![
                "the option `acks` cannot be set",
                "the option `sasl.pasword` is unknown; did you mean `sasl.password`?",
                "`sasl.password` would not be used",
                "records would travel unencrypted to kafka:9092",
            ],
        ),
    ] {
        let problems = wrong(&url(text).expect(text));
        assert_eq!(problems.len(), expected.len(), "{text}: {problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{text}: {problem}");
            assert!(!problem.contains("hunter2"), "{problem}");
        }
    }
    assert_eq!(
        wrong(&KafkaConfig { bootstrap: vec![], ..KafkaConfig::new("") }),
        ["no broker is named; name at least one, as kafka://127.0.0.1:9092"]
    );
    let in_code = KafkaConfig::new("me:hunter2@kafka").allow_plaintext().client("session.timeout.ms", "1");
    let expected = [
        "`…@kafka` has no port from 1 to 65535 after `:`; write host:port",
        "the option `session.timeout.ms` cannot be set: it is the setting `group.session_timeout`",
    ];
    assert_eq!(wrong(&in_code), expected);
}

#[test]
fn the_client_is_told_what_the_user_says_and_no_more() {
    let config =
        url("kafka://a,b:1?compression.codec=lz4&queue.buffering.max.ms=1&topic.replication=3").expect("a URL").client_config();
    let told: BTreeMap<_, _> = config.config_map();
    let expected = [("bootstrap.servers", "a:9092,b:1"), ("compression.type", "lz4"), ("linger.ms", "1")];
    assert_eq!(told, BTreeMap::from(expected));
}

#[test]
fn the_systems_certificates_are_looked_for_unless_others_are_named() {
    for (text, expected) in [
        ("kafka://a", None),
        ("kafka://a?security.protocol=sasl_plaintext", None),
        ("kafka://a?security.protocol=SSL", Some("probe")),
        ("kafka://a?security.protocol=sasl_ssl", Some("probe")),
        ("kafka://a?security.protocol=ssl&ssl.ca.location=/etc/shop/ca.pem", Some("/etc/shop/ca.pem")),
        ("kafka://a?security.protocol=ssl&ssl.ca.pem=x", None),
    ] {
        assert_eq!(url(text).expect(text).client_config().get("ssl.ca.location"), expected, "{text}");
    }
}

#[test]
fn secrets_are_not_shown() {
    let config = KafkaConfig::new("a")
        .client("sasl.password", "hunter2")
        .client("ssl.key.pem", "hunter2")
        .client("sasl.pasword", "hunter2");
    let shown = format!("{config:?}");
    assert!(!shown.contains("hunter2"), "{shown}");
    assert!(format!("{:?}", config.client("client.id", "shop")).contains("shop"));

    let error = rdkafka::error::KafkaError::ClientCreation("no key in hunter2".to_owned());
    let config = KafkaConfig::new("a").client("ssl.key.pem", "hunter2");
    assert_eq!(config.explain(&error).to_string(), "the Kafka client cannot be made: no key in …");
}
