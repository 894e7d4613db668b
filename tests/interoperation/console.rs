//! Kafka's own command line tools, run as Java programs from the jars that `scripts/kafka` downloads.

use std::{collections::BTreeMap, process::Stdio, sync::Arc};

use sagas::{
    kafka::{Kafka, KafkaConfig},
    port::transport::{TopicSpec, Transport},
};
use sagas_tests::eventually;
use tokio::{io::AsyncWriteExt, process::Command};

/// A record as the console consumer prints it.
#[derive(Debug)]
pub struct Printed {
    pub partition: i32,
    pub headers: BTreeMap<String, String>,
    pub key: String,
    pub value: String,
}

/// Returns the brokers for the tests.
pub fn brokers() -> String {
    std::env::var("SAGAS_TEST_KAFKA").unwrap_or_else(|_| "127.0.0.1:9092".to_owned())
}

/// Returns a name that no other run uses.
pub fn unique(name: &str) -> String {
    #[expect(clippy::disallowed_methods, reason = "the runs share a broker, so each needs other names")]
    let run = uuid::Uuid::new_v4();
    format!("{name}-{}", run.simple())
}

/// Connects the transport under test, with these topics, new and empty, with three partitions each.
pub async fn fresh(topics: &[&str]) -> Arc<Kafka> {
    let config: KafkaConfig = format!("kafka://{}", brokers()).parse().unwrap();
    let kafka = Kafka::connect(config).await.unwrap_or_else(|error| panic!("{error}; scripts/kafka start"));
    run("TopicCommand", &["--delete", "--if-exists", "--topic", &topics.join("|")], "").await;
    eventually("the topics to be gone", async || {
        let left = run("TopicCommand", &["--list"], "").await;
        topics.iter().all(|topic| !left.lines().any(|line| line == *topic)).then_some(())
    })
    .await;
    let specs: Vec<_> = topics.iter().map(|topic| TopicSpec { name: (*topic).to_owned(), partitions: 3 }).collect();
    eventually("the topics to be made anew", async || kafka.ensure_topics(&specs).await.ok()).await;
    kafka
}

/// Sends `lines`, in the format of the console producer.
pub async fn produce(topic: &str, properties: &[&str], lines: &str) {
    let mut arguments = vec!["--topic", topic];
    arguments.extend(properties.iter().flat_map(|property| ["--property", property]));
    run("ConsoleProducer", &arguments, lines).await;
}

/// Returns the first `count` records of `topic`.
pub async fn consume(topic: &str, count: usize) -> Vec<Printed> {
    let printed = print(topic, count).await;
    printed.lines().map(|line| read(line).unwrap_or_else(|| panic!("{line:?}"))).collect()
}

/// Returns the first `count` records of `topic` as the console consumer prints them. Headers can be binary.
pub async fn print(topic: &str, count: usize) -> String {
    let count = count.to_string();
    let mut arguments = vec!["--topic", topic, "--from-beginning", "--max-messages", &count, "--timeout-ms", "20000"];
    let properties =
        ["print.partition=true", "print.headers=true", "print.key=true", "key.separator=\t", "headers.separator=\u{1f}"];
    arguments.extend(properties.iter().flat_map(|property| ["--property", property]));
    run("consumer.ConsoleConsumer", &arguments, "").await
}

/// Parses a line `Partition:0 <tab> name:value,.. <tab> key <tab> value`.
fn read(line: &str) -> Option<Printed> {
    let mut parts = line.splitn(4, '\t');
    let partition = parts.next()?.strip_prefix("Partition:")?.parse().ok()?;
    let headers = parts.next()?;
    let headers = match headers {
        "NO_HEADERS" => BTreeMap::new(),
        headers => {
            let pairs = headers.split('\u{1f}').map(|header| header.split_once(':'));
            pairs.map(|pair| pair.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect::<Option<_>>()?
        }
    };
    Some(Printed { partition, headers, key: parts.next()?.to_owned(), value: parts.next()?.to_owned() })
}

/// Runs the tool `class` with `input`, and returns its output.
async fn run(class: &str, arguments: &[&str], input: &str) -> String {
    let jars = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka")).arg("jars").output().await.unwrap();
    assert!(jars.status.success(), "scripts/kafka jars: {}", String::from_utf8_lossy(&jars.stderr));
    let jars = String::from_utf8(jars.stdout).unwrap();
    let mut java = Command::new("java");
    java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
    java.args(["-cp", &format!("{}/*", jars.trim()), &format!("org.apache.kafka.tools.{class}")]);
    java.args(["--bootstrap-server", &brokers()]).args(arguments);
    java.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut tool = java.spawn().unwrap();
    tool.stdin.take().unwrap().write_all(input.as_bytes()).await.unwrap();
    let output = tool.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{class} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
