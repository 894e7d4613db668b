//! `scripts/kafka` and `scripts/postgres`, as developers use them.

use std::{fs, net::TcpListener};

use super::servers::{Server, folder, turn};

/// The exit code of a script whose server is not running.
const NOT_RUNNING: i32 = 3;

async fn starts_and_stops(script: &str, address: &str) {
    let (_turn, folder) = (turn().await, folder());
    let server = Server::new(script, folder.path());
    assert_eq!(server.try_to(&["status"]).await.0, Some(NOT_RUNNING));
    assert!(server.run(&["stop"]).await.contains("does not run"), "a stop of what does not run is fine");

    server.run(&["start", "--port", "0"]).await;
    let at = server.run(&[address]).await;
    let (pid, again) = (server.run(&["pid"]).await, server.run(&["start"]).await);
    assert!(again.contains("runs already") && again.contains(&pid), "a start of what runs is fine: {again}");
    assert!(server.run(&["status"]).await.contains(&pid));

    // Data and port are kept over a crash and a stop.
    for stop in [&["stop"][..], &["stop", "--now"]] {
        server.run(stop).await;
        assert_eq!(server.try_to(&["status"]).await.0, Some(NOT_RUNNING));
        server.run(&["start"]).await;
        assert_eq!(server.run(&[address]).await, at);
    }
    server.run(&["wipe"]).await;
    assert!(!server.data().exists());
}

async fn says_why_it_does_not_start(script: &str) {
    let (_turn, folder) = (turn().await, folder());
    let server = Server::new(script, folder.path());
    let holder = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = holder.local_addr().unwrap().port().to_string();
    let (code, said) = server.try_to(&["start", "--port", &port]).await;
    assert!(code == Some(1) && said.contains(&format!("port {port} is taken")), "{code:?} {said}");
    server.run(&["wipe"]).await;

    fs::create_dir(server.data()).unwrap();
    fs::write(server.data().join("thesis.txt"), "years of work").unwrap();
    for command in ["start", "wipe"] {
        let (code, said) = server.try_to(&[command]).await;
        assert!(code == Some(1) && said.contains("this script has made"), "{command}: {code:?} {said}");
    }
    assert!(server.data().join("thesis.txt").exists());
    fs::remove_dir_all(server.data()).unwrap();
}

#[tokio::test]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn kafka_starts_and_stops_as_often_as_it_is_told() {
    starts_and_stops("kafka", "address").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn postgres_starts_and_stops_as_often_as_it_is_told() {
    starts_and_stops("postgres", "url").await;
}

#[tokio::test]
#[ignore = "needs Apache Kafka: scripts/kafka start"]
async fn kafka_says_why_it_does_not_start() {
    says_why_it_does_not_start("kafka").await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn postgres_says_why_it_does_not_start() {
    says_why_it_does_not_start("postgres").await;
}
