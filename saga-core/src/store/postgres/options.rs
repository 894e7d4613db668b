//! Where a database is and how it is used.

use std::time::Duration;

use sqlx::postgres::PgConnectOptions;

use super::super::StoreError;

/// Where a PostgreSQL database is, in which of its schemas a service lives, and how it is used.
///
/// ```
/// # use saga_core::store::postgres::PostgresOptions;
/// # use std::time::Duration;
/// let options: PostgresOptions = "postgres://shop:secret@db.internal/shop?schema=inventory&pool=8".parse()?;
/// let options = options.begin_timeout(Duration::from_secs(2)).application_name("inventory");
/// # Ok::<(), saga_core::store::StoreError>(())
/// ```
#[derive(Clone)]
pub struct PostgresOptions {
    pub(super) connect: PgConnectOptions,
    pub(super) schema: String,
    /// Whether the schema was said, or is the one that is there when nothing is said.
    pub(super) schema_is_named: bool,
    pub(super) pool: u32,
    pub(super) begin_timeout: Duration,
    pub(super) answer_timeout: Duration,
    pub(super) lock_timeout: Duration,
    pub(super) idle_transaction_timeout: Duration,
    pub(super) application_name: Option<String>,
    /// Nothing is to be written.
    pub(super) read_only: bool,
}

impl PostgresOptions {
    /// The database that `connect` leads to.
    pub fn new(connect: PgConnectOptions) -> Self {
        Self {
            // Servers since PostgreSQL 12 need it no more, and poolers refuse it.
            connect: connect.extra_float_digits(None),
            schema: "public".into(),
            schema_is_named: false,
            pool: 8,
            begin_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(30),
            lock_timeout: Duration::from_secs(4),
            idle_transaction_timeout: Duration::from_secs(30),
            application_name: None,
            read_only: false,
        }
    }

    /// The schema in which the service's tables and the framework's are, made when it is missing. Every service has one of its
    /// own. What is not found there is looked for in `public`, where extensions are. `public`.
    ///
    /// # Errors
    /// When PostgreSQL takes no such name.
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

    /// Connections; at least 2. A quarter of them, and one at least, is kept for reading. Besides them there are two for what
    /// the instances of a service tell each other, and one for each service that listens. 8.
    #[must_use]
    pub fn pool(mut self, connections: u32) -> Self {
        self.pool = connections.max(2);
        self
    }

    /// How long beginning a transaction, or getting a connection for reading, may wait. 5 s.
    #[must_use]
    pub fn begin_timeout(mut self, timeout: Duration) -> Self {
        self.begin_timeout = timeout;
        self
    }

    /// How long the server may take to answer one of the framework's own statements, a commit included, before the connection
    /// is given up: what bounds the wait for a server that is gone without a word. 30 s.
    #[must_use]
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.answer_timeout = timeout;
        self
    }

    /// How long a statement waits for a row that another transaction holds: `lock_timeout`. 4 s, so that a request is still answered in time.
    #[must_use]
    pub fn lock_timeout(mut self, timeout: Duration) -> Self {
        self.lock_timeout = timeout;
        self
    }

    /// After how long the server ends a transaction in which nothing happens: `idle_in_transaction_session_timeout`. A process
    /// that stands still lets go of its rows then. It has to be longer than a handler with a `Tx` waits between two
    /// statements. 30 s.
    #[must_use]
    pub fn idle_transaction_timeout(mut self, timeout: Duration) -> Self {
        self.idle_transaction_timeout = timeout;
        self
    }

    /// What the server's views call these connections. What the URL says as `application_name`, or the schema.
    #[must_use]
    pub fn application_name(mut self, name: impl Into<String>) -> Self {
        self.application_name = Some(name.into());
        self
    }

    /// How a connection to the database is made, for whoever opens one beside the store: the same server, database, user and
    /// password, read from the same URL. The schema, and what else a store sets for its sessions, is not set.
    pub fn connect_options(&self) -> PgConnectOptions {
        let connect = self.connect.clone();
        match &self.application_name {
            Some(name) => connect.application_name(name),
            None => connect,
        }
    }

    /// Whether a schema was named, in the URL or by [`schema`](Self::schema).
    pub fn names_a_schema(&self) -> bool {
        self.schema_is_named
    }

    /// What the database is called in errors.
    pub(super) fn place(&self) -> String {
        format!("{}, schema `{}`", self.server(), self.schema)
    }

    /// Where the database is, for people: without the schema, the user and the password.
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

/// Without the password.
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
