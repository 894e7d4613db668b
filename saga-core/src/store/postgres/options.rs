//! The location and the settings of a PostgreSQL database.

use std::time::Duration;

use sqlx::{PgPool, postgres::PgConnectOptions};

use super::super::{Migrate, StoreError};

/// The smallest number of connections with which a service works.
pub(super) const LEAST: u32 = 5;

/// The location of a PostgreSQL database, the schema of a service in it, and the settings of the store.
///
/// ```
/// # use saga_core::store::postgres::PostgresOptions;
/// # use std::time::Duration;
/// let options: PostgresOptions = "postgres://shop:secret@db.internal/shop?schema=inventory&pool=12".parse()?;
/// let options = options.begin_timeout(Duration::from_secs(2)).application_name("inventory");
/// # Ok::<(), saga_core::store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) connect: PgConnectOptions,
    pub(super) schema: String,
    /// Whether the schema was given. If not, it is the default.
    pub(super) schema_is_named: bool,
    pub(super) pool: u32,
    pub(super) begin_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) lock_timeout: Duration,
    pub(super) idle_transaction_timeout: Duration,
    pub(super) application_name: Option<String>,
    pub(super) migrate: Migrate,
    /// The store refuses writes.
    pub(super) read_only: bool,
    /// The pool of an existing program, whose `search_path` is checked when the store is opened.
    pub(super) program: Option<PgPool>,
}

impl PostgresOptions {
    /// The database of the connection options `connect`.
    pub fn new(connect: PgConnectOptions) -> Self {
        Self {
            // Servers since PostgreSQL 12 do not need this parameter, and poolers refuse it.
            connect: connect.extra_float_digits(None),
            schema: "public".into(),
            schema_is_named: false,
            pool: 12,
            begin_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(4),
            idle_transaction_timeout: Duration::from_secs(30),
            application_name: None,
            migrate: Migrate::Apply,
            read_only: false,
            program: None,
        }
    }

    /// The database of an existing program's pool, with its user, password and TLS. The service opens its own connections, at most
    /// [`pool`](Self::pool), because it changes the settings of their sessions.
    ///
    /// The program's statements have to find its own tables as before. Opening the database therefore reads the `search_path` of a
    /// connection of this pool. It is refused if the [`schema`](Self::schema) has the name of the pool's user and the path is the default
    /// of PostgreSQL, `"$user", public`: the schema would come before `public`, where the program's tables are.
    pub fn from_pool(pool: &PgPool) -> Self {
        Self { program: Some(pool.clone()), ..Self::new(PgConnectOptions::clone(&pool.connect_options())) }
    }

    /// The schema of the service's tables and the framework's tables. It is created if it does not exist. Give each service its own schema.
    /// If services share one, the rows of the framework's tables contain the name of the service. The `search_path` of the connections is
    /// this schema and then `public`, for extensions. Default: `public`.
    ///
    /// # Errors
    /// When PostgreSQL does not accept the name.
    pub fn schema(mut self, schema: impl Into<String>) -> Result<Self, StoreError> {
        let schema = schema.into();
        let fits = !schema.is_empty() && schema.len() <= 63 && !schema.contains('\0');
        if !fits || schema.starts_with("pg_") || schema == "information_schema" {
            return Err(StoreError::Refused(format!(
                "`{}` is no name for a schema; it has 1 to 63 bytes and does not begin with `pg_`",
                schema.escape_debug()
            )));
        }
        (self.schema, self.schema_is_named) = (schema, true);
        Ok(self)
    }

    /// The largest number of connections of a service. Minimum: 5. Two connections are for the coordination of the service's processes, and
    /// one is for `LISTEN`. Of the others, one quarter, but at least one, is for reading, and the rest is for transactions. Connections are
    /// opened when they are needed. If several services share one store, each has its own connection for `LISTEN`. Default: 12.
    #[must_use]
    pub fn pool(mut self, connections: u32) -> Self {
        self.pool = connections.max(LEAST);
        self
    }

    /// What to do with migrations that have not run. Default: [`Migrate::Apply`].
    #[must_use]
    pub fn migrate(mut self, migrate: Migrate) -> Self {
        self.migrate = migrate;
        self
    }

    /// How long the store waits to begin a transaction, or for a connection for reading. Default: 5 s.
    #[must_use]
    pub fn begin_timeout(mut self, timeout: Duration) -> Self {
        self.begin_timeout = timeout;
        self
    }

    /// How long the store waits for the server's response to one of the framework's own statements, a commit included, before it closes the
    /// connection. This bounds the wait for a server that has failed without closing the connection. Default: 30 s.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// How long a statement waits for a row that another transaction has locked: `lock_timeout`. Default: 4 s, so that the error still
    /// arrives within the timeout of a request.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// After how long the server ends a transaction that is idle: `idle_in_transaction_session_timeout`. This releases the locks of a
    /// process that is frozen. It must be longer than the longest pause between two statements of a handler with a `Tx`. Default: 30 s.
    #[must_use]
    pub fn idle_transaction_timeout(mut self, timeout: Duration) -> Self {
        self.idle_transaction_timeout = timeout;
        self
    }

    /// The name of these connections in the server's views. Default: the `application_name` of the URL, or the schema.
    #[must_use]
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = Some(name.into());
        self
    }

    /// Returns options for connections outside the store: the same server, database, user and password. They do not contain the schema or
    /// the session settings of the store.
    pub fn connect_options(&self) -> PgConnectOptions {
        let connect = self.connect.clone();
        match &self.application_name {
            Some(name) => connect.application_name(name),
            None => connect,
        }
    }

    /// Whether a schema was given, in the URL or by [`schema`](Self::schema).
    pub fn names_a_schema(&self) -> bool {
        self.schema_is_named
    }

    /// Returns the name of the database in errors.
    pub(super) fn place(&self) -> String {
        format!("{}, schema `{}`", self.server(), self.schema)
    }

    /// Returns the location of the database for display: without the schema, the user and the password.
    pub fn server(&self) -> String {
        let user = self.connect.get_username();
        let database = self.connect.get_database().unwrap_or(user);
        let host = match self.connect.get_socket() {
            Some(socket) => socket.display().to_string(),
            None if self.connect.get_host().contains(':') => format!("[{}]:{}", self.connect.get_host(), self.connect.get_port()),
            None => format!("{}:{}", self.connect.get_host(), self.connect.get_port()),
        };
        format!("PostgreSQL at {host}, database `{database}`")
    }
}

/// Does not contain the password.
impl std::fmt::Debug for PostgresOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresOptions")
            .field("place", &self.place())
            .field("pool", &self.pool)
            .field("begin_timeout", &self.begin_timeout)
            .field("answer_timeout", &self.answer_timeout)
            .field("lock_timeout", &self.lock_timeout)
            .field("idle_transaction_timeout", &self.idle_transaction_timeout)
            .finish_non_exhaustive()
    }
}
