//! SQL through the port: native connections, and [`Tx`] and [`Database`] as executors of `sqlx::Any`.
//!
//! With `sqlx::Any`, one statement runs on every database that a service can be given. An `AnyConnection` cannot be converted back into the
//! native connection, so this module keeps the native one and passes the statements of `Any` to its [`AnyConnectionBackend`].
//!
//! sqlx's feature `macros` adds the method `describe` to `Executor`. A service that uses `query!` enables it for the whole build. This
//! crate always enables it, so that the trait is the same in every build.

use futures_core::{future::BoxFuture, stream::BoxStream};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use sqlx::{
    Any, AssertSqlSafe, Either, Error, Execute, Executor, SqlStr,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    pool::PoolConnection,
    query::Query,
};
#[cfg(feature = "postgres")]
use sqlx::{PgConnection, Postgres};
#[cfg(feature = "sqlite")]
use sqlx::{Sqlite, SqliteConnection};
use sqlx_core::{
    any::{AnyArguments, AnyConnectionBackend},
    describe::Describe,
};

use super::{Database, StoreError, Tx, sql_ending};

/// The native connection of a transaction.
#[derive(Debug)]
#[non_exhaustive]
pub enum SqlConnection<'c> {
    /// A connection of SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(&'c mut SqliteConnection),
    /// A connection of PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(&'c mut PgConnection),
}

/// A connection for reading. It returns to its pool when it is dropped.
#[derive(Debug)]
#[non_exhaustive]
pub enum SqlReader {
    /// A connection of SQLite.
    #[cfg(feature = "sqlite")]
    Sqlite(PoolConnection<Sqlite>),
    /// A connection of PostgreSQL.
    #[cfg(feature = "postgres")]
    Postgres(PoolConnection<Postgres>),
}

#[cfg(feature = "sqlite")]
impl<'c> From<&'c mut SqliteConnection> for SqlConnection<'c> {
    fn from(connection: &'c mut SqliteConnection) -> Self {
        Self::Sqlite(connection)
    }
}

#[cfg(feature = "sqlite")]
impl<'c> From<&'c mut sqlx::Transaction<'_, Sqlite>> for SqlConnection<'c> {
    fn from(transaction: &'c mut sqlx::Transaction<'_, Sqlite>) -> Self {
        Self::Sqlite(transaction)
    }
}

#[cfg(feature = "postgres")]
impl<'c> From<&'c mut PgConnection> for SqlConnection<'c> {
    fn from(connection: &'c mut PgConnection) -> Self {
        Self::Postgres(connection)
    }
}

#[cfg(feature = "postgres")]
impl<'c> From<&'c mut sqlx::Transaction<'_, Postgres>> for SqlConnection<'c> {
    fn from(transaction: &'c mut sqlx::Transaction<'_, Postgres>) -> Self {
        Self::Postgres(transaction)
    }
}

/// A connection on which a transaction can be open: a `&mut` connection or transaction of sqlx.
#[diagnostic::on_unimplemented(
    message = "no transaction is open on `{Self}`",
    label = "not a transaction of PostgreSQL or SQLite",
    note = "pass `&mut tx` of `let mut tx = pool.begin().await?`, or the `&mut PgConnection` or `&mut SqliteConnection` that it is open on",
    note = "what the framework has begun publishes by itself: `tx.publish(&event)`, `work.publish(&event)`"
)]
pub trait IntoSqlConnection<'c> {
    /// Returns the connection.
    fn into_sql_connection(self) -> SqlConnection<'c>;
}

#[diagnostic::do_not_recommend]
impl<'c, C: Into<SqlConnection<'c>>> IntoSqlConnection<'c> for C {
    fn into_sql_connection(self) -> SqlConnection<'c> {
        self.into()
    }
}

impl<'c> SqlConnection<'c> {
    /// Returns the connection of SQLite.
    #[cfg(feature = "sqlite")]
    pub(super) fn sqlite(self) -> Result<&'c mut SqliteConnection, StoreError> {
        match self {
            Self::Sqlite(connection) => Ok(connection),
            #[cfg(feature = "postgres")]
            Self::Postgres(_) => Err(another_database("SQLite")),
        }
    }

    /// Returns the connection of PostgreSQL.
    #[cfg(feature = "postgres")]
    pub(super) fn postgres(self) -> Result<&'c mut PgConnection, StoreError> {
        match self {
            Self::Postgres(connection) => Ok(connection),
            #[cfg(feature = "sqlite")]
            Self::Sqlite(_) => Err(another_database("PostgreSQL")),
        }
    }

    fn backend(self) -> &'c mut dyn AnyConnectionBackend {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => connection,
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => connection,
        }
    }
}

impl SqlReader {
    fn backend(&mut self) -> &mut dyn AnyConnectionBackend {
        match self {
            #[cfg(feature = "sqlite")]
            Self::Sqlite(connection) => &mut **connection,
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) => &mut **connection,
        }
    }

    /// Ends the use of this connection and returns the result of its statement. A lost connection does not return to its pool.
    fn ended<T>(self, answer: Result<T, Error>) -> Result<T, Error> {
        match self {
            #[cfg(feature = "postgres")]
            Self::Postgres(connection) if answer.as_ref().is_err_and(super::postgres::is_lost) => drop(connection.detach()),
            _ => {}
        }
        answer
    }
}

fn no_sql() -> StoreError {
    StoreError::Refused(
        "this store speaks no SQL; open the service's database by a URL that begins with `sqlite:` or `postgres:`".into(),
    )
}

#[cfg(all(feature = "sqlite", feature = "postgres"))]
fn another_database(asked: &str) -> StoreError {
    StoreError::Refused(format!(
        "the service's database is not {asked}; take the connection that it is, or use `Tx` as an executor"
    ))
}

impl From<StoreError> for Error {
    fn from(error: StoreError) -> Self {
        Self::Configuration(Box::new(error))
    }
}

impl Tx {
    /// Returns the native connection of the transaction, for what `sqlx::Any` cannot do.
    ///
    /// # Errors
    /// When the store does not support SQL, or when the transaction is broken.
    pub async fn connection(&mut self) -> Result<SqlConnection<'_>, StoreError> {
        self.store().await?.sql().ok_or_else(no_sql)
    }

    /// Returns the connection of SQLite, for a service that uses only SQLite. `sqlx::query!` and SQLite's types work on it.
    ///
    /// # Errors
    /// When the database is not SQLite, or when the transaction is broken.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        self.connection().await?.sqlite()
    }

    /// Returns the connection of PostgreSQL, for a service that uses only PostgreSQL. `sqlx::query!` and PostgreSQL's types work on it.
    ///
    /// # Errors
    /// When the database is not PostgreSQL, or when the transaction is broken.
    #[cfg(feature = "postgres")]
    pub async fn postgres(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.connection().await?.postgres()
    }

    /// Runs `select` and locks the rows that it returns until the transaction ends, so that no other transaction changes them.
    ///
    /// ```
    /// # use saga_core::store::Tx;
    /// # async fn read(tx: &mut Tx, order_id: &str) -> Result<(), sqlx::Error> {
    /// let select = sqlx::query("SELECT status FROM orders WHERE order_id = $1").bind(order_id);
    /// let rows = tx.select_for_update(select).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// On PostgreSQL, ` FOR UPDATE` is appended to the statement: it waits for other transactions that have locked or changed the rows. On
    /// SQLite, which has one writer at a time, the transaction already excludes other writers.
    ///
    /// # Errors
    /// The errors of the statement, which includes one that PostgreSQL cannot lock the rows of, such as a statement with `GROUP BY`.
    pub async fn select_for_update(&mut self, mut select: Query<'_, Any, AnyArguments>) -> Result<Vec<AnyRow>, Error> {
        let arguments = select.take_arguments().map_err(Error::Encode)?.unwrap_or_default();
        let text = select.sql();
        let statement = match self.connection().await? {
            #[cfg(feature = "postgres")]
            SqlConnection::Postgres(_) => {
                format!("{} FOR UPDATE", text.as_str().trim_end_matches(|c: char| c == ';' || c.is_whitespace()))
            }
            #[cfg(feature = "sqlite")]
            SqlConnection::Sqlite(_) => text.as_str().to_owned(),
        };
        sqlx::query_with(AssertSqlSafe(statement), arguments).fetch_all(self).await
    }
}

impl Database {
    /// Returns a connection for reading outside a transaction, for what `sqlx::Any` cannot do. It sees committed data.
    ///
    /// # Errors
    /// When the store does not support SQL, or when no connection becomes free within the time that the store waits.
    pub async fn reader(&self) -> Result<SqlReader, StoreError> {
        self.store().reader().await?.ok_or_else(no_sql)
    }
}

/// The parts of a statement, extracted before the first `await`.
struct Parts {
    sql: SqlStr,
    persistent: bool,
    arguments: Option<AnyArguments>,
}

impl Parts {
    fn of<'q>(mut query: impl Execute<'q, Any>) -> Result<Self, Error> {
        let arguments = query.take_arguments().map_err(Error::Encode)?;
        let persistent = query.persistent();
        Ok(Self { sql: query.sql(), persistent, arguments })
    }

    fn of_a_transaction<'q>(query: impl Execute<'q, Any>) -> Result<Self, Error> {
        let parts = Self::of(query)?;
        sql_ending::refuse(parts.sql.as_str())?;
        Ok(parts)
    }
}

type Rows<'e> = BoxStream<'e, Result<Either<AnyQueryResult, AnyRow>, Error>>;

/// Runs a handler's statements in its transaction.
impl<'c> Executor<'c> for &'c mut Tx {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let parts = match Parts::of_a_transaction(query) {
            Ok(parts) => parts,
            Err(error) => return stream::once(future::ready(Err(error))).boxed(),
        };
        stream::once(async move {
            let backend = self.connection().await?.backend();
            Ok::<_, Error>(backend.fetch_many(parts.sql, parts.persistent, parts.arguments))
        })
        .try_flatten()
        .boxed()
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let parts = Parts::of_a_transaction(query);
        Box::pin(async move {
            let parts = parts?;
            self.connection().await?.backend().fetch_optional(parts.sql, parts.persistent, parts.arguments).await
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.connection().await?.backend().prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.connection().await?.backend().describe(sql).await })
    }
}

/// Reads outside a transaction. Each statement sees committed data. Statements that write are refused; they need a transaction.
impl<'c> Executor<'c> for &'c Database {
    type Database = Any;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> Rows<'e>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let parts = Parts::of(query);
        Box::pin(sqlx_core::try_stream! {
            let parts = parts?;
            let mut reader = self.reader().await?;
            let mut rows = reader.backend().fetch_many(parts.sql, parts.persistent, parts.arguments);
            let ended = loop {
                match rows.try_next().await {
                    Ok(Some(row)) => r#yield!(row),
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(error),
                }
            };
            drop(rows);
            reader.ended(ended)
        })
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<AnyRow>, Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Any>,
    {
        let parts = Parts::of(query);
        Box::pin(async move {
            let parts = parts?;
            let mut reader = self.reader().await?;
            let row = reader.backend().fetch_optional(parts.sql, parts.persistent, parts.arguments).await;
            reader.ended(row)
        })
    }

    fn prepare_with<'e>(self, sql: SqlStr, parameters: &'e [AnyTypeInfo]) -> BoxFuture<'e, Result<AnyStatement, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.reader().await?.backend().prepare_with(sql, parameters).await })
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Any>, Error>>
    where
        'c: 'e,
    {
        Box::pin(async move { self.reader().await?.backend().describe(sql).await })
    }
}
