//! The content of a log that is opened again, and the errors of one that cannot be opened.

use std::{fs, path::Path, sync::Arc};

use sqlx::{Connection, SqliteConnection, sqlite::SqliteConnectOptions};

use super::{folder, open, reopen};
use crate::{
    testing::conformance::transport::bench::{Bench, numbers, sorted},
    transport::{
        TopicSpec, Transport, TransportError,
        embedded::{Embedded, EmbeddedOptions},
    },
};

/// Returns the problem in the error of opening the folder, and checks that the error names the folder.
async fn refusal(folder: &Path) -> String {
    match Embedded::open(folder, EmbeddedOptions::default()).await {
        Err(TransportError::Open { path, problem }) => {
            assert!(path.starts_with(&folder.display().to_string()), "{path}");
            problem
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_closed_log_is_all_there_again() {
    let folder = folder();
    let log = open(&folder).await;
    let mut bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 2).await;
    bench.publish_numbers(0..20).await;
    let mut reader = bench.reader("g").await;
    let read = reader.read(20).await;
    reader.commit(&read).await;
    bench.publish_numbers(20..25).await;
    log.close().await;

    bench.log = open(&folder).await;
    assert_eq!(bench.lag("g").await, 5);
    bench.publish_numbers(25..30).await;
    assert_eq!(sorted(&bench.reader("g").await.read(10).await), (20..30).collect::<Vec<_>>());
    assert_eq!(sorted(&bench.reader("h").await.read(30).await), (0..30).collect::<Vec<_>>());
}

async fn identity(log: &Embedded, topic: &str) -> String {
    log.identities(&[topic.to_owned()]).await.expect("it is known").remove(0).log.expect("an identity")
}

#[tokio::test]
async fn a_topic_keeps_its_identity_with_the_folder() {
    let (one, other) = (folder(), folder());
    let spec = [TopicSpec { name: "orders".into(), partitions: 2 }];
    let mut known = Vec::new();
    for folder in [&one, &one, &other] {
        let log = open(folder).await;
        log.ensure_topics(&spec).await.expect("the topic is made");
        known.push(identity(&log, "orders").await);
        log.close().await;
    }
    assert!(known[0] == known[1] && known[1] != known[2], "{known:?}");

    // In a file from before topics had identities, they get them when it is opened, and keep them.
    let file = one.path().join("log.db");
    change(&file, "DROP TABLE topics; PRAGMA user_version = 1").await;
    let mut known = Vec::new();
    for _ in 0..2 {
        let log = open(&one).await;
        known.push(identity(&log, "orders").await);
        let lag = log.lag("g", &["orders".to_owned()]).await.expect("the topic is there");
        assert_eq!(lag.len(), 2);
        log.close().await;
    }
    assert!(known[0] == known[1] && !known[0].is_empty(), "{known:?}");
}

#[tokio::test]
async fn a_dropped_log_is_all_there_again() {
    let folder = folder();
    let Bench { log, topic, .. } = {
        let bench = Bench::new(open(&folder).await, 2).await;
        bench.publish_numbers(0..20).await;
        bench
    };
    drop(log);
    let log = reopen(folder.path()).await;
    let lag = log.lag("g", &[topic]).await.expect("the topic is there");
    assert_eq!(lag.iter().map(|partition| partition.end).sum::<i64>(), 20);
}

#[tokio::test]
async fn a_second_log_on_the_folder_is_refused_until_the_first_is_closed() {
    let folder = folder();
    let first = open(&folder).await;
    let problem = refusal(folder.path()).await;
    assert!(problem.contains("another process or another log"), "{problem}");
    first.close().await;
    open(&folder).await.close().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "").expect("a file");
    let problem = refusal(&file.join("data")).await;
    assert!(problem.contains("choose a folder"), "{problem}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_damaged() {
    let folder = folder();
    fs::write(folder.path().join("log.db"), vec![b'x'; 10_000]).expect("a file");
    let problem = refusal(folder.path()).await;
    assert!(problem.contains("damaged") && problem.contains("backup"), "{problem}");
}

#[tokio::test]
async fn a_file_that_was_cut_is_damaged() {
    let folder = folder();
    let log = open(&folder).await;
    let bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 1).await;
    bench.publish_numbers(0..1_000).await;
    log.close().await;
    let file = fs::OpenOptions::new().write(true).open(folder.path().join("log.db")).expect("the file");
    file.set_len(4_096).expect("the file is cut");
    let problem = refusal(folder.path()).await;
    assert!(problem.contains("damaged"), "{problem}");
}

async fn change(file: &Path, statement: &'static str) {
    let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.expect("the file opens");
    sqlx::raw_sql(statement).execute(&mut connection).await.expect("the statement runs");
    connection.close().await.expect("the file closes");
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_left_alone() {
    let folder = folder();
    open(&folder).await.close().await;
    change(&folder.path().join("log.db"), "PRAGMA user_version = 99").await;
    let problem = refusal(folder.path()).await;
    assert!(problem.contains("version 99") && problem.contains("newer program"), "{problem}");
}

#[tokio::test]
async fn a_database_of_something_else_is_left_alone() {
    let folder = folder();
    change(&folder.path().join("log.db"), "CREATE TABLE theirs (id INTEGER)").await;
    let problem = refusal(folder.path()).await;
    assert!(problem.contains("something else"), "{problem}");
}

/// The files as a crash leaves them: copied while the log is open, without the end of the write-ahead log.
#[tokio::test]
async fn after_a_crash_a_prefix_is_there() {
    let folder = folder();
    let log = open(&folder).await;
    let mut bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 1).await;
    for number in 0..20 {
        bench.publish_numbers(number..number + 1).await;
    }
    let wal = fs::read(folder.path().join("log.db-wal")).expect("the write-ahead log");
    let mut lengths = Vec::new();
    for eighth in [8, 7, 5, 6] {
        let copy = super::folder();
        fs::copy(folder.path().join("log.db"), copy.path().join("log.db")).expect("a copy");
        fs::write(copy.path().join("log.db-wal"), &wal[..wal.len() * eighth / 8]).expect("a copy");
        let log = open(&copy).await;
        bench.log = Arc::clone(&log) as Arc<dyn Transport>;
        let count = usize::try_from(bench.lag("g").await).expect("a count");
        assert_eq!(numbers(&bench.reader("g").await.read(count).await), (0..count).collect::<Vec<_>>());
        bench.publish_numbers(count..count + 1).await;
        log.close().await;
        lengths.push(count);
    }
    assert_eq!(lengths[0], 20, "what was answered is there");
    assert!(lengths[1..].iter().all(|length| *length < 20), "{lengths:?}");
}
