//! SQL through the port: native connections, and [`Tx`] and [`Database`] as executors of `sqlx::Any`.
//!
//! `sqlx::Any` is what lets one statement run on every database a service can be given. Its own connection type cannot be
//! turned back into the native one, so the native connection is what is kept here, and the statements of `Any` go to its
//! [`AnyConnectionBackend`].
//!
//! The feature `macros` of sqlx adds a method to `Executor`, `describe`. A service that uses `query!` turns it on for the whole
//! build, so this crate asks for it always: the trait is the same in every build.

use futures_core::{future::BoxFuture, stream::BoxStream};
use futures_util::{StreamExt, TryStreamExt, future, stream};
use sqlx::{
    Any, Either, Error, Execute, Executor, SqlStr,
    any::{AnyQueryResult, AnyRow, AnyStatement, AnyTypeInfo},
    pool::PoolConnection,
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
    /// SQLite's.
    #[cfg(feature = "sqlite")]
    Sqlite(&'c mut SqliteConnection),
    /// PostgreSQL's.
    #[cfg(feature = "postgres")]
    Postgres(&'c mut PgConnection),
}

/// A connection for reading. It goes back to its pool when it is dropped.
#[derive(Debug)]
#[non_exhaustive]
pub enum SqlReader {
    /// SQLite's.
    #[cfg(feature = "sqlite")]
    Sqlite(PoolConnection<Sqlite>),
    /// PostgreSQL's.
    #[cfg(feature = "postgres")]
    Postgres(PoolConnection<Postgres>),
}

impl<'c> SqlConnection<'c> {
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

    /// What a statement on it came to. A connection that is of no use any more does not go back to its pool.
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
    /// The native connection of the transaction, for what `sqlx::Any` cannot do.
    ///
    /// # Errors
    /// When the store speaks no SQL, or the transaction is broken.
    pub async fn connection(&mut self) -> Result<SqlConnection<'_>, StoreError> {
        self.store().await?.sql().ok_or_else(no_sql)
    }

    /// SQLite's connection, for a service that lives on SQLite: `sqlx::query!` and its types work on it.
    ///
    /// # Errors
    /// When the database is another one, or the transaction is broken.
    #[cfg(feature = "sqlite")]
    pub async fn sqlite(&mut self) -> Result<&mut SqliteConnection, StoreError> {
        match self.connection().await? {
            SqlConnection::Sqlite(connection) => Ok(connection),
            #[cfg(feature = "postgres")]
            SqlConnection::Postgres(_) => Err(another_database("SQLite")),
        }
    }

    /// PostgreSQL's connection, for a service that lives on PostgreSQL: `sqlx::query!` and its types work on it.
    ///
    /// # Errors
    /// When the database is another one, or the transaction is broken.
    #[cfg(feature = "postgres")]
    pub async fn postgres(&mut self) -> Result<&mut PgConnection, StoreError> {
        match self.connection().await? {
            SqlConnection::Postgres(connection) => Ok(connection),
            #[cfg(feature = "sqlite")]
            SqlConnection::Sqlite(_) => Err(another_database("PostgreSQL")),
        }
    }
}

impl Database {
    /// A connection for reading outside a transaction, for what `sqlx::Any` cannot do. It sees what has been committed.
    ///
    /// # Errors
    /// When the store speaks no SQL, or none of its connections is free within its patience.
    pub async fn reader(&self) -> Result<SqlReader, StoreError> {
        self.store().reader().await?.ok_or_else(no_sql)
    }
}

/// The parts of a statement, taken apart before anything is awaited.
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

/// Reads outside a transaction: each statement sees what has been committed. Writing is refused; that needs a transaction.
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
