//! A server that crashes and restarts under load.

use std::{path::Path, process::Command, sync::Arc, time::Duration};

use tokio::{sync::watch, time::timeout};

use super::{PATIENCE, PostgresOptions, PostgresStore};
use crate::{
    message::Record,
    store::{Store, StoreError},
    time::LogTime,
};

/// Calls `scripts/postgres` for a server with its data in `folder`, and returns the output.
async fn server(folder: &Path, arguments: &'static [&'static str]) -> String {
    let data = folder.join("postgres");
    let called = tokio::task::spawn_blocking(move || {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
        Command::new(script).args(arguments).arg("--data").arg(data).output().expect("scripts/postgres")
    });
    let output = called.await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// A separate server, removed with its data when this is dropped.
struct Server(tempfile::TempDir);

impl Drop for Server {
    fn drop(&mut self) {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/postgres");
        let _ = Command::new(script).arg("wipe").arg("--data").arg(self.0.path().join("postgres")).output();
    }
}

fn record() -> Record {
    Record { topic: "orders".into(), key: None, value: None, headers: Vec::new(), timestamp: LogTime::from_millis(1) }
}

async fn append(store: &PostgresStore) -> Result<(), (bool, StoreError)> {
    let mut tx = store.begin().await.map_err(|error| (false, error))?;
    tx.append_outbox("orders", &[record()]).await.map_err(|error| (false, error))?;
    tx.commit().await.map_err(|error| (true, error))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn crashes_of_the_server_lose_and_double_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // The user of the server needs access to this folder.
    #[cfg(unix)]
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o711)).unwrap();
    let running = Server(folder);
    server(running.0.path(), &["start", "--port", "0"]).await;
    let url = server(running.0.path(), &["url"]).await;
    let options: PostgresOptions = url.trim().parse().unwrap();
    let store = PostgresStore::open(options.schema("crash").unwrap().begin_timeout(Duration::from_secs(2))).await.unwrap();
    store.migrate().await.unwrap();
    let store = Arc::new(store);

    let (stop, stopped) = watch::channel(false);
    let (count, mut counted) = watch::channel(0_usize);
    let count = Arc::new(count);
    let writers: Vec<_> = (0..4)
        .map(|_| {
            let (store, stopped, count) = (Arc::clone(&store), stopped.clone(), Arc::clone(&count));
            tokio::spawn(async move {
                let (mut committed, mut in_doubt) = (0, 0);
                while !*stopped.borrow() {
                    match append(&store).await {
                        Ok(()) => {
                            committed += 1;
                            count.send_modify(|count| *count += 1);
                        }
                        Err((committing, error)) => {
                            assert!(matches!(error, StoreError::Unavailable(_)), "{error}");
                            in_doubt += usize::from(committing);
                            tokio::time::sleep(Duration::from_millis(20)).await;
                        }
                    }
                }
                (committed, in_doubt)
            })
        })
        .collect();
    for _ in 0..2 {
        server(running.0.path(), &["stop", "--now"]).await;
        server(running.0.path(), &["start"]).await;
        let before = *counted.borrow_and_update();
        timeout(PATIENCE, counted.wait_for(|count| *count > before + 20)).await.expect("writing goes on by itself").unwrap();
    }
    stop.send_replace(true);
    let (mut committed, mut in_doubt) = (0, 0);
    for writer in writers {
        let (done, doubtful) = writer.await.unwrap();
        committed += done;
        in_doubt += doubtful;
    }
    let there = store.outbox("orders", 0, 1_000_000).await.unwrap().len();
    assert!((committed..=committed + in_doubt).contains(&there), "{there} of {committed} and {in_doubt} in doubt");
    store.check().await.unwrap();
}
