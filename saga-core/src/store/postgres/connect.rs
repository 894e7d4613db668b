//! Opening connections, trying them, and giving them up.
//!
//! There are three pools: one for transactions, one for reading, one for what instances tell each other, so that none starves the
//! others: the health of the database can be asked for, and the lease on the outbox renewed, while every transaction is taken.

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
    errors::is_lost,
    options::PostgresOptions,
    session::{Purpose, Session},
    unit::Bounds,
};

/// How long an answer is waited for that only decides whether a connection is kept.
pub(super) const GRACE: Duration = Duration::from_millis(250);

/// How long a connection is waited for that shows whether transactions get their turn.
const TURN: Duration = Duration::from_secs(1);
/// How long none may have got it before that is told.
const STARVED: Duration = Duration::from_secs(10);

/// How connections to one database are opened and used.
#[derive(Debug)]
pub(super) struct Connector {
    pub(super) options: PostgresOptions,
    /// What the database is called in errors.
    pub(super) name: String,
    pub(super) bounds: Bounds,
    /// How a session for transactions comes back to what it was.
    pub(super) session: Arc<Session>,
    units: PgPool,
    readers: PgPool,
    sharers: PgPool,
    refusal: Arc<Refusal>,
    /// Since when no transaction could begin.
    starving_since: Mutex<Option<Instant>>,
}

/// Why the last connection that was made could not be used. A pool makes another one then, until the time is over, and says no
/// more than that.
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
    /// Opens no connection yet.
    pub(super) fn new(options: PostgresOptions) -> Self {
        let readers = (options.pool / 4).max(1);
        let refusal = Arc::new(Refusal { name: options.place(), last: Mutex::default() });
        let session = Arc::new(Session::new(&options, Purpose::Transactions));
        Self {
            name: options.place(),
            bounds: Bounds::new(&options.schema),
            units: pool(&options, options.pool - readers, &session, &refusal),
            readers: pool(&options, readers, &Arc::new(Session::new(&options, Purpose::Reading)), &refusal),
            sharers: pool(&options, 2, &Arc::new(Session::new(&options, Purpose::Sharing)), &refusal),
            session,
            refusal,
            starving_since: Mutex::default(),
            options,
        }
    }

    pub(super) fn error(&self, error: &sqlx::Error) -> StoreError {
        store_error(&self.name, error)
    }

    /// A connection for a transaction, on which `first` has been run.
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

    /// A connection for reading that answers.
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

    /// That no transaction could begin for long, if that is so: every connection is taken, and a further one is not to be had.
    pub(super) async fn starving(&self) -> Option<Advice> {
        let most = self.units.options().get_max_connections();
        let full = self.units.size() >= most && self.units.num_idle() == 0;
        // One that waits in the queue like the others: where they get on, it gets its turn.
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

    /// Attempts to read.
    pub(super) fn reading(&self) -> Attempts<'_> {
        Attempts::new(self, &self.readers)
    }

    /// Attempts to say or ask something about the sharing of the outbox.
    pub(super) fn sharing(&self) -> Attempts<'_> {
        Attempts::new(self, &self.sharers)
    }

    /// A connection of its own for one that listens, as a pool that is closed with it.
    pub(super) fn listener(&self) -> PgPool {
        pool(&self.options, 1, &Arc::new(Session::new(&self.options, Purpose::Sharing)), &self.refusal)
    }

    /// That the database was not opened for reading only.
    pub(super) fn may_write(&self) -> Result<(), StoreError> {
        match self.options.read_only {
            true => Err(StoreError::Refused(format!("{}: it was opened for reading only", self.name))),
            false => Ok(()),
        }
    }

    /// That the server has said nothing in time.
    pub(super) fn no_answer(&self) -> StoreError {
        let limit = self.options.answer_timeout.as_millis();
        StoreError::Unavailable(format!("{}: no answer within {limit} ms", self.name))
    }

    /// Why `pool` gave no connection.
    async fn not_acquired(&self, pool: &PgPool, error: sqlx::Error) -> StoreError {
        if !matches!(error, sqlx::Error::PoolTimedOut) {
            return self.error(&error);
        }
        let (name, limit, most) = (&self.name, self.options.begin_timeout.as_millis(), pool.options().get_max_connections());
        let full = pool.size() >= most && pool.num_idle() == 0;
        if let Some(error) = self.refusal.last() {
            return error;
        }
        if full {
            return StoreError::Unavailable(format!(
                "{name}: none of {most} connections became free within {limit} ms; raise `pool`, and see that none is held across \
                 a wait"
            ));
        }
        // A server that takes no more connections, or starts, is asked again by the pool, which keeps the answer to itself.
        match timeout(TURN, PgConnection::connect_with(&pool.connect_options())).await {
            Ok(Err(error)) => self.error(&error),
            _ => StoreError::Unavailable(format!(
                "{name}: no connection could be made within {limit} ms; see that the server runs and can be reached, and that a \
                 pooler before it has room"
            )),
        }
    }

    /// Waits for the connections that are in use, and closes all.
    pub(super) async fn close(&self) {
        self.units.close().await;
        self.readers.close().await;
        self.sharers.close().await;
    }
}

/// Attempts to run something on a connection. One that lay idle may be dead, and after a restart of the server all of them are: what
/// is wanted is tried on one after the other, which costs nothing while they are well.
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

    /// What came of an attempt; `None`: the connection was dead, and there is time for another attempt.
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

/// A connection on which something may be running. Dropped, it is closed: the server then rolls back, and breaks off what runs.
#[derive(Debug)]
pub(super) struct Held(Option<PoolConnection<Postgres>>);

impl Held {
    pub(super) fn connection(&mut self) -> Result<&mut PgConnection, StoreError> {
        self.0.as_deref_mut().ok_or_else(ended)
    }

    /// Gives the connection, on which nothing runs, back to its pool.
    pub(super) fn hand_back(mut self) {
        drop(self.0.take());
    }

    /// Rolls back what is open. The connection is kept if that works at once.
    pub(super) async fn roll_back(mut self) {
        if let Ok(connection) = self.connection()
            && let Ok(Ok(_)) = timeout(GRACE, connection.execute(sqlx::raw_sql("ROLLBACK"))).await
        {
            self.hand_back();
        }
    }

    /// The same where others than the framework have had the connection: it is kept if it is as it was before.
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

/// `name` as an identifier.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
