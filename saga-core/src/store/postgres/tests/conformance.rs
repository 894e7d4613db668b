//! The conformance suite of stores.

use std::sync::Arc;

use super::Schema;
use crate::{
    store::Store,
    testing::conformance::store::{Subject, survives_reopening},
};

async fn open() -> Subject {
    let schema = Schema::new();
    Subject::new(Arc::new(schema.open().await)).keeping(schema)
}

crate::store_conformance!(open, ignore = "needs PostgreSQL: scripts/postgres start");
crate::sharing_conformance!(open, ignore = "needs PostgreSQL: scripts/postgres start");

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn survives() {
    let schema = Schema::new();
    survives_reopening(async || Arc::new(schema.open().await) as Arc<dyn Store>).await;
}
