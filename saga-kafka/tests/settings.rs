//! A program's Kafka settings come from its file and its environment, as all of its settings do.

#![allow(missing_docs)]

use std::{ffi::OsString, fs, path::PathBuf, time::Duration};

use saga_core::config::load_with;
use saga_kafka::config::{GroupProtocol, KafkaConfig};
use serde::{Deserialize, Serialize};

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    base_port: u16,
    kafka: KafkaConfig,
}

fn defaults() -> Config {
    Config { base_port: 8081, kafka: KafkaConfig::new("127.0.0.1:9092") }
}

fn file(text: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shop.toml");
    fs::write(&path, text).expect("a file");
    (folder, path)
}

fn load(text: &str, variables: &[(&str, &str)]) -> Result<KafkaConfig, String> {
    let (_folder, path) = file(text);
    let variables = variables.iter().map(|&(name, value)| (OsString::from(name), OsString::from(value)));
    let config = load_with(defaults(), Some(&path), "SHOP_", variables, ());
    config.map(|config| config.kafka).map_err(|error| error.to_string().replace(&path.display().to_string(), "PATH"))
}

#[test]
fn the_environment_comes_before_the_file() {
    let text = r#"
        [kafka]
        bootstrap = ["kafka-1:9092", "kafka-2:9092"]
        [kafka.client]
        "security.protocol" = "sasl_ssl"
        "sasl.mechanism" = "SCRAM-SHA-512"
        "sasl.username" = "shop"
        [kafka.topic]
        replication = 3
        retention = "7d"
        [kafka.group]
        session_timeout = "6s"
    "#;
    let variables = [
        ("SHOP_KAFKA__CLIENT__SASL_PASSWORD", "0123"),
        ("SHOP_KAFKA__TOPIC__RETENTION", "12h"),
        ("SHOP_KAFKA__TOPIC__OPTIONS__MIN_INSYNC_REPLICAS", "2"),
        ("SHOP_KAFKA__GROUP__INSTANCE_ID", "7"),
    ];
    let expected = KafkaConfig::new("kafka-1:9092,kafka-2:9092")
        .client("security.protocol", "sasl_ssl")
        .client("sasl.mechanism", "SCRAM-SHA-512")
        .client("sasl.username", "shop")
        .client("sasl.password", "0123")
        .replication(3)
        .retention(Duration::from_secs(12 * 3_600))
        .topic_option("min.insync.replicas", "2")
        .session_timeout(Duration::from_secs(6))
        .instance_id("7");
    assert_eq!(load(text, &variables), Ok(expected));
}

#[test]
fn a_url_replaces_all_of_it() {
    let text = "[kafka]\nbootstrap = 'kafka-1'\n[kafka.topic]\nreplication = 3";
    let url = [("SHOP_KAFKA", "kafka://kafka-9:9093?group.protocol=consumer")];
    let expected = KafkaConfig::new("kafka-9:9093").group_protocol(GroupProtocol::Consumer);
    assert_eq!(load(text, &url), Ok(expected));
    assert_eq!(load("kafka = 'kafka://kafka-2,kafka-3'", &[]), Ok(KafkaConfig::new("kafka-2,kafka-3")));
}

#[test]
fn what_does_not_fit_names_the_place_and_the_fix() {
    for (text, variables, message) in [
        (
            "[kafka]\nbrokers = 'a'",
            &[][..],
            "`kafka.brokers` in the configuration file PATH is not known; the known ones are bootstrap, allow_plaintext, client, topic, group",
        ),
        (
            "[kafka.group]\ndrain_timeout = 5",
            &[],
            "`kafka.group.drain_timeout` in the configuration file PATH must be a string with a whole number and its unit, as 250ms",
        ),
        (
            "[kafka.group]\nprotocol = 'new'",
            &[],
            "`kafka.group.protocol` in the configuration file PATH must be one of classic, consumer",
        ),
        (
            "",
            &[("SHOP_KAFKA__TOPIC__RETENTION", "7")],
            "`kafka.topic.retention` in the environment variable SHOP_KAFKA__TOPIC__RETENTION does not fit: a duration is a whole",
        ),
        (
            "",
            &[("SHOP_KAFKA__TOPIC__REPLICAS", "3")],
            "`kafka.topic.replicas` in the environment variable SHOP_KAFKA__TOPIC__REPLICAS is not known; the known ones are create, replication,",
        ),
        (
            "",
            &[("SHOP_KAFKA", "kafka://me:hunter2@kafka?plaintext=yes")],
            "`kafka` in the environment variable SHOP_KAFKA does not fit: `plaintext` must be `allow` or `deny`",
        ),
    ] {
        let error = load(text, variables).expect_err(message);
        assert!(error.starts_with(message), "{error}\n{message}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}
