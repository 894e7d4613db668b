//! Opening connections: the writer's, with what guards its transactions, and the readers'.

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

use super::{
    super::{StoreError, sql_errors::store_error},
    options::{Access, Place, SqliteOptions},
    place::Location,
    reading::Reading,
};
use crate::sqlite::{Trim, log_bytes};

/// How many prepared statements a connection keeps: the framework's in all their sizes, and the service's.
const STATEMENTS: usize = 500;

/// How many steps of its machine SQLite takes before it asks whether to go on: some tens of microseconds.
const STEPS: i32 = 10_000;

/// How the file keeps its journal, whose it says it is, and whether the framework's tables are there.
const SUITS: &str = "SELECT journal_mode, application_id,
    EXISTS (SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'sagas_migrations')
    FROM pragma_journal_mode, pragma_application_id";

/// How the connections to one database are opened.
#[derive(Debug)]
pub(super) struct Connector {
    location: Location,
    /// What the database is called in errors.
    pub(super) name: String,
    options: SqliteOptions,
    /// Only of a file that is only read.
    reading: Option<Reading>,
}

/// What SQLite's hooks say of the writer's transaction, and whether it may commit.
///
/// Several errors (a full disk, for one) make SQLite roll back the whole transaction; statements after that would each commit
/// by itself. Only [`Guard::committing`] lets a commit through, so whatever else would commit is rolled back: such a statement,
/// or a `COMMIT` among the user's own.
#[derive(Debug, Default)]
pub(super) struct Guard {
    armed: AtomicBool,
    lost: AtomicBool,
    /// What ended the transaction was a `COMMIT` that was not ours.
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

    /// Whether a `COMMIT` among the user's own statements did that.
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

    /// Whether the statement that is running is to be broken off.
    pub(super) fn interrupting(&self, yes: bool) {
        self.interrupt.store(yes, Ordering::Release);
    }

    /// Commits that SQLite has made.
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

    /// Of a file that is there and that is only read.
    pub(super) async fn read_only(options: SqliteOptions) -> Result<Self, StoreError> {
        let location = Location::existing(&options.place).await?;
        let name = location.file().display().to_string();
        let reading = Reading::of(location.file()).await.map_err(|error| {
            StoreError::Unavailable(format!("{name}: the file cannot be looked at ({error}); check its permissions"))
        })?;
        Ok(Self { name, location, options, reading: Some(reading) })
    }

    /// That what was read just now is what the file says.
    pub(super) async fn undisturbed(&self) -> Result<(), StoreError> {
        match &self.reading {
            Some(reading) if reading.was_disturbed(self.location.file()).await => {
                Err(StoreError::Contended(format!("{}: a program has opened it while it was read; read it again", self.name)))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn patience(&self) -> Duration {
        self.options.begin_timeout
    }

    pub(super) fn group_window(&self) -> Duration {
        self.options.group_window
    }

    /// How large the write-ahead log may be, in bytes.
    pub(super) fn log_limit(&self) -> u64 {
        u64::from(self.options.log_mib) << 20
    }

    /// How large it is.
    pub(super) async fn log_bytes(&self) -> u64 {
        log_bytes(self.location.file()).await
    }

    /// What the writer does about it.
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
            // After a large transaction the log is cut back to this.
            .pragma("journal_size_limit", self.log_limit().to_string())
            .pragma("cache_size", format!("-{}", u64::from(self.options.cache_mib) * 1024))
            .read_only(self.reading.is_some())
            .immutable(matches!(self.reading, Some(Reading::AtRest { .. })))
            .disable_statement_logging()
    }

    /// The connection that writes.
    pub(super) async fn writer(&self, guard: &Arc<Guard>) -> Result<SqliteConnection, StoreError> {
        let options = self.base().create_if_missing(true).journal_mode(SqliteJournalMode::Wal);
        // What is gone with the process needs no disk to be waited for.
        let private = self.options.place == Place::Private;
        let options = options.synchronous(if private { SqliteSynchronous::Off } else { SqliteSynchronous::Full });
        let mut connection = self.establish(options, guard).await.map_err(|error| self.error(&error))?;
        self.suits(&mut connection).await?;
        Ok(connection)
    }

    /// That the file is ours, or may become so, and takes the settings that make its commits last.
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
        // A file that cannot be written opens all the same, for reading.
        sqlx::raw_sql("BEGIN IMMEDIATE; ROLLBACK").execute(&mut connection).await?;
        // From here on sqlx believes that a transaction is open, so that one which user code begins is a savepoint in ours.
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

    /// The connections that read. None is opened yet.
    pub(super) fn readers(&self) -> SqlitePool {
        SqlitePoolOptions::new()
            .max_connections(self.options.readers)
            .acquire_timeout(self.options.begin_timeout)
            .test_before_acquire(false)
            .connect_lazy_with(self.base().pragma("query_only", "ON"))
    }
}
