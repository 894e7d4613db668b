//! Tests of what the embedded log does in addition to the conformance of transports.

mod opening;
mod retention;
mod writing;

use std::{path::Path, sync::Arc, time::Duration};

use tempfile::TempDir;

use super::{Embedded, EmbeddedOptions};
use crate::{
    testing::conformance::transport::{self as conformance, bench::within},
    transport::{Transport, TransportError},
};

fn folder() -> TempDir {
    tempfile::tempdir().expect("a temporary folder")
}

async fn open(folder: impl AsRef<Path>) -> Arc<Embedded> {
    Embedded::open(folder, EmbeddedOptions::default()).await.expect("the log opens")
}

/// Opens a log again that was dropped, as soon as its writer has released the folder.
async fn reopen(folder: &Path) -> Arc<Embedded> {
    within("the folder becoming free", async {
        loop {
            match Embedded::open(folder, EmbeddedOptions::default()).await {
                Ok(log) => return log,
                Err(TransportError::Open { problem, .. }) if problem.contains("has it open") => {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                Err(other) => panic!("{other}"),
            }
        }
    })
    .await
}

async fn conforms(options: EmbeddedOptions) {
    let root = folder();
    let count = std::cell::Cell::new(0);
    conformance::all(async || {
        count.set(count.get() + 1);
        let folder = root.path().join(count.get().to_string());
        Embedded::open(folder, options.clone()).await.expect("the log opens") as Arc<dyn Transport>
    })
    .await;
}

#[tokio::test]
async fn conforms_from_memory() {
    conforms(EmbeddedOptions::default()).await;
}

#[tokio::test]
async fn conforms_from_the_file() {
    conforms(EmbeddedOptions { tail_bytes: 0, ..EmbeddedOptions::default() }).await;
}
