//! Opens, tests and closes connections.
//!
//! There are three pools: for transactions, for reading, and for the coordination of the service's processes. So when all connections for
//! transactions are in use, the store can still check its health and renew the leases of the outbox.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool, Postgres, pool::PoolConnection, postgres::PgPoolOptions};
use tokio::time::{Instant, error::Elapsed, timeout, timeout_at};

use super::{
    super::{
        Advice, StoreError,
        sql_errors::{Failed, store_error},
    },
    bounds::Bounds,
    errors::is_lost,
    options::{LEAST, PostgresOptions},
    session::{GRACE, Purpose, Session},
};

/// The connections that are neither for transactions nor for reading: two for the coordination of processes, and one for `LISTEN`.
pub(super) const ASIDE: u32 = 3;

/// How long to wait for a connection when testing whether transactions can begin.
const TURN: Duration = Duration::from_secs(1);
/// How long no transaction could begin before [`Connector::starving`] reports it.
const STARVED: Duration = Duration::from_secs(10);

/// Opens the connections to one database.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) options: PostgresOptions,
    /// The name of the database in errors.
    pub(super) name: String,
    pub(super) bounds: Bounds,
    /// Restores the sessions of connections for transactions.
    pub(super) session: Arc<Session>,
    units: PgPool,
    readers: PgPool,
    sharers: PgPool,
    refusal: Arc<Refusal>,
    /// The error of the last connection that was opened outside the pools, and its time. Only one is opened at a time.
    tried: tokio::sync::Mutex<Option<(Instant, StoreError)>>,
    /// Since when no transaction could begin.
    starving_since: Mutex<Option<Instant>>,
}

/// Why the last new connection could not be used. The pool then opens another one until its timeout, and its own error does not contain the
/// reason.
#[derive(Debug)]
struct Refusal {
    name: String,
    last: Mutex<Option<StoreError>>,
}

impl Refusal {
    fn learn(&self, established: &sqlx::Result<()>) {
        let refused = established.as_ref().err().map(|error| match error {
            sqlx::Error::Configuration(_) => store_error(&self.name, error).at(&self.name),
            error => store_error(&self.name, error),
        });
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = refused;
    }

    fn last(&self) -> Option<StoreError> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Connector {
    /// Creates the pools. No connection is opened yet.
    pub(super) fn new(options: PostgresOptions) -> Self {
        let work = options.pool.max(LEAST) - ASIDE;
        let readers = (work / 4).max(1);
        let refusal = Arc::new(Refusal { name: options.place(), last: Mutex::default() });
        let session = Arc::new(Session::new(&options, Purpose::Transactions));
        Self {
            name: options.place(),
            bounds: Bounds::new(&options.schema),
            units: pool(&options, work - readers, &session, &refusal),
            readers: pool(&options, readers, &Arc::new(Session::new(&options, Purpose::Reading)), &refusal),
            sharers: pool(&options, 2, &Arc::new(Session::new(&options, Purpose::Sharing)), &refusal),
            session,
            refusal,
            tried: tokio::sync::Mutex::default(),
            starving_since: Mutex::default(),
            // A handle to it would keep its connections.
            options: PostgresOptions { program: None, ..options },
        }
    }

    pub(super) fn error(&self, error: &sqlx::Error) -> StoreError {
        store_error(&self.name, error)
    }

    /// Returns a connection for a transaction, on which `first` has been run.
    pub(super) async fn transaction(&self, first: &Arc<str>) -> Result<Held, StoreError> {
        let attempts = Attempts::new(self, &self.units);
        loop {
            let mut held = attempts.connection().await?;
            let answer =
                timeout(self.options.answer_timeout, held.connection()?.execute(sqlx::raw_sql(AssertSqlSafe(Arc::clone(first)))))
                    .await;
            match attempts.weigh(answer.map(|result| result.map_err(Failed::Sql))) {
                Some(result) => return result.map(|_| held),
                None => drop(held),
            }
        }
    }

    /// Returns a connection for reading that responds.
    pub(super) async fn reader(&self) -> Result<PoolConnection<Postgres>, StoreError> {
        let attempts = self.reading();
        loop {
            let mut held = attempts.connection().await?;
            let answer = timeout(self.options.answer_timeout, held.connection()?.ping()).await;
            match attempts.weigh(answer.map(|result| result.map_err(Failed::Sql))) {
                Some(result) => return result.and_then(|()| held.0.take().ok_or_else(ended)),
                None => drop(held),
            }
        }
    }

    /// Attempts to use a connection for transactions.
    pub(super) fn transacting(&self) -> Attempts<'_> {
        Attempts::new(self, &self.units)
    }

    /// Reports that no transaction could begin for a long time: all connections are in use, and none became free.
    pub(super) async fn starving(&self) -> Option<Advice> {
        let most = self.units.options().get_max_connections();
        let full = self.units.size() >= most && self.units.num_idle() == 0;
        // This waits in the queue like the transactions: while they make progress, it receives a connection.
        let starving = full && timeout(TURN, self.units.acquire()).await.is_err();
        let since = {
            let mut since = self.starving_since.lock().unwrap_or_else(PoisonError::into_inner);
            *since = starving.then(|| since.unwrap_or_else(Instant::now));
            (*since)?
        };
        (since.elapsed() >= STARVED).then(|| Advice {
            condition: "database_pool",
            subject: "pool".to_owned(),
            critical: true,
            detail: format!(
                "{}: all {most} connections for transactions have been in use for {} s, and none became free; see that no handler keeps \
                 a transaction across a wait, or raise `pool`",
                self.name,
                since.elapsed().as_secs()
            ),
        })
    }

    /// Attempts to use a connection for reading.
    pub(super) fn reading(&self) -> Attempts<'_> {
        Attempts::new(self, &self.readers)
    }

    /// Attempts to use a connection for the coordination of processes.
    pub(super) fn sharing(&self) -> Attempts<'_> {
        Attempts::new(self, &self.sharers)
    }

    /// A separate connection for `LISTEN`, as a pool that is closed with its listener.
    pub(super) fn listener(&self) -> PgPool {
        pool(&self.options, 1, &Arc::new(Session::new(&self.options, Purpose::Sharing)), &self.refusal)
    }

    /// Checks that the database was not opened for reading only.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        match self.options.read_only {
            true => Err(StoreError::Refused(format!("{}: it was opened for reading only", self.name))),
            false => Ok(()),
        }
    }

    /// The error for a server that did not respond in time.
    pub(super) fn no_answer(&self) -> StoreError {
        let limit = self.options.answer_timeout.as_millis();
        StoreError::Unavailable(format!("{}: no answer within {limit} ms", self.name))
    }

    /// Returns the reason why `pool` returned no connection.
    async fn not_acquired(&self, pool: &PgPool, error: sqlx::Error) -> StoreError {
        if !matches!(error, sqlx::Error::PoolTimedOut) {
            return self.error(&error);
        }
        let (name, limit, most) = (&self.name, self.options.begin_timeout.as_millis(), pool.options().get_max_connections());
        let full = pool.size() >= most;
        if let Some(error) = self.refusal.last() {
            return error;
        }
        if full {
            return StoreError::Unavailable(format!(
                "{name}: none of {most} connections became free within {limit} ms; raise `pool`, and see that none is held across \
                 a wait"
            ));
        }
        // When a server refuses connections or is starting, the pool retries and does not report the server's error. This connection is
        // opened to get that error. The pool is not full, so the connection does not exceed the limit.
        let mut tried = self.tried.lock().await;
        if let Some((at, error)) = &*tried
            && at.elapsed() < TURN
        {
            return error.clone();
        }
        let error = match timeout(TURN, PgConnection::connect_with(&pool.connect_options())).await {
            Ok(Err(error)) => self.error(&error),
            _ => StoreError::Unavailable(format!(
                "{name}: no connection could be made within {limit} ms; see that the server runs and can be reached, and that a \
                 pooler before it has room"
            )),
        };
        *tried = Some((Instant::now(), error.clone()));
        error
    }

    /// Waits for the connections that are in use, and closes all.
    pub(super) async fn close(&self) {
        self.units.close().await;
        self.readers.close().await;
        self.sharers.close().await;
    }
}

/// Attempts to run a statement on a connection. An idle connection can be lost, and after a restart of the server all of them are. So the
/// statement is tried on one connection after another. This needs no extra round trip while the connections work.
pub(super) struct Attempts<'c> {
    connector: &'c Connector,
    pool: &'c PgPool,
    deadline: Instant,
}

impl<'c> Attempts<'c> {
    fn new(connector: &'c Connector, pool: &'c PgPool) -> Self {
        Self { connector, pool, deadline: Instant::now() + connector.options.begin_timeout }
    }

    pub(super) async fn connection(&self) -> Result<Held, StoreError> {
        let acquired = timeout_at(self.deadline, self.pool.acquire()).await.unwrap_or(Err(sqlx::Error::PoolTimedOut));
        match acquired {
            Ok(connection) => Ok(Held(Some(connection))),
            Err(error) => Err(self.connector.not_acquired(self.pool, error).await),
        }
    }

    /// Evaluates the result of an attempt; `None` if the connection was lost and there is time for another attempt.
    pub(super) fn weigh<T>(&self, answer: Result<Result<T, Failed>, Elapsed>) -> Option<Result<T, StoreError>> {
        match answer {
            Ok(Ok(value)) => Some(Ok(value)),
            Ok(Err(Failed::Sql(error))) if is_lost(&error) && Instant::now() < self.deadline => None,
            Ok(Err(failed)) => Some(Err(failed.at(&self.connector.name))),
            Err(_) => Some(Err(self.connector.no_answer())),
        }
    }
}

pub(super) fn ended() -> StoreError {
    StoreError::Refused("the transaction has ended".into())
}

/// A connection on which a statement may be running. If it is dropped, it is closed; the server then rolls back the transaction and cancels
/// the statement.
#[derive(Debug)]
pub(super) struct Held(Option<PoolConnection<Postgres>>);

impl Held {
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.0.as_deref_mut().ok_or_else(ended)
    }

    /// Returns the connection to its pool. No statement must be running on it.
    pub(super) fn hand_back(mut self) {
        drop(self.0.take());
    }

    /// Rolls back the open transaction. The connection is kept if the server responds within [`GRACE`].
    pub(super) async fn roll_back(mut self) {
        if let Ok(connection) = self.connection()
            && let Ok(Ok(_)) = timeout(GRACE, connection.execute(sqlx::raw_sql("ROLLBACK"))).await
        {
            self.hand_back();
        }
    }

    /// As [`roll_back`](Self::roll_back), for a connection that user code has had. It is kept if its session could be restored.
    pub(super) async fn roll_back_lent(mut self, session: Arc<Session>) {
        if let Ok(connection) = self.connection()
            && let Ok(Ok(true)) = timeout(GRACE, session.roll_back(connection)).await
        {
            self.hand_back();
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.0.take().map(PoolConnection::detach));
    }
}

fn pool(options: &PostgresOptions, connections: u32, session: &Arc<Session>, refusal: &Arc<Refusal>) -> PgPool {
    let mut connect = options.connect.clone();
    if let Some(name) = &options.application_name {
        connect = connect.application_name(name);
    } else if connect.get_application_name().is_none() {
        connect = connect.application_name(&options.schema);
    }
    let (first, again, refusal) = (Arc::clone(session), Arc::clone(session), Arc::clone(refusal));
    let mut pool = PgPoolOptions::new()
        .max_connections(connections)
        .acquire_timeout(options.begin_timeout)
        .test_before_acquire(false)
        .after_connect(move |connection, _| {
            let (session, refusal) = (Arc::clone(&first), Arc::clone(&refusal));
            Box::pin(async move {
                let established = session.establish(connection).await;
                refusal.learn(&established);
                established
            })
        })
        .after_release(move |connection, _| {
            let session = Arc::clone(&again);
            Box::pin(async move { Ok(session.released(connection).await) })
        });
    if let Some(longest) = session.longest() {
        pool = pool.max_lifetime(longest);
    }
    pool.connect_lazy_with(connect)
}
