//! A store that fails: the database cannot be reached, is slow, rejects a statement or a commit, or commits without an answer.

mod call;
mod parts;
mod port;
mod sharing;
#[cfg(test)]
mod tests;
mod transaction;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

pub use self::call::{StoreCall, StoreFault, StoreOperation};
use crate::{
    message::Record,
    store::{Database, ParkedMessage, Sharing, Store, StoreError},
    testing::faulty::drawn,
    time::Clock,
};

/// The faults of a store, each as the probability (0 to 1) that it occurs. By default there are none.
#[derive(Debug, Clone, PartialEq)]
pub struct StoreFaults {
    /// Transactions that cannot begin.
    pub fail_begin: f64,
    /// Statements in a transaction that return an error.
    pub fail_statement: f64,
    /// Commits that commit nothing.
    pub fail_commit: f64,
    /// Commits that commit everything but return an error.
    pub lose_answer: f64,
    /// Reads outside a transaction that return an error.
    pub fail_read: f64,
    /// Writes outside a transaction that write nothing.
    pub fail_write: f64,
    /// Checks of the database that report that it cannot be used.
    pub fail_check: f64,
    /// Calls about the leases of the outbox that return an error.
    pub fail_share: f64,
    /// Notifications to other processes that get lost.
    pub lose_notification: f64,
    /// Calls of [`Sharing::listen`] that return an error, and notifications instead of which the stream ends with an error.
    pub fail_listen: f64,
    /// Calls that are delayed.
    pub delay: f64,
    /// The duration of a delay.
    pub delay_for: Duration,
}

impl Default for StoreFaults {
    fn default() -> Self {
        Self {
            fail_begin: 0.0,
            fail_statement: 0.0,
            fail_commit: 0.0,
            lose_answer: 0.0,
            fail_read: 0.0,
            fail_write: 0.0,
            fail_check: 0.0,
            fail_share: 0.0,
            lose_notification: 0.0,
            fail_listen: 0.0,
            delay: 0.0,
            delay_for: Duration::from_millis(20),
        }
    }
}

impl StoreFaults {
    /// The probabilities for a call, in the order in which the faults are drawn.
    fn of(&self, operation: StoreOperation) -> [(f64, StoreFault); 3] {
        let (fails, lost) = match operation {
            StoreOperation::Begin => (self.fail_begin, 0.0),
            StoreOperation::Statement => (self.fail_statement, 0.0),
            StoreOperation::Commit => (self.fail_commit, self.lose_answer),
            StoreOperation::Read => (self.fail_read, 0.0),
            StoreOperation::Write => (self.fail_write, 0.0),
            StoreOperation::Check => (self.fail_check, 0.0),
            StoreOperation::Share => (self.fail_share, 0.0),
            StoreOperation::Notify => (0.0, 0.0),
            StoreOperation::Listen => (self.fail_listen, 0.0),
        };
        [(fails, StoreFault::Unavailable), (lost, StoreFault::LoseAnswer), (self.delay, StoreFault::Delay(self.delay_for))]
    }
}

type Script = Box<dyn FnMut(&StoreCall) -> Option<StoreFault> + Send>;
type ChangeParked = Arc<dyn Fn(&mut ParkedMessage) + Send + Sync>;

/// A store with faults. Cheap to clone; the clones have the same faults.
///
/// A test opens a database, wraps it, and gives [`database`](Self::database) to the service:
///
/// ```
/// use std::time::Duration;
///
/// use saga_core::{
///     store::Database,
///     testing::faulty::{FaultyStore, StoreFault, StoreFaults},
///     time::Clock,
/// };
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// // At random: every fourth transaction fails to begin, and every tenth commit has no answer.
/// let faults = StoreFaults { fail_begin: 0.25, lose_answer: 0.1, ..StoreFaults::default() };
/// let store = FaultyStore::new(&Database::memory(), faults, 7, Clock::system());
///
/// // As a script: the first commit fails, and nothing else.
/// store.set(StoreFaults::default());
/// let mut commits = 0;
/// store.script(move |call| {
///     commits += u32::from(call.method == "commit");
///     (call.method == "commit" && commits == 1).then_some(StoreFault::Unavailable)
/// });
/// let database = store.database();
/// assert!(database.store().begin().await?.commit().await.is_err());
/// assert!(database.store().begin().await?.commit().await.is_ok());
/// # Ok(()) }
/// ```
///
/// A failed statement does not break its transaction, unlike with most databases.
///
/// Closing the wrapped database leaves the inner one open, because it belongs to the test: services can be started on it again.
#[derive(Clone)]
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    /// Replaces that of `inner`.
    sharing: Option<Arc<dyn Sharing>>,
    shared: Arc<Shared>,
}

/// The state that a store shares with its transactions.
struct Shared {
    faults: Mutex<StoreFaults>,
    script: Mutex<Option<Script>>,
    refused: Mutex<HashSet<Vec<u8>>>,
    change_parked: Mutex<Option<ChangeParked>>,
    rng: Mutex<fastrand::Rng>,
    clock: Clock,
}

impl std::fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyStore").field("faults", &*locked(&self.shared.faults)).finish_non_exhaustive()
    }
}

impl FaultyStore {
    /// Wraps the store of `database`. The `faults` are drawn from `seed`, and delays use `clock`.
    pub fn new(database: &Database, faults: StoreFaults, seed: u64, clock: Clock) -> Self {
        let shared = Shared {
            faults: Mutex::new(faults),
            script: Mutex::default(),
            refused: Mutex::default(),
            change_parked: Mutex::default(),
            rng: Mutex::new(fastrand::Rng::with_seed(seed)),
            clock,
        };
        Self { inner: Arc::clone(database.store()), sharing: None, shared: Arc::new(shared) }
    }

    /// Makes the processes share the outbox by `sharing` and not by that of the inner store, for example by a model whose leases a test
    /// controls.
    #[must_use]
    pub fn with_sharing(self, sharing: Arc<dyn Sharing>) -> Self {
        Self { sharing: Some(sharing), ..self }
    }

    /// Returns the database with faults.
    pub fn database(&self) -> Database {
        Database::new(Arc::new(self.clone()))
    }

    /// Replaces the probabilities, in open transactions too.
    pub fn set(&self, faults: StoreFaults) {
        *locked(&self.shared.faults) = faults;
    }

    /// Lets `script` decide about each call, before the probabilities do. It replaces the previous script. It must not call the store.
    pub fn script(&self, script: impl FnMut(&StoreCall) -> Option<StoreFault> + Send + 'static) {
        *locked(&self.shared.script) = Some(Box::new(script));
    }

    /// Makes commits fail, from now on, of transactions that add a record with `key` to the outbox: a message that the database does not
    /// commit while it works for all others.
    pub fn refuse(&self, key: impl AsRef<[u8]>) {
        locked(&self.shared.refused).insert(key.as_ref().to_vec());
    }

    /// Makes transactions with `key` commit again.
    pub fn take(&self, key: impl AsRef<[u8]>) {
        locked(&self.shared.refused).remove(key.as_ref());
    }

    /// Passes each parked message that is read to `change`, which can damage it, as another writer of the table could.
    pub fn change_parked(&self, change: impl Fn(&mut ParkedMessage) + Send + Sync + 'static) {
        *locked(&self.shared.change_parked) = Some(Arc::new(change));
    }

    /// Ends all faults: the probabilities, the script, refused keys, and changes of parked messages.
    pub fn clear(&self) {
        self.set(StoreFaults::default());
        *locked(&self.shared.script) = None;
        locked(&self.shared.refused).clear();
        *locked(&self.shared.change_parked) = None;
    }
}

const NO_IDS: [&str; 0] = [];

impl Shared {
    /// Decides what happens to a call.
    fn fault<T: AsRef<[u8]>>(
        &self,
        operation: StoreOperation,
        method: &'static str,
        ids: impl IntoIterator<Item = T>,
    ) -> Option<StoreFault> {
        let scripted = locked(&self.script).as_mut().and_then(|script| {
            let ids = ids.into_iter().map(|id| String::from_utf8_lossy(id.as_ref()).into_owned()).collect();
            script(&StoreCall { operation, method, ids })
        });
        scripted.or_else(|| {
            let faults = locked(&self.faults).of(operation);
            let mut rng = locked(&self.rng);
            faults.into_iter().find(|(share, _)| *share > 0.0 && drawn(&mut rng, *share)).map(|(_, fault)| fault)
        })
    }

    /// Does `work`, with the fault that is decided for it.
    fn run<I: AsRef<[u8]>, T>(
        &self,
        operation: StoreOperation,
        method: &'static str,
        ids: impl IntoIterator<Item = I>,
        work: impl Future<Output = Result<T, StoreError>>,
    ) -> impl Future<Output = Result<T, StoreError>> {
        let fault = self.fault(operation, method, ids);
        async move {
            match fault {
                None => work.await,
                Some(StoreFault::Unavailable) => Err(unavailable(method)),
                Some(StoreFault::Error(error)) => Err(error),
                Some(StoreFault::LoseAnswer) => work.await.and(Err(unavailable(method))),
                Some(StoreFault::Delay(period)) => {
                    self.clock.sleep(period).await;
                    work.await
                }
                Some(StoreFault::DelayAnswer(period)) => {
                    let answer = work.await;
                    self.clock.sleep(period).await;
                    answer
                }
                Some(StoreFault::Panic) => panic!("a panic that the test asked for: {method}"),
            }
        }
    }

    fn refuses(&self, rows: &[Record]) -> bool {
        let refused = locked(&self.refused);
        rows.iter().any(|record| record.key.as_deref().is_some_and(|key| refused.contains(key)))
    }
}

fn unavailable(method: &str) -> StoreError {
    StoreError::Unavailable(format!("a fault that the test asked for: {method}"))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
