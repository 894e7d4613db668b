//! The conformance suite of stores.

use std::{path::Path, sync::Arc};

use crate::{
    store::{
        Store,
        sqlite::{SqliteOptions, SqliteStore},
    },
    testing::conformance::store::{Subject, survives_reopening},
};

mod file {
    use super::*;

    async fn open() -> Subject {
        let folder = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(SqliteOptions::file(folder.path().join("deep/er/store.db"))).await.unwrap();
        Subject::new(Arc::new(store)).keeping(folder)
    }

    crate::store_conformance!(open);

    #[tokio::test]
    async fn survives() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store.db");
        survives_reopening(async || opened(&path).await).await;
    }

    async fn opened(path: &Path) -> Arc<dyn Store> {
        Arc::new(SqliteStore::open(SqliteOptions::file(path)).await.unwrap())
    }
}

mod private {
    use super::*;

    async fn open() -> Subject {
        Subject::new(Arc::new(SqliteStore::open("sqlite::memory:".parse().unwrap()).await.unwrap()))
    }

    crate::store_conformance!(open);
}
