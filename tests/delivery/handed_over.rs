//! A service that has made its own tables, and leaves them to another tool.

use std::sync::Arc;

use sagas::{App, StartError, prelude::*, store::Migration, transport::memory::Memory};
use tempfile::TempDir;

const TABLES: &[Migration] = &[
    Migration { version: 1, name: "orders", sql: "CREATE TABLE orders (id BIGINT PRIMARY KEY);" },
    Migration { version: 2, name: "notes", sql: "CREATE TABLE notes (id BIGINT PRIMARY KEY);" },
];

async fn run(url: &str, migrations: &'static [Migration]) -> Result<(), StartError> {
    let database = Database::open(url).await.unwrap();
    let service = Service::new("shop", database.clone()).migrations(migrations);
    let started = App::new("shop").service(service).start(Arc::new(Memory::new())).await;
    let ended = match started {
        Ok(running) => {
            assert!(running.stop().await);
            Ok(())
        }
        Err(error) => Err(error),
    };
    database.store().close().await;
    ended
}

async fn is_handed_over(url: &str, checked: &str) {
    run(url, TABLES).await.unwrap();
    for url in [url, checked] {
        run(url, &[]).await.unwrap_or_else(|error| panic!("{url}: {error}"));
    }
    // An older program is still refused.
    let error = run(url, &TABLES[..1]).await.unwrap_err().to_string();
    assert!(error.contains("migration 2 of set `shop` has run, and this program does not have it"), "{error}");
    run(url, TABLES).await.expect("back again: none runs twice");
}

#[tokio::test]
async fn a_service_without_migrations_does_not_look_at_those_that_it_had() {
    let folder = TempDir::new().unwrap();
    let url = format!("sqlite:{}", folder.path().join("shop.db").display());
    is_handed_over(&url, &format!("{url}?migrate=check")).await;
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn the_same_on_postgresql() {
    let schema = sagas_tests::schema::Schema::new();
    is_handed_over(&schema.url(), &format!("{}&migrate=check", schema.url())).await;
}
