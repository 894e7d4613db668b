//! Many publishers, records that are too large, and a full disk.

use std::sync::Arc;

use super::{folder, open};
use crate::{
    testing::conformance::transport::bench::{Bench, sorted, within},
    transport::{
        Transport, TransportError,
        embedded::{Embedded, EmbeddedOptions},
    },
};

#[tokio::test]
async fn publishers_side_by_side_lose_nothing() {
    let folder = folder();
    let bench = Bench::new(open(&folder).await, 3).await;
    let publishers = (0..50).map(|at| {
        let log = Arc::clone(&bench.log);
        let records = (0..10).map(|number| bench.record(&format!("key-{number}"), at * 10 + number)).collect();
        tokio::spawn(async move { log.publish(records).await })
    });
    for answers in futures_util::future::join_all(publishers).await {
        assert!(answers.expect("the publisher ends").iter().all(Result::is_ok));
    }
    assert_eq!(sorted(&bench.reader("g").await.read(500).await), (0..500).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_record_over_the_limit_is_refused_and_the_others_pass() {
    let folder = folder();
    let options = EmbeddedOptions { max_record_bytes: 1_000, ..EmbeddedOptions::default() };
    let log = Embedded::open(&folder, options).await.expect("the log opens");
    let bench = Bench::new(log, 1).await;
    let records = vec![bench.record("key", 0), bench.record("key", "x".repeat(1_000)), bench.record("key", 1)];
    let answers = bench.log.publish(records).await;
    assert!(matches!(&answers[1], Err(TransportError::Refused(problem)) if problem.contains("1003")), "{:?}", answers[1]);
    assert_eq!(sorted(&bench.reader("g").await.read(2).await), [0, 1]);
}

#[tokio::test]
async fn a_full_disk_is_unavailable_until_there_is_room() {
    let folder = folder();
    let options = EmbeddedOptions { max_file_bytes: Some(1 << 20), retention_bytes: 512 << 10, ..EmbeddedOptions::default() };
    let log = Embedded::open(&folder, options).await.expect("the log opens");
    let bench = Bench::new(log, 1).await;
    let mut reader = bench.reader("g").await;
    let value = "x".repeat(10_000);
    let mut stored = 0;
    let problem = loop {
        match bench.log.publish(vec![bench.record("key", &value)]).await.remove(0) {
            Ok(position) => {
                assert_eq!(position.offset, stored);
                stored += 1;
            }
            Err(problem) => break problem,
        }
        assert!(stored < 200, "a file of 1 MiB takes no more");
    };
    assert!(matches!(problem, TransportError::Unavailable(_)), "{problem:?}");
    assert!(matches!(bench.log.check().await, Err(TransportError::Unavailable(_))), "the check notices");

    let read = reader.read(usize::try_from(stored).expect("a count")).await;
    reader.commit(&read).await;
    within("room coming back", async {
        while bench.log.publish(vec![bench.record("key", &value)]).await.remove(0).is_err() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    bench.log.check().await.expect("the check notices that it works again");
    assert_eq!(reader.read(1).await[0].offset, stored, "what failed has left no gap");
}

#[tokio::test]
async fn a_commit_after_closing_ends() {
    let folder = folder();
    let log = open(&folder).await;
    let bench = Bench::new(Arc::clone(&log) as Arc<dyn Transport>, 1).await;
    bench.publish_numbers(0..10).await;
    let mut reader = bench.reader("g").await;
    reader.read(10).await;
    let commit = reader.subscription.commit(vec![(bench.partition(0), 10)]);
    log.close().await;
    within("the commit ending", commit).await.expect("what was accepted before closing is stored");
    assert!(matches!(reader.subscription.commit(vec![(bench.partition(0), 10)]).await, Err(TransportError::Closed)));
}

#[tokio::test]
async fn the_write_ahead_log_stays_small_though_somebody_always_reads() {
    use sqlx::{Connection, Executor, SqliteConnection, sqlite::SqliteConnectOptions};
    async fn begin(reader: &mut SqliteConnection) {
        reader.execute("BEGIN; SELECT count(*) FROM partitions").await.expect("it reads");
    }
    let folder = folder();
    let options = EmbeddedOptions { write_ahead_log_bytes: 1 << 20, ..EmbeddedOptions::default() };
    let bench = Bench::new(Embedded::open(&folder, options).await.expect("the log opens"), 1).await;
    let file = folder.path().join("log.db");
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let reader = SqliteConnectOptions::new().filename(&file).read_only(true);
    let mut one = SqliteConnection::connect_with(&reader).await.expect("a reader");
    let mut other = SqliteConnection::connect_with(&reader).await.expect("a reader");
    // At any time, one of the two connections has a transaction open.
    let reading = tokio::spawn(async move {
        begin(&mut one).await;
        while stopped.try_recv().is_err() {
            begin(&mut other).await;
            one.execute("COMMIT").await.expect("it ends");
            begin(&mut one).await;
            other.execute("COMMIT").await.expect("it ends");
            tokio::task::yield_now().await;
        }
    });
    let value = "x".repeat(20_000);
    for _ in 0..2_000 {
        bench.log.publish(vec![bench.record("key", &value)]).await.remove(0).expect("it is stored");
    }
    let log = crate::sqlite::log_bytes(&file).await;
    let _ = stop.send(());
    reading.await.expect("it ends");
    // More than 40 MB were written.
    assert!(log < 8 << 20, "the log has {log} bytes");
}
