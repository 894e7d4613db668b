//! SQL on the connection of a transaction.

use sqlx::Row;

use crate::{
    id::IdSource,
    store::{Database, Migration, SqlConnection, StoreError, Tx, TxSlot},
    time::Timestamp,
};

const NOTES: &[Migration] =
    &[Migration { version: 1, name: "notes", sql: "CREATE TABLE notes (id INTEGER PRIMARY KEY, text TEXT);" }];

async fn notes() -> Database {
    let database = Database::open("sqlite::memory:").await.unwrap();
    database.store().migrate().await.unwrap();
    database.store().migrate_set("notes", NOTES).await.unwrap();
    database
}

async fn lend(database: &Database, savepoint: bool) -> (Tx, TxSlot) {
    let slot = TxSlot::default();
    let open = database.store().begin().await.unwrap();
    (Tx::lend(open, slot.clone(), savepoint, IdSource::seeded(1), Timestamp::default()), slot)
}

async fn count(database: &Database) -> i64 {
    sqlx::query("SELECT count(*) FROM notes").fetch_one(database).await.unwrap().get(0)
}

#[tokio::test]
async fn statements_of_any_run_in_the_transaction() {
    let database = notes().await;
    let (mut tx, slot) = lend(&database, false).await;
    let done = sqlx::query("INSERT INTO notes (text) VALUES ($1)").bind("a").execute(&mut tx).await.unwrap();
    assert_eq!(done.rows_affected(), 1);
    let rows = sqlx::query("SELECT text FROM notes").fetch_all(&mut tx).await.unwrap();
    assert_eq!(rows[0].get::<String, _>(0), "a");
    assert!(sqlx::query("SELECT id FROM notes WHERE text = $1").bind("b").fetch_optional(&mut tx).await.unwrap().is_none());
    assert_eq!(count(&database).await, 0, "nobody sees what is not committed");
    drop(tx);
    let returned = slot.take().unwrap();
    assert!(returned.touched);
    returned.tx.commit().await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn the_first_statement_sets_the_savepoint() {
    let database = notes().await;
    let (mut tx, slot) = lend(&database, true).await;
    sqlx::query("INSERT INTO notes (text) VALUES ('gone')").execute(&mut tx).await.unwrap();
    drop(tx);
    let mut open = slot.take().unwrap().tx;
    open.undo().await.unwrap();
    open.commit().await.unwrap();
    assert_eq!(count(&database).await, 0);
}

#[tokio::test]
async fn a_transaction_that_was_not_used_is_untouched() {
    let database = notes().await;
    let (tx, slot) = lend(&database, true).await;
    drop(tx);
    assert!(!slot.take().unwrap().touched);
}

#[tokio::test]
async fn the_native_connection_is_at_hand() {
    let database = notes().await;
    let (mut tx, slot) = lend(&database, false).await;
    let sqlite = tx.sqlite().await.unwrap();
    sqlx::query("INSERT INTO notes (text) VALUES (?)").bind("a").execute(&mut *sqlite).await.unwrap();
    #[cfg_attr(not(feature = "postgres"), expect(irrefutable_let_patterns, reason = "there is no other database"))]
    let SqlConnection::Sqlite(sqlite) = tx.connection().await.unwrap() else { panic!("another database") };
    let text: String = sqlx::query_scalar("SELECT text FROM notes").fetch_one(sqlite).await.unwrap();
    assert_eq!(text, "a");
    drop(tx);
    slot.take().unwrap().tx.commit().await.unwrap();
    assert_eq!(count(&database).await, 1);
}

#[tokio::test]
async fn a_transaction_of_sqlx_within_ours_is_a_savepoint() {
    let database = notes().await;
    let (mut tx, slot) = lend(&database, false).await;
    for (text, keep) in [("kept", true), ("gone", false)] {
        let mut inner = sqlx::Connection::begin(tx.sqlite().await.unwrap()).await.unwrap();
        sqlx::query("INSERT INTO notes (text) VALUES (?)").bind(text).execute(&mut *inner).await.unwrap();
        if keep {
            inner.commit().await.unwrap();
        }
    }
    drop(tx);
    slot.take().unwrap().tx.commit().await.unwrap();
    let texts: Vec<String> =
        sqlx::query("SELECT text FROM notes").fetch_all(&database).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(texts, ["kept"]);
}

#[tokio::test]
async fn reading_outside_a_transaction_cannot_write() {
    let database = notes().await;
    let error = sqlx::query("INSERT INTO notes (text) VALUES ('a')").execute(&database).await.unwrap_err();
    assert!(error.to_string().contains("readonly"), "{error}");
}

#[tokio::test]
async fn a_store_without_sql_says_what_to_do() {
    let database = Database::memory();
    let (mut tx, _slot) = lend(&database, false).await;
    let error = sqlx::query("SELECT 1").execute(&mut tx).await.unwrap_err().to_string();
    assert!(error.contains("this store speaks no SQL; open the service's database by a URL"), "{error}");
    let error = sqlx::query("SELECT 1").execute(&database).await.unwrap_err().to_string();
    assert!(error.contains("this store speaks no SQL"), "{error}");
}

#[tokio::test]
async fn an_unknown_url_is_refused_without_its_password() {
    let error = Database::open("mysql://root:hunter2@db/orders").await.unwrap_err();
    assert!(matches!(error, StoreError::Refused(_)));
    assert!(error.to_string().contains("begins with `mysql:`; write memory:, sqlite::memory:"), "{error}");
    assert!(!error.to_string().contains("hunter2"), "{error}");
}
