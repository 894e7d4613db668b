//! Encryption and credentials, with a broker of Apache Kafka that asks for them.
#![cfg(feature = "tls")]
#![allow(missing_docs, clippy::unwrap_used)]

use std::{
    fs,
    net::{TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use saga_core::{
    message::Record,
    time::Clock,
    transport::{TopicSpec, Transport},
};
use saga_kafka::{Kafka, KafkaConfig};
use tokio::time::{Instant, sleep};

const USER: &str = "shop";
const PASSWORD: &str = "hunter2/@?";

/// A broker that is stopped when the test ends.
struct Broker {
    process: Child,
    ssl: u16,
    sasl_ssl: u16,
    sasl_plaintext: u16,
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

impl Broker {
    /// Starts one in `folder`, whose certificate is then in `ca.pem`.
    async fn start(folder: &Path) -> Self {
        let jars = run(Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/kafka")).arg("jars"));
        let jars = format!("{}/*", jars.trim());
        let store = folder.join("broker.p12");
        let keytool = |arguments: &[&str]| {
            let store = ["-keystore", store.to_str().unwrap(), "-storepass", "changeit", "-alias", "broker"];
            run(Command::new("keytool").args(arguments).args(store))
        };
        keytool(&["-genkeypair", "-keyalg", "EC", "-storetype", "PKCS12", "-dname", "CN=broker", "-ext", "san=ip:127.0.0.1"]);
        fs::write(folder.join("ca.pem"), keytool(&["-exportcert", "-rfc"])).unwrap();

        let [ssl, sasl_ssl, sasl_plaintext, controller, plain] = std::array::from_fn(|_| free_port());
        let login = "org.apache.kafka.common.security";
        let settings = format!(
            "process.roles=broker,controller\nnode.id=1\nlog.dirs={folder}/log\n\
             listeners=PLAINTEXT://127.0.0.1:{plain},SSL://127.0.0.1:{ssl},SASL_SSL://127.0.0.1:{sasl_ssl},\
             SASL_PLAINTEXT://127.0.0.1:{sasl_plaintext},CONTROLLER://127.0.0.1:{controller}\n\
             listener.security.protocol.map=PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_SSL:SASL_SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,\
             CONTROLLER:PLAINTEXT\n\
             controller.listener.names=CONTROLLER\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
             ssl.keystore.location={store}\nssl.keystore.type=PKCS12\nssl.keystore.password=changeit\nssl.key.password=changeit\n\
             sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512\n\
             offsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
             transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n\
             {sasl}",
            folder = folder.display(),
            store = store.display(),
            sasl = ["sasl_ssl", "sasl_plaintext"]
                .map(|listener| format!(
                    "listener.name.{listener}.plain.sasl.jaas.config={login}.plain.PlainLoginModule required user_{USER}=\"{PASSWORD}\";\n\
                     listener.name.{listener}.scram-sha-256.sasl.jaas.config={login}.scram.ScramLoginModule required;\n\
                     listener.name.{listener}.scram-sha-512.sasl.jaas.config={login}.scram.ScramLoginModule required;\n"
                ))
                .concat(),
        );
        let properties = folder.join("server.properties");
        fs::write(&properties, settings).unwrap();

        let java = |class: &str| {
            let mut java = Command::new("java");
            java.args(["-Xmx400m", "-XX:+UseSerialGC", "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", &jars, class]);
            java
        };
        let scram = |mechanism| format!("{mechanism}=[name={USER},password={PASSWORD}]");
        let id = run(java("kafka.tools.StorageTool").arg("random-uuid"));
        let id = id.lines().last().unwrap().trim().to_owned();
        run(java("kafka.tools.StorageTool").args(["format", "-t", &id, "-c"]).arg(&properties).args([
            "--add-scram",
            &scram("SCRAM-SHA-256"),
            "--add-scram",
            &scram("SCRAM-SHA-512"),
        ]));
        let log = fs::File::create(folder.join("kafka.log")).unwrap();
        let mut kafka = java("kafka.Kafka");
        let process = kafka.arg(&properties).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut broker = Self { process, ssl, sasl_ssl, sasl_plaintext };
        let deadline = Instant::now() + Duration::from_secs(90);
        while TcpStream::connect(("127.0.0.1", sasl_plaintext)).is_err() {
            let ended = broker.process.try_wait().unwrap();
            let log = || fs::read_to_string(folder.join("kafka.log")).unwrap_or_default();
            assert!(ended.is_none() && Instant::now() < deadline, "Kafka did not start: {}", log());
            sleep(Duration::from_millis(100)).await;
        }
        broker
    }
}

/// Stores a record and says what went wrong.
async fn publish(config: KafkaConfig) -> Result<(), String> {
    let kafka = Kafka::connect(config).await.map_err(|error| error.to_string())?;
    let made = kafka.ensure_topics(&[TopicSpec { name: "orders".to_owned(), partitions: 1 }]).await;
    let record = Record {
        topic: "orders".to_owned(),
        key: Some("k".into()),
        value: Some("v".into()),
        headers: vec![],
        timestamp: Clock::system().now().into(),
    };
    let stored = kafka.publish(vec![record]).await.remove(0);
    kafka.close().await;
    made.and(stored.map(drop)).map_err(|error| error.to_string())
}

fn with_user(port: u16, protocol: &str, mechanism: &str, password: &str) -> KafkaConfig {
    KafkaConfig::new(format!("127.0.0.1:{port}"))
        .client("security.protocol", protocol)
        .client("sasl.mechanism", mechanism)
        .client("sasl.username", USER)
        .client("sasl.password", password)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn who_is_trusted_and_who_is_let_in() {
    let folder = tempfile::tempdir().unwrap();
    let broker = Broker::start(folder.path()).await;
    let ca = folder.path().join("ca.pem").display().to_string();

    let tls = KafkaConfig::new(format!("127.0.0.1:{}", broker.ssl)).client("security.protocol", "ssl");
    assert_eq!(publish(tls.clone().client("ssl.ca.location", &ca)).await, Ok(()));
    let error = publish(tls).await.expect_err("a certificate that nobody vouches for");
    assert!(error.contains("certificate verify failed") && error.contains("see `ssl.ca.location`"), "{error}");

    for mechanism in ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] {
        let encrypted = with_user(broker.sasl_ssl, "sasl_ssl", mechanism, PASSWORD).client("ssl.ca.location", &ca);
        assert_eq!(publish(encrypted).await, Ok(()), "{mechanism}");
        let wrong = with_user(broker.sasl_plaintext, "sasl_plaintext", mechanism, "a guess");
        let error = publish(wrong).await.expect_err(mechanism);
        assert!(error.contains("the cluster refuses the credentials") && !error.contains("a guess"), "{mechanism}: {error}");
    }

    let url = format!(
        "kafka://{USER}:hunter2%2F%40%3F@127.0.0.1:{}?security.protocol=sasl_ssl&sasl.mechanism=SCRAM-SHA-512&ssl.ca.location={ca}",
        broker.sasl_ssl
    );
    assert_eq!(publish(url.parse().unwrap()).await, Ok(()));
}
