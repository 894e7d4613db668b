//! Opening for reading only.

use super::{NOTES, PostgresStore, Schema, run, url};
use crate::store::{Database, Store, StoreError, StoredDefinition};

fn saga(version: u32) -> StoredDefinition {
    StoredDefinition { saga: "place-order".into(), version, body: "{}".into() }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn what_others_commit_is_read_and_nothing_is_written() {
    let schema = Schema::new();
    let writer = schema.store().await;
    writer.sagas().define("orders", &saga(1)).await.unwrap();
    let store = PostgresStore::open_read_only(schema.options()).await.unwrap();
    assert_eq!(store.sagas().definitions("orders").await.unwrap(), [saga(1)]);
    writer.sagas().define("orders", &saga(2)).await.unwrap();
    assert_eq!(store.sagas().definitions("orders").await.unwrap(), [saga(1), saga(2)]);
    for refused in [
        store.begin().await.err(),
        store.migrate_set("notes", NOTES).await.err(),
        store.check().await.err(),
        store.sagas().define("orders", &saga(3)).await.err(),
    ] {
        let refused = refused.expect("refused");
        assert!(matches!(refused, StoreError::Refused(_)) && refused.to_string().contains("for reading only"), "{refused}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn a_schema_of_another_version_or_none_is_named_and_not_made() {
    let schema = Schema::new();
    let missing = PostgresStore::open_read_only(schema.options()).await.unwrap_err();
    assert!(matches!(missing, StoreError::NotMigrated(_)) && missing.to_string().contains(&schema.0), "{missing}");
    let sql = "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace WHERE nspname = $1)";
    let made = sqlx::query_scalar::<_, bool>(sql).bind(&schema.0).fetch_one(&mut schema.beside().await).await.unwrap();
    assert!(!made);

    let writer = schema.store().await;
    for (sql, told) in [
        ("INSERT INTO sagas_migrations VALUES ('sagas', 99, 'later', '')", "migration 99 of set `sagas` has run"),
        (
            "DELETE FROM sagas_migrations WHERE name_of_set = 'sagas' AND version >= 3",
            "migration 3 (`sagas`) of set `sagas` has not run",
        ),
    ] {
        let mut tx = writer.begin().await.unwrap();
        run(&mut *tx, sql).await.unwrap();
        tx.commit().await.unwrap();
        let error = PostgresStore::open_read_only(schema.options()).await.unwrap_err();
        assert!(matches!(error, StoreError::Incompatible(_)), "{error}");
        assert!(error.to_string().contains(told) && error.to_string().contains(&schema.0), "{error}");
    }
}

#[tokio::test]
#[ignore = "needs PostgreSQL: scripts/postgres start"]
async fn the_schemas_with_tables_are_found() {
    let (schema, without) = (Schema::new(), Schema::new());
    let (writer, _empty) = (schema.store().await, without.open().await);
    writer.sagas().define("orders", &saga(1)).await.unwrap();
    let found = PostgresStore::schemas(url().parse().unwrap()).await.unwrap();
    assert!(found.contains(&schema.0) && !found.contains(&without.0), "{found:?}");

    let separator = if url().contains('?') { '&' } else { '?' };
    let named = format!("{}{separator}schema={}", url(), schema.0);
    let [database] = &Database::read_all(&named).await.unwrap()[..] else { panic!("not one database") };
    assert_eq!(database.store().sagas().services().await.unwrap(), ["orders"]);
}
