//! The SQLite file: how it is opened, its tables, and its versions.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use sqlx::{
    ConnectOptions, Connection, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};

use super::{EmbeddedOptions, folder::open_error, records::first_position};
use crate::{
    sqlite::Trim,
    transport::{
        TopicPartition, TransportError,
        local::{Catalog, Partition, Topic},
    },
};

/// `saga`, the application id in the file's header.
const APPLICATION_ID: i64 = 0x7361_6761;

/// The time that a statement waits for another program that locks the file.
const BUSY: Duration = Duration::from_secs(5);

/// The migrations. Each takes the file to the next version. Released migrations must not change.
const MIGRATIONS: [&str; 2] = [
    // A record's position combines the row of its partition and its offset in one number, so that a partition is a range of one B-tree and
    // needs no second index. See `records`.
    "CREATE TABLE partitions (
        id INTEGER PRIMARY KEY,
        topic TEXT NOT NULL,
        number INTEGER NOT NULL,
        first INTEGER NOT NULL DEFAULT 0,
        UNIQUE (topic, number)
    ) STRICT;
    CREATE TABLE records (
        position INTEGER PRIMARY KEY,
        stored_at INTEGER NOT NULL,
        timestamp INTEGER NOT NULL,
        key BLOB,
        headers BLOB NOT NULL,
        value BLOB
    ) STRICT;
    CREATE TABLE offsets (
        consumer_group TEXT NOT NULL,
        partition INTEGER NOT NULL,
        committed INTEGER NOT NULL,
        PRIMARY KEY (consumer_group, partition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE probe (
        id INTEGER PRIMARY KEY,
        at INTEGER NOT NULL,
        room BLOB
    ) STRICT;",
    // An identity is random, so that topics in a new folder differ from topics with the same names in a folder that was moved away.
    "CREATE TABLE topics (
        name TEXT PRIMARY KEY,
        identity TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    INSERT INTO topics SELECT topic, lower(hex(randomblob(16))) FROM partitions GROUP BY topic;",
];

/// The file of a log.
#[derive(Clone)]
pub(super) struct LogFile {
    path: PathBuf,
    max_bytes: Option<u64>,
    write_ahead_log_bytes: u64,
}

impl LogFile {
    pub(super) fn new(folder: &Path, options: &EmbeddedOptions) -> Self {
        Self {
            path: folder.join("log.db"),
            max_bytes: options.max_file_bytes,
            write_ahead_log_bytes: options.write_ahead_log_bytes,
        }
    }

    fn options(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new().filename(&self.path).busy_timeout(BUSY).disable_statement_logging()
    }

    /// Opens the connection for writing.
    pub(super) async fn connect(&self) -> Result<SqliteConnection, sqlx::Error> {
        let options = self
            .options()
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .pragma("wal_autocheckpoint", "4000")
            .pragma("journal_size_limit", self.write_ahead_log_bytes.to_string());
        let mut connection = SqliteConnection::connect_with(&options).await?;
        if let Some(max_bytes) = self.max_bytes {
            let page_size = pragma(&mut connection, "PRAGMA page_size").await?;
            let pages = (max_bytes / page_size.unsigned_abs().max(1)).max(1);
            sqlx::query(sqlx::AssertSqlSafe(format!("PRAGMA max_page_count = {pages}"))).execute(&mut connection).await?;
        }
        Ok(connection)
    }

    /// Creates the state with which the writer keeps the write-ahead log small.
    pub(super) fn trim(&self) -> Trim {
        Trim::new(&self.path, self.write_ahead_log_bytes)
    }

    /// Trims the write-ahead log if it is due. Called after each commit on `connection`.
    pub(super) async fn committed(trim: &mut Trim, connection: &mut SqliteConnection) {
        trim.committed(connection, BUSY.as_millis()).await;
    }

    /// Creates the pool of connections for reading.
    pub(super) fn readers(&self, count: u32) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(count.max(1))
            .test_before_acquire(false)
            .connect_lazy_with(self.options().read_only(true))
    }

    /// Opens the file for writing, creates or migrates its tables, and loads the topics.
    pub(super) async fn open(&self, tail_bytes: usize) -> Result<(SqliteConnection, Arc<Catalog>), TransportError> {
        let mut connection = self.connect().await.map_err(|error| self.explain(&error))?;
        self.migrate(&mut connection).await?;
        let catalog = load(&mut connection, tail_bytes).await.map_err(|error| self.explain(&error))?;
        Ok((connection, Arc::new(catalog)))
    }

    async fn migrate(&self, connection: &mut SqliteConnection) -> Result<(), TransportError> {
        let explain = |error| self.explain(&error);
        let application = pragma(connection, "PRAGMA application_id").await.map_err(explain)?;
        let version = pragma(connection, "PRAGMA user_version").await.map_err(explain)?;
        let tables = pragma(connection, "SELECT count(*) FROM sqlite_schema").await.map_err(explain)?;
        if application != APPLICATION_ID && (application != 0 || version != 0 || tables != 0) {
            let problem = "it is a SQLite database of something else; move it away, or use another folder";
            return Err(open_error(&self.path, problem.to_owned()));
        }
        let known = MIGRATIONS.len() as i64;
        if !(0..=known).contains(&version) {
            return Err(open_error(
                &self.path,
                format!(
                    "it has version {version} and this program supports versions up to {known}; run the newer program that \
                     wrote it, or use another folder"
                ),
            ));
        }
        let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await.map_err(explain)?;
        for migration in MIGRATIONS.iter().skip(usize::try_from(version).unwrap_or(0)) {
            sqlx::raw_sql(*migration).execute(&mut *transaction).await.map_err(explain)?;
        }
        let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {known};");
        sqlx::raw_sql(sqlx::AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(explain)?;
        transaction.commit().await.map_err(explain)
    }

    /// Explains why the file cannot be opened, and what to do.
    fn explain(&self, error: &sqlx::Error) -> TransportError {
        let code = error.as_database_error().and_then(|error| error.code()).and_then(|code| code.parse::<i32>().ok());
        let advice = match code.map(|code| code & 0xff) {
            // SQLITE_CORRUPT, SQLITE_NOTADB
            Some(11 | 26) => "it is damaged; restore the folder from a backup, or move it away to begin with an empty log",
            // SQLITE_READONLY, SQLITE_CANTOPEN, SQLITE_PERM
            Some(3 | 8 | 14) => "it cannot be written; give this user the right to write the folder and its files",
            // SQLITE_FULL
            Some(13) => "there is no room for it; free space on its disk or raise `max_file_bytes`",
            _ => "see the cause, and whether the disk is well",
        };
        open_error(&self.path, format!("{advice} (cause: {error})"))
    }
}

/// Returns the single number that a statement yields.
pub(super) async fn pragma(connection: &mut SqliteConnection, statement: &'static str) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar(statement).fetch_one(connection).await
}

async fn load(connection: &mut SqliteConnection, tail_bytes: usize) -> Result<Catalog, sqlx::Error> {
    let catalog = Catalog::default();
    let rows = sqlx::query(
        "SELECT id, topic, number, first, identity FROM partitions JOIN topics ON name = topic ORDER BY topic, number",
    );
    let mut topic: Option<(String, Arc<str>, Vec<Arc<Partition>>)> = None;
    for row in rows.fetch_all(&mut *connection).await? {
        let (id, name, number, first): (i64, String, i32, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        let end = end(connection, id).await?.max(first);
        let partition = Partition::new(TopicPartition::new(&name, number), id, first, end, tail_bytes);
        match &mut topic {
            Some((current, _, partitions)) if *current == name => partitions.push(partition),
            _ => {
                let identity = row.get::<String, _>(4).into();
                if let Some((name, identity, partitions)) = topic.replace((name, identity, vec![partition])) {
                    catalog.enter(Topic::new(&name, identity, partitions));
                }
            }
        }
    }
    if let Some((name, identity, partitions)) = topic {
        catalog.enter(Topic::new(&name, identity, partitions));
    }
    let rows = sqlx::query("SELECT consumer_group, partition, committed FROM offsets").fetch_all(connection).await?;
    let by_row: std::collections::HashMap<i64, Arc<Partition>> = catalog
        .topics()
        .iter()
        .flat_map(|topic| &topic.partitions)
        .map(|partition| (partition.row, Arc::clone(partition)))
        .collect();
    for row in rows {
        let (group, partition, committed): (String, i64, i64) = (row.get(0), row.get(1), row.get(2));
        if let Some(partition) = by_row.get(&partition) {
            partition.commit(&group.into(), committed);
        }
    }
    Ok(catalog)
}

/// Returns the offset after the last record of the partition in this row; 0 if it has none.
pub(super) async fn end(connection: &mut SqliteConnection, row: i64) -> Result<i64, sqlx::Error> {
    let last: Option<i64> =
        sqlx::query_scalar("SELECT position FROM records WHERE position >= ? AND position < ? ORDER BY position DESC LIMIT 1")
            .bind(first_position(row))
            .bind(first_position(row + 1))
            .fetch_optional(connection)
            .await?;
    Ok(last.map_or(0, |last| last - first_position(row) + 1))
}
