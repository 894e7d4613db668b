//! A broker of one test.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
    sync::Arc,
};

use saga_kafka::{Kafka, KafkaConfig};
use tempfile::TempDir;

use crate::reader;

pub(crate) struct Broker {
    data: TempDir,
    address: String,
}

impl Broker {
    pub(crate) fn start() -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let mut broker = Self { data, address: String::new() };
        broker.run(&["start", "--port", "0"]);
        broker.address = broker.run(&["address"]);
        broker
    }

    pub(crate) fn config(&self) -> KafkaConfig {
        KafkaConfig::new(&self.address)
    }

    /// Connected, with the topic of the tests there.
    pub(crate) async fn kafka(&self, config: KafkaConfig) -> Arc<Kafka> {
        let kafka = Kafka::connect(config).await.expect("the broker answers");
        reader::topic(&kafka, reader::TOPIC, 3).await;
        kafka
    }

    /// Sends the broker's process a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.run(&["pid"]);
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("`kill` is there");
        assert!(sent.success(), "{signal} is sent to {pid}");
    }

    pub(crate) async fn crash(&mut self) {
        self.run_aside(&["stop", "--now"]).await;
    }

    pub(crate) async fn start_again(&mut self) {
        self.run_aside(&["start"]).await;
    }

    async fn run_aside(&self, arguments: &'static [&'static str]) {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("it ends").expect("it can be run");
        assert!(output.status.success(), "scripts/kafka {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../scripts/kafka");
        let mut command = Command::new(script);
        command.args(arguments).arg("--data").arg(self.data.path()).stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("scripts/kafka can be run");
        assert!(output.status.success(), "scripts/kafka {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // One that is frozen does not stop by itself.
        if let Ok(output) = self.command(&["pid"]).output() {
            let pid = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            let _ = Command::new("kill").args(["-CONT", &pid]).stderr(Stdio::null()).status();
        }
        let _ = self.command(&["stop", "--now"]).output();
    }
}
