//! The records are published by Kafka's own Java producer: with its command line tool, and with the program in the guide.

use std::{env, process::Stdio, sync::Arc, time::Duration};

use java_records::{Book, ledger};
use sagas::{kafka::Kafka, port::transport::{TopicSpec, Transport}, prelude::*, TopicNames};
use tokio::{io::AsyncWriteExt, process::Command, sync::mpsc, time::timeout};

const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the output of scripts/kafka.
async fn script(command: &str) -> String {
    let output = Command::new("../../../scripts/kafka").arg(command).output().await.unwrap();
    assert!(output.status.success(), "scripts/kafka {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Returns a command for Java with Kafka's libraries.
async fn java() -> Command {
    let (java, jars) = (script("jdk").await, script("jars").await);
    let mut java = Command::new(java);
    java.args(["-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error"]);
    java.args(["-cp", &format!("{jars}/*")]);
    java
}

/// Publishes lines `headers <tab> key <tab> value`.
async fn produce(brokers: &str, topic: &str, lines: &str) {
    let mut java = java().await;
    java.arg("org.apache.kafka.tools.ConsoleProducer");
    java.args(["--bootstrap-server", brokers, "--topic", topic]);
    for property in ["parse.headers=true", "parse.key=true", "key.separator=\t", "null.marker=NULL"] {
        java.args(["--property", property]);
    }
    let mut tool = java.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    tool.stdin.take().unwrap().write_all(lines.as_bytes()).await.unwrap();
    let output = tool.wait_with_output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn what_a_java_producer_publishes_is_handled() {
    let brokers = env::var("SAGAS_TEST_KAFKA").expect("SAGAS_TEST_KAFKA");
    let kafka = Kafka::connect(format!("kafka://{brokers}").parse().unwrap()).await.unwrap();
    let prefix = format!("java-{}.", std::process::id());
    let (payments, transfers) = (format!("{prefix}payments"), format!("{prefix}transfers"));
    let topics = [&payments, &transfers].map(|name| TopicSpec { name: name.clone(), partitions: 1 });
    kafka.ensure_topics(&topics).await.unwrap();
    produce(
        &brokers,
        &payments,
        "ce_type:com.bank.PaymentReceived,ce_id:1,ce_source:billing\tanna\t{\"account\":\"anna\",\"amountCents\":1250}\n\
         ce_type:com.bank.PaymentReceived,ce_id:1,ce_source:billing\tanna\t{\"account\":\"anna\",\"amountCents\":1250}\n\
         ce_type:com.bank.AccountOpened,ce_id:2,ce_source:billing\tben\t{\"account\":\"ben\"}\n\
         ce_type:com.bank.PaymentReceived,ce_id:3,ce_source:billing\tben\t{\"account\":\"ben\",\"amountCents\":7,\"reference\":\"rent\"}\n",
    )
    .await;
    produce(
        &brokers,
        &transfers,
        "kind:audit,by:ops\tanna\tnot json\n\
         kind:transfer,by:ops\tanna\t{\"account\":\"anna\",\"cents\":-50}\n\
         kind:transfer,by:ops\tanna\tNULL\n\
         kind:transfer,by:ops\tcleo\t{\"account\":\"cleo\",\"cents\":9}\n",
    )
    .await;

    let (entries, mut book) = mpsc::unbounded_channel();
    let ledger = ledger(Database::memory(), Arc::new(Book(entries)));
    let handle = App::new("bank").topics(TopicNames::prefixed(&prefix)).service(ledger).start(kafka).await.unwrap();
    let mut written = Vec::new();
    while written.len() < 4 {
        written.push(timeout(PATIENCE, book.recv()).await.unwrap_or_else(|_| panic!("{written:?}")).unwrap());
    }
    written.sort();
    // The first payment was published twice with the same id, and is handled once.
    let entry = |account: &str, cents| (account.to_owned(), cents);
    assert_eq!(written, [entry("anna", -50), entry("anna", 1_250), entry("ben", 7), entry("cleo", 9)]);
    // A transfer without a value is invalid.
    let service = handle.service("ledger").unwrap();
    timeout(PATIENCE, async {
        while service.dead_letters(0, 1).await.unwrap().1 == 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .expect("a dead letter");
    assert!(book.try_recv().is_err(), "nothing is written twice");
    handle.stop().await;
}

/// Needs a JDK, because Java compiles the program when it runs it.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn the_program_of_the_guide_is_understood_and_may_send_again() {
    let brokers = env::var("SAGAS_TEST_KAFKA").expect("SAGAS_TEST_KAFKA");
    let kafka = Kafka::connect(format!("kafka://{brokers}").parse().unwrap()).await.unwrap();
    let prefix = format!("java-program-{}.", std::process::id());
    let topic = format!("{prefix}payments");
    kafka.ensure_topics(&[TopicSpec { name: topic.clone(), partitions: 1 }]).await.unwrap();
    for (id, cents) in [("p-1", "1250"), ("p-1", "1250"), ("p-2", "7")] {
        let output = java().await.args(["Producer.java", &brokers, &topic, id, "anna", cents]).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    let (entries, mut book) = mpsc::unbounded_channel();
    let ledger = ledger(Database::memory(), Arc::new(Book(entries)));
    let handle = App::new("bank").topics(TopicNames::prefixed(&prefix)).service(ledger).start(kafka).await.unwrap();
    // In order, because they have the same key; the payment that was sent twice is handled once.
    for cents in [1_250, 7] {
        let entry = timeout(PATIENCE, book.recv()).await.expect("an entry");
        assert_eq!(entry, Some(("anna".to_owned(), cents)));
    }
    timeout(PATIENCE, handle.quiet()).await.expect("nothing is left to do");
    assert!(book.try_recv().is_err(), "nothing is written twice");
    handle.stop().await;
}
