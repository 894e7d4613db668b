//! The single writer, and group commit.
//!
//! A task owns the connection that writes. It lends the connection to one unit at a time, in the order of the requests. A unit is one
//! transaction of the port. It returns the connection with the request to commit it or to undo it; a unit that is dropped at any moment is
//! undone.
//!
//! Units that wait when one has finished run in the same transaction of SQLite, each under its own savepoint. One `COMMIT` makes all of
//! them durable, so they share one `fsync`. A unit is reported as committed only after that `COMMIT`, so a slow unit delays the units in
//! its group. When units take longer than the window on average, each is committed by itself.

use std::{pin::pin, sync::Arc, time::Duration};

use sqlx::SqliteConnection;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, timeout},
};

use super::{
    super::StoreError,
    connect::{Connector, Guard},
    errors::database_error,
    unit::Unit,
};
use crate::sqlite::Trim;

/// The largest number of units in one commit.
const GROUP: usize = 64;
/// How long a statement that was running when its unit was dropped can continue before it is interrupted. Interrupting a statement that
/// writes rolls back the whole group.
const GRACE: Duration = Duration::from_millis(100);
/// The length of the queue for the writer. Senders wait while it is full.
const QUEUE: usize = 1024;
/// The number of units that are committed one by one after a `COMMIT` was refused, so that only the unit that causes the error receives it.
const ALONE: usize = GROUP;

/// A handle to the task that writes.
#[derive(Debug)]
pub(super) struct Writer {
    requests: mpsc::Sender<Request>,
    connector: Arc<Connector>,
}

type Grant = oneshot::Sender<Result<Unit, StoreError>>;
type Done = oneshot::Sender<Result<(), StoreError>>;

#[derive(Debug)]
enum Request {
    Unit(Grant),
    Close(oneshot::Sender<()>),
}

/// The writer's connection, while a unit has it.
#[derive(Debug)]
pub(super) struct Lease {
    pub(super) connection: SqliteConnection,
    pub(super) guard: Arc<Guard>,
    pub(super) connector: Arc<Connector>,
}

impl Lease {
    /// Returns the error for a unit whose transaction is lost, if the unit's own statements have ended it.
    ///
    /// SQLite does not report why a transaction was rolled back. The cause is a `COMMIT` of the unit if the commit hook has seen one. It is
    /// a `ROLLBACK` of the unit if the last error of the connection is not one after which SQLite rolls back by itself.
    pub(super) async fn ended_by_its_unit(&mut self) -> Option<StoreError> {
        let last = self.connection.lock_handle().await.ok()?.last_error();
        let outage = last.is_some_and(|error| matches!(database_error("", &error), StoreError::Unavailable(_)));
        (self.guard.committed() || !outage).then(|| {
            StoreError::Refused(format!(
                "{}: a COMMIT or ROLLBACK among its own statements has ended the transaction; leave that to the framework",
                self.connector.name
            ))
        })
    }
}

/// What a unit returns to the task.
#[derive(Debug)]
pub(super) struct Handback {
    pub(super) lease: Lease,
    /// Where to report that the unit is durable; `None` to undo the unit.
    pub(super) commit: Option<Done>,
}

impl Writer {
    pub(super) fn start(connector: Arc<Connector>, lease: Lease) -> Self {
        let (requests, queue) = mpsc::channel(QUEUE);
        tokio::spawn(
            Task {
                connector: Arc::clone(&connector),
                guard: Arc::clone(&lease.guard),
                lease: Some(lease),
                alone: 0,
                trim: connector.trim(),
                taken: Duration::ZERO,
            }
            .run(queue),
        );
        Self { requests, connector }
    }

    /// Waits for the next unit, for at most `patience`.
    pub(super) async fn begin(&self, patience: Duration) -> Result<Unit, StoreError> {
        let closed = || StoreError::Unavailable(format!("{}: the store was closed", self.connector.name));
        let (grant, granted) = oneshot::channel();
        let wait = async {
            self.requests.send(Request::Unit(grant)).await.map_err(|_| closed())?;
            granted.await.map_err(|_| closed())?
        };
        timeout(patience, wait).await.map_err(|_| {
            StoreError::Unavailable(format!(
                "{}: no transaction could begin within {} ms; see that none is held across a wait",
                self.connector.name,
                patience.as_millis()
            ))
        })?
    }

    /// The number of units that wait for their turn.
    #[cfg(test)]
    pub(super) fn waiting(&self) -> usize {
        self.requests.max_capacity() - self.requests.capacity()
    }

    /// Runs the units that already wait, refuses new ones, and closes the connection.
    pub(super) async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.requests.send(Request::Close(closed)).await.is_ok() {
            let _ = done.await;
        }
    }
}

struct Task {
    connector: Arc<Connector>,
    guard: Arc<Guard>,
    lease: Option<Lease>,
    /// How many of the next units must commit alone.
    alone: usize,
    trim: Trim,
    /// How long a unit takes, as a moving average.
    taken: Duration,
}

impl Task {
    async fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut closing = Vec::new();
        while let Some(request) = queue.recv().await {
            match request {
                Request::Unit(grant) => self.group(grant, &mut queue, &mut closing).await,
                Request::Close(closed) => closing.push(closed),
            }
            if !closing.is_empty() {
                queue.close();
            }
        }
        if let Some(lease) = self.lease.take() {
            let _ = sqlx::Connection::close(lease.connection).await;
        }
        for closed in closing {
            let _ = closed.send(());
        }
    }

    /// Runs the unit of `grant` and the units that wait behind it, and commits them together.
    async fn group(&mut self, grant: Grant, queue: &mut mpsc::Receiver<Request>, closing: &mut Vec<oneshot::Sender<()>>) {
        if grant.is_closed() {
            return;
        }
        let lease = match self.open().await {
            Ok(lease) => lease,
            Err(error) => {
                let _ = grant.send(Err(error));
                return;
            }
        };
        let mut finished = Vec::new();
        let outcome = self.units(lease, grant, queue, closing, &mut finished).await;
        let result = match outcome {
            Ok(lease) if finished.is_empty() => {
                self.roll_back(lease).await;
                return;
            }
            Ok(lease) => self.commit(lease, finished.len()).await,
            Err(error) => Err(error),
        };
        for done in finished {
            let _ = done.send(result.clone());
        }
        if result.is_ok()
            && let Some(lease) = &mut self.lease
        {
            self.trim.committed(&mut lease.connection, self.connector.patience().as_millis()).await;
        }
    }

    /// Returns a connection on which a transaction has begun.
    async fn open(&mut self) -> Result<Lease, StoreError> {
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None => {
                let connection = self.connector.writer(&self.guard).await?;
                Lease { connection, guard: Arc::clone(&self.guard), connector: Arc::clone(&self.connector) }
            }
        };
        match run(&mut lease, "BEGIN IMMEDIATE").await {
            Ok(()) => {
                self.guard.began();
                Ok(lease)
            }
            Err(error) => {
                // If the database is busy, keep the connection. If the connection does not work at all, open a new one.
                if matches!(error, StoreError::Unavailable(_)) && run(&mut lease, "SELECT 1").await.is_ok() {
                    self.lease = Some(lease);
                }
                Err(error)
            }
        }
    }

    async fn units(
        &mut self,
        mut lease: Lease,
        first: Grant,
        queue: &mut mpsc::Receiver<Request>,
        closing: &mut Vec<oneshot::Sender<()>>,
        finished: &mut Vec<Done>,
    ) -> Result<Lease, StoreError> {
        let mut next = Some(first);
        let mut window = None;
        while let Some(grant) = next.take() {
            // The first unit needs no savepoint: to undo it, the transaction is rolled back.
            let nested = !finished.is_empty();
            if nested && let Err(error) = run(&mut lease, "SAVEPOINT sagas_unit").await {
                let _ = grant.send(Err(error.clone()));
                self.roll_back(lease).await;
                return Err(error);
            }
            let granted = Instant::now();
            let (back, returned) = oneshot::channel();
            if let Err(Ok(unit)) = grant.send(Ok(Unit::new(lease, back))) {
                drop(unit);
            }
            let Ok(Handback { lease: same, commit }) = returned.await else {
                return Err(StoreError::Unavailable(format!("{}: the connection was lost", self.connector.name)));
            };
            lease = same;
            self.taken = (self.taken * 7 + granted.elapsed()) / 8;
            let undo = commit.is_none();
            if undo {
                settle(&mut lease).await;
            }
            if self.guard.lost() {
                let own_doing = lease.ended_by_its_unit().await;
                if let Some(error) = own_doing
                    && let Some(done) = commit
                {
                    let _ = done.send(Err(error));
                } else {
                    finished.extend(commit);
                }
                self.roll_back(lease).await;
                return Err(self.lost());
            }
            finished.extend(commit);
            if undo && !nested {
                return Ok(lease);
            }
            if nested {
                let end = if undo { "ROLLBACK TO sagas_unit; RELEASE sagas_unit" } else { "RELEASE sagas_unit" };
                if let Err(error) = run(&mut lease, end).await {
                    self.roll_back(lease).await;
                    return Err(error);
                }
            }
            let opened = *window.get_or_insert_with(Instant::now);
            let longest = self.connector.group_window();
            if self.alone == 0 && finished.len() < GROUP && self.taken < longest && opened.elapsed() < longest {
                next = waiting(queue, closing);
            }
        }
        Ok(lease)
    }

    async fn commit(&mut self, mut lease: Lease, units: usize) -> Result<(), StoreError> {
        self.alone = self.alone.saturating_sub(units);
        self.guard.committing(true);
        let committed = run(&mut lease, "COMMIT").await;
        self.guard.committing(false);
        match committed {
            Ok(()) => {
                self.lease = Some(lease);
                Ok(())
            }
            Err(error) => {
                self.roll_back(lease).await;
                Err(match error {
                    // A constraint that is checked at the commit has failed. With several units it is unknown which one is the cause.
                    StoreError::Refused(reason) if units > 1 => {
                        self.alone = ALONE;
                        let what = "a transaction that was to be committed together with others was refused, and they with it";
                        StoreError::Unavailable(format!("{what}; try again ({reason})"))
                    }
                    error => error,
                })
            }
        }
    }

    fn lost(&self) -> StoreError {
        StoreError::Unavailable(format!(
            "{}: the transaction was rolled back by the database (a full disk does that), or by one it shared its commit with",
            self.connector.name
        ))
    }

    /// Rolls back the open transaction, and keeps the connection if it still works.
    async fn roll_back(&mut self, mut lease: Lease) {
        // The transaction may have ended already. `ROLLBACK` then fails for that reason, and the connection works.
        if run(&mut lease, "ROLLBACK").await.is_ok() || self.guard.lost() {
            self.lease = Some(lease);
        }
    }
}

/// Returns the next unit that already waits.
fn waiting(queue: &mut mpsc::Receiver<Request>, closing: &mut Vec<oneshot::Sender<()>>) -> Option<Grant> {
    loop {
        match queue.try_recv().ok()? {
            Request::Unit(grant) if grant.is_closed() => {}
            Request::Unit(grant) => return Some(grant),
            Request::Close(closed) => closing.push(closed),
        }
    }
}

/// Waits until a statement of a dropped unit has ended, and interrupts it after [`GRACE`].
async fn settle(lease: &mut Lease) {
    let mut ended = pin!(sqlx::Connection::ping(&mut lease.connection));
    if timeout(GRACE, ended.as_mut()).await.is_err() {
        lease.guard.interrupting(true);
        // If the connection is lost, the next statement reports it.
        let _ = ended.await;
        lease.guard.interrupting(false);
    }
}

async fn run(lease: &mut Lease, sql: &'static str) -> Result<(), StoreError> {
    match sqlx::query(sql).execute(&mut lease.connection).await {
        Ok(_) => Ok(()),
        Err(error) => Err(lease.connector.error(&error)),
    }
}
