//! Commands that only read change nothing and block nothing.

use std::{collections::BTreeMap, fs, path::Path, time::Duration};

use sagas::saga::InstanceState;

use super::{
    program::{on, values},
    records::{MINUTE, Services, one_of_each},
};

/// All commands except those that settle dead letters.
const COMMANDS: [&[&str]; 10] = [
    &["ps", "--all"],
    &["ps", "--stuck", "--json"],
    &["explain", "attention"],
    &["graph"],
    &["check"],
    &["ps", "--service", "payment"],
    &["letters", "list", "--state", "all"],
    &["letters", "show", "letter-1"],
    &["letters", "retry", "--service", "payment", "--all", "--dry-run"],
    &["letters", "discard", "--service", "payment", "--topic", "inventory", "--dry-run", "--json"],
];

fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    files.map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap())).collect()
}

#[tokio::test]
async fn the_files_of_stopped_services_stay_as_they_are() {
    let folder = one_of_each().await;
    let before = files(folder.path());
    assert_eq!(before.keys().collect::<Vec<_>>(), ["inventory.sqlite", "order.sqlite", "payment.sqlite"]);
    for args in COMMANDS {
        on(folder.path(), args).await;
        assert!(files(folder.path()) == before, "{args:?} has changed a file, or made one");
    }
}

#[tokio::test]
async fn what_killed_services_have_left_is_read_and_stays_as_it_is() {
    let (folder, killed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let services = Services::in_folder(folder.path()).await;
    services.one_of_each().await;
    for (name, bytes) in files(folder.path()) {
        fs::write(killed.path().join(name), bytes).unwrap();
    }
    let mut before = files(killed.path());
    assert!(before["order.sqlite-wal"].len() > 4096);
    let listed = values(killed.path(), &["ps", "--all"], 0).await;
    assert_eq!(listed.len(), 6);
    for args in COMMANDS {
        on(killed.path(), args).await;
    }
    // The first reader recreates SQLite's index of the write-ahead log.
    let mut after = files(killed.path());
    for kept in [&mut before, &mut after] {
        kept.retain(|name, _| !name.ends_with("-shm"));
    }
    assert!(before == after, "a file was changed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn services_that_run_are_read_and_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let services = Services::in_folder(folder.path()).await;
    services.keep(&services.instance("0", MINUTE, &[])).await;
    let (path, mut written) = (folder.path().to_owned(), 1);
    let reading = tokio::spawn(async move { values(&path, &["ps"], 0).await });
    while !reading.is_finished() {
        services.keep(&services.instance(&written.to_string(), MINUTE, &[])).await;
        written += 1;
    }
    let listed = reading.await.unwrap();
    assert!(!listed.is_empty() && written > 1, "{} of {written}", listed.len());

    // A transaction in progress is neither waited for nor visible.
    let mut open = services.order.store().begin().await.unwrap();
    let (instance, _) = services.instance("open", Duration::ZERO, &[]);
    open.save_instances("order", &[instance.record()]).await.unwrap();
    let listed = values(folder.path(), &["ps", "--limit", "100000"], 0).await;
    assert_eq!(listed.len(), written);
    assert!(listed.iter().all(|value| value["state"] == InstanceState::Running.as_str()));
    open.commit().await.unwrap();
    assert_eq!(values(folder.path(), &["ps", "--limit", "100000"], 0).await.len(), written + 1);
    services.stop().await;
    assert_eq!(files(folder.path()).len(), 3, "the last to close takes the log away");
}
