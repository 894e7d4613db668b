//! Opens connections: the writer's, with the hooks that guard its transactions, and those for reading.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use sqlx::{
    ConnectOptions, Row, SqliteConnection, SqlitePool,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
};
use sqlx_core::transaction::TransactionManager;
use tokio::time::Instant;

use super::{
    super::{Migrate, StoreError, sql_errors::store_error},
    errors::is_busy,
    options::{Access, Place, SqliteOptions},
    place::Location,
    reading::Reading,
};
use crate::sqlite::{Trim, log_bytes};

/// The number of prepared statements that a connection caches: the framework's in all their sizes, and the service's.
const STATEMENTS: usize = 500;

/// The number of virtual-machine steps between two calls of SQLite's progress handler: some tens of microseconds.
const STEPS: i32 = 10_000;

/// How long to wait before a file that another program has locked is opened again. SQLite waits for every lock but one: of two connections
/// that set the journal of a new file to WAL at the same time, one fails at once, so that they do not deadlock.
const BETWEEN_TRIES: Duration = Duration::from_millis(10);

/// Reads the journal mode, the application id, and whether the framework's tables exist.
const SUITS: &str = "SELECT journal_mode, application_id,
    EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'sagas_migrations')
    FROM pragma_journal_mode, pragma_application_id";

/// Opens the connections to one database.
#[derive(Debug)]
pub(super) struct Connector {
    location: Location,
    /// The name of the database in errors.
    pub(super) name: String,
    options: SqliteOptions,
    /// Set only for a file that is only read.
    reading: Option<Reading>,
}

/// What SQLite's hooks have observed of the writer's transaction, and whether it is allowed to commit.
///
/// Several errors, for example a full disk, make SQLite roll back the whole transaction. Each later statement would then commit by itself.
/// Only [`Guard::committing`] allows a commit; any other commit is rolled back: that of such a statement, or a `COMMIT` among the user's
/// own statements.
#[derive(Debug, Default)]
pub(super) struct Guard {
    armed: AtomicBool,
    lost: AtomicBool,
    /// The transaction was ended by a `COMMIT` that the framework did not run.
    committed: AtomicBool,
    interrupt: AtomicBool,
    #[cfg(test)]
    commits: std::sync::atomic::AtomicU64,
}

impl Guard {
    /// Whether the transaction has been rolled back since it began.
    pub(super) fn lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether the cause was a `COMMIT` among the user's own statements.
    pub(super) fn committed(&self) -> bool {
        self.committed.load(Ordering::Acquire)
    }

    pub(super) fn began(&self) {
        self.lost.store(false, Ordering::Release);
        self.committed.store(false, Ordering::Release);
    }

    pub(super) fn committing(&self, yes: bool) {
        self.armed.store(yes, Ordering::Release);
    }

    /// Sets whether the progress handler interrupts the running statement.
    pub(super) fn interrupting(&self, yes: bool) {
        self.interrupt.store(yes, Ordering::Release);
    }

    /// The number of commits that SQLite has made.
    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.commits.load(Ordering::Acquire)
    }

    fn may_commit(&self) -> bool {
        let armed = self.armed.load(Ordering::Acquire);
        if !armed && !self.lost() {
            self.committed.store(true, Ordering::Release);
        }
        #[cfg(test)]
        self.commits.fetch_add(u64::from(armed), Ordering::AcqRel);
        armed
    }
}

impl Connector {
    pub(super) async fn new(options: SqliteOptions) -> Result<Self, StoreError> {
        let location = match options.access {
            _ if options.place == Place::Private => Location::prepare(&options.place).await?,
            Access::Create => Location::prepare(&options.place).await?,
            Access::Existing => Location::existing(&options.place).await?,
            Access::Read => {
                return Err(StoreError::Refused(
                    "a URL with `mode=ro` opens no service's database, which it writes; leave it out".into(),
                ));
            }
        };
        Ok(Self { name: location.file().display().to_string(), location, options, reading: None })
    }

    /// For an existing file that is only read.
    pub(super) async fn read_only(options: SqliteOptions) -> Result<Self, StoreError> {
        let location = Location::existing(&options.place).await?;
        let name = location.file().display().to_string();
        let reading = Reading::of(location.file()).await.map_err(|error| {
            StoreError::Unavailable(format!("{name}: the file cannot be looked at ({error}); check its permissions"))
        })?;
        Ok(Self { name, location, options, reading: Some(reading) })
    }

    /// Checks that no program has changed the file since it was opened as a file at rest, so that the last read is valid.
    pub(super) async fn undisturbed(&self) -> Result<(), StoreError> {
        match &self.reading {
            Some(reading) if reading.was_disturbed(self.location.file()).await => {
                Err(StoreError::Contended(format!("{}: a program has opened it while it was read; read it again", self.name)))
            }
            _ => Ok(()),
        }
    }

    /// Whether `file`, the name that SQLite reports for a connection, is the file of this database.
    pub(super) async fn is_at(&self, file: &str) -> bool {
        let (ours, theirs) = tokio::join!(tokio::fs::canonicalize(self.location.file()), tokio::fs::canonicalize(file));
        matches!((ours, theirs), (Ok(ours), Ok(theirs)) if ours == theirs)
    }

    pub(super) fn patience(&self) -> Duration {
        self.options.begin_timeout
    }

    pub(super) fn migrate(&self) -> Migrate {
        self.options.migrate
    }

    pub(super) fn group_window(&self) -> Duration {
        self.options.group_window
    }

    /// The limit of the write-ahead log, in bytes.
    pub(super) fn log_limit(&self) -> u64 {
        u64::from(self.options.log_mib) << 20
    }

    /// The size of the write-ahead log, in bytes.
    pub(super) async fn log_bytes(&self) -> u64 {
        log_bytes(self.location.file()).await
    }

    /// Keeps the write-ahead log of the writer small.
    pub(super) fn trim(&self) -> Trim {
        Trim::new(self.location.file(), self.log_limit())
    }

    pub(super) fn error(&self, error: &sqlx::Error) -> StoreError {
        store_error(&self.name, error)
    }

    fn base(&self) -> SqliteConnectOptions {
        SqliteConnectOptions::new()
            .filename(self.location.file())
            .foreign_keys(true)
            .busy_timeout(self.options.begin_timeout)
            .statement_cache_capacity(STATEMENTS)
            // SQLite truncates the log to this size after a large transaction.
            .pragma("journal_size_limit", self.log_limit().to_string())
            .pragma("cache_size", format!("-{}", u64::from(self.options.cache_mib) * 1024))
            .read_only(self.reading.is_some())
            .immutable(matches!(self.reading, Some(Reading::AtRest { .. })))
            .disable_statement_logging()
    }

    /// Opens the connection for writing.
    pub(super) async fn writer(&self, guard: &Arc<Guard>) -> Result<SqliteConnection, StoreError> {
        let options = self.base().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        // A private database is lost with its process, so its commits need not wait for the disk.
        let private = self.options.place == Place::Private;
        let options = options.synchronous(if private { SqliteSynchronous::Off } else { SqliteSynchronous::Full });
        let deadline = Instant::now() + self.patience();
        let mut connection = loop {
            match self.establish(options.clone(), guard).await {
                Ok(connection) => break connection,
                Err(error) if is_busy(&error) && Instant::now() < deadline => tokio::time::sleep(BETWEEN_TRIES).await,
                Err(error) => return Err(self.error(&error)),
            }
        };
        self.suits(&mut connection).await?;
        Ok(connection)
    }

    /// Checks that the file is the framework's, or can become so, and that its journal makes commits durable.
    async fn suits(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        let looked = sqlx::query(SUITS).fetch_all(connection).await.map_err(|error| self.error(&error))?;
        let (mode, application, known): (String, i64, bool) = match looked.first() {
            Some(row) => (row.get(0), row.get(1), row.get(2)),
            None => return Ok(()),
        };
        if !mode.eq_ignore_ascii_case("wal") {
            return Err(StoreError::Refused(format!(
                "{}: its journal stays `{mode}` and cannot be set to WAL, as on a network's file system; put the file on a disk of this machine",
                self.name
            )));
        }
        if application != 0 && !known {
            return Err(StoreError::Incompatible(format!(
                "{}: it is the file of another program, by its application_id {application:#x}; name another file, or, if it is the \
                 service's own, set `PRAGMA application_id = 0` in it",
                self.name
            )));
        }
        Ok(())
    }

    async fn establish(&self, options: SqliteConnectOptions, guard: &Arc<Guard>) -> sqlx::Result<SqliteConnection> {
        let mut connection = options.connect().await?;
        // A file that cannot be written opens without an error, for reading. This statement fails for it.
        sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&mut connection).await?;
        // From here on, sqlx counts one open transaction, so a transaction that user code begins is a savepoint.
        <sqlx::Sqlite as sqlx::Database>::TransactionManager::begin(&mut connection, None).await?;
        sqlx::raw_sql("ROLLBACK").execute(&mut connection).await?;
        {
            let mut handle = connection.lock_handle().await?;
            let hooked = Arc::clone(guard);
            handle.set_commit_hook(move || hooked.may_commit());
            let hooked = Arc::clone(guard);
            handle.set_rollback_hook(move || hooked.lost.store(true, Ordering::Release));
            let hooked = Arc::clone(guard);
            handle.set_progress_handler(STEPS, move || !hooked.interrupt.load(Ordering::Acquire));
        }
        Ok(connection)
    }

    /// Returns the pool of connections for reading. It opens them when they are needed.
    pub(super) fn readers(&self) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(self.options.readers)
            .acquire_timeout(self.options.begin_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(self.base().pragma("query_only", "ON"))
    }
}
