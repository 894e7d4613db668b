//! The state that all parts of a running service share.

use std::{
    borrow::Cow,
    cmp::Reverse,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::{
    conditions::Conditions,
    gap::Gap,
    logs::Logs,
    metrics::{HandlerSeries, ServiceSeries},
    outage::Outage,
    panics::{self, Panics, Task},
    process::Process,
    put_off::PutOff,
    replays::Wanted,
    saga::SagaCore,
    sight::Sight,
    spans::Spans,
    timekeeper::Timekeeper,
};
use crate::{
    engine::{
        admission::{HandlerDirectory, Remembered},
        outbox::{Ledger, Ticket, order_key},
        parking::ParkedIndex,
    },
    extract::StateMap,
    handler::Handler,
    id::IdSource,
    message::{Record, Shard, Shards, TopicPartition},
    runtime::{Health, Metrics, Tracker},
    saga::RoleKind,
    settings::{OnNewer, Settings},
    store::{AfterCommit, Database, OutboxId, PublishTx, Store, StoreError, StoreTx},
    time::{Clock, Timestamp, doubling, spread},
    transport::Transport,
};

/// The internal state of a running service.
pub(crate) struct Core {
    pub(crate) name: Arc<str>,
    pub(crate) database: Database,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) settings: Settings,
    /// The service's own clock, the same as that of `time`.
    pub(crate) clock: Clock,
    pub(crate) time: Timekeeper,
    pub(crate) ids: IdSource,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) directory: HandlerDirectory,
    /// The events that the service handled in the past and that no handler takes now.
    remembered: RwLock<Remembered>,
    /// The topics that the service reads: those of its handlers and of `remembered` events.
    topics: RwLock<Arc<[String]>>,
    /// The topics of `remembered` events that could not be read when this was decided, with the error.
    unread: RwLock<BTreeMap<String, String>>,
    pub(crate) state: StateMap,
    pub(crate) metrics: Metrics,
    pub(crate) spans: Spans,
    pub(crate) health: Health,
    /// The lasting problems of the service.
    pub(crate) conditions: Conditions,
    /// The tasks that have panicked recently.
    pub(crate) panics: Panics,
    /// The messages that are put off.
    pub(crate) put_off: PutOff,
    /// Whether transactions fail at present.
    pub(crate) outage: Outage,
    /// The last observations of the log.
    pub(crate) sight: Sight,
    /// The identity of each topic's log.
    pub(crate) logs: Logs,
    pub(crate) series: ServiceSeries,
    pub(crate) handler_series: Vec<HandlerSeries>,
    pub(crate) sagas: SagaCore,
    /// The rows of the outbox that this process knows.
    ledger: Mutex<Ledger<Record>>,
    /// The rows published in transactions of user code that may still be open.
    #[cfg(feature = "sql")]
    pub(crate) joined: super::joined::Joined,
    /// This process, among the processes of the service.
    pub(crate) process: Process,
    /// The index of parked keys.
    parked: Mutex<ParkedIndex>,
    /// The partitions that wait because records are missing.
    gaps: Mutex<BTreeMap<TopicPartition, Gap>>,
    /// The requested replays, as of the last scan.
    replays: Mutex<Arc<[Wanted]>>,
    /// Notified when a replay is requested or is to end.
    pub(crate) replay_wake: Notify,
    /// Notified when rows become ready, were sent or are in doubt, so that the relay has work.
    pub(crate) relay_wake: Notify,
    /// Notified when rows have left the outbox, so that the consumer can continue.
    pub(crate) outbox_room: Notify,
    /// Notified when a key was parked or its next attempt has a new time.
    pub(crate) parked_wake: Notify,
    /// The number of dead-letter operations that this process has done. Each can change the parked messages of any partition.
    pub(crate) settlements: AtomicU64,
    /// Notified when the index of parked keys may differ from the database, so that it is compared at once.
    pub(crate) audit_wake: Notify,
    /// Changes whenever work begins or ends. Two reads with the same value saw the same state.
    pub(crate) activity: watch::Sender<u64>,
    /// The number of messages whose handlers run.
    running: AtomicUsize,
    /// Whether the consumer works normally.
    pub(crate) consuming: AtomicBool,
}

/// Messages that run.
pub(crate) struct CountedRunning(Arc<Core>, usize);

impl Drop for CountedRunning {
    fn drop(&mut self) {
        self.0.running.fetch_sub(self.1, Ordering::Relaxed);
    }
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "called once, by the app")]
    pub(crate) fn new(
        name: Arc<str>,
        database: Database,
        transport: Arc<dyn Transport>,
        settings: Settings,
        time: Timekeeper,
        ids: IdSource,
        handlers: Vec<Handler>,
        trackers: &[Tracker],
        state: StateMap,
        (metrics, spans): (Metrics, Spans),
    ) -> Self {
        let clock = time.clock.clone();
        let shared = database.store().sharing().is_some();
        let directory = HandlerDirectory::new(handlers.iter().map(Handler::accepts), settings.max_record_bytes)
            .ordered(|handler| order_of_call(&handlers[handler]))
            // Newer versions on the framework's own topics do not wait: any program can write to these topics, and such messages are not
            // kept.
            .newer_wait(|topic| settings.on_newer == OnNewer::Wait && !super::saga::is_own(topic));
        Self {
            topics: RwLock::new(directory.topics().into()),
            directory,
            remembered: RwLock::default(),
            unread: RwLock::default(),
            series: ServiceSeries::new(&metrics),
            handler_series: handlers.iter().map(|handler| HandlerSeries::new(&metrics, handler.options().name)).collect(),
            sagas: SagaCore::new(trackers, &handlers, &metrics, clock.now()),
            health: Health::new(),
            conditions: Conditions::new(name.clone(), metrics.clone()),
            panics: Panics::default(),
            put_off: PutOff::default(),
            outage: Outage::default(),
            sight: Sight::default(),
            logs: Logs::default(),
            #[cfg(feature = "sql")]
            joined: super::joined::Joined::default(),
            ledger: Mutex::new(if shared { Ledger::shared() } else { Ledger::alone() }),
            process: Process::new(shared.then(|| ids.uuid(clock.now()).to_string())),
            parked: Mutex::default(),
            gaps: Mutex::default(),
            replays: Mutex::new(Arc::from([])),
            replay_wake: Notify::new(),
            relay_wake: Notify::new(),
            outbox_room: Notify::new(),
            parked_wake: Notify::new(),
            settlements: AtomicU64::new(0),
            audit_wake: Notify::new(),
            activity: watch::Sender::new(0),
            running: AtomicUsize::new(0),
            consuming: AtomicBool::new(false),
            name,
            database,
            transport,
            settings,
            clock,
            time,
            ids,
            handlers,
            state,
            metrics,
            spans,
        }
    }

    pub(crate) fn store(&self) -> &Arc<dyn Store> {
        self.database.store()
    }

    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger<Record>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn parked(&self) -> MutexGuard<'_, ParkedIndex> {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gaps(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Gap>> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the events that the service handled in the past and that no handler takes now.
    pub(crate) fn remembered(&self) -> RwLockReadGuard<'_, Remembered> {
        self.remembered.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remember(&self, remembered: Remembered) {
        *self.remembered.write().unwrap_or_else(PoisonError::into_inner) = remembered;
    }

    /// Returns the topics that the service reads. Topics of `remembered` events may be added until the consumer has joined its group.
    pub(crate) fn topics(&self) -> Arc<[String]> {
        self.topics.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns why `topic`, which has `remembered` events, is not read, if it is not.
    pub(crate) fn unread(&self, topic: &str) -> Option<String> {
        self.unread.read().unwrap_or_else(PoisonError::into_inner).get(topic).cloned()
    }

    /// Sets the topics that the service reads, and those that it cannot read, with the reasons.
    pub(crate) fn set_topics(&self, topics: Vec<String>, unread: BTreeMap<String, String>) {
        *self.topics.write().unwrap_or_else(PoisonError::into_inner) = topics.into();
        *self.unread.write().unwrap_or_else(PoisonError::into_inner) = unread;
    }

    /// Returns the replays that have not ended, as of the last scan.
    pub(crate) fn replays(&self) -> Arc<[Wanted]> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_replays(&self, wanted: Vec<Wanted>) {
        *self.replays.lock().unwrap_or_else(PoisonError::into_inner) = wanted.into();
    }

    /// Returns the time before which everything that was written is certainly older than `retention`.
    pub(crate) fn older_than(&self, retention: Duration) -> Timestamp {
        self.time.passed.older_than(self.clock.now(), retention)
    }

    pub(crate) fn record_activity(&self) {
        self.activity.send_modify(|moves| *moves += 1);
    }

    /// Counts `messages` as running until the returned value is dropped.
    pub(crate) fn count_running(self: &Arc<Self>, messages: usize) -> CountedRunning {
        self.running.fetch_add(messages, Ordering::Relaxed);
        CountedRunning(self.clone(), messages)
    }

    /// Returns the messages and the rows that are not done, if any, as a text for operators.
    pub(crate) fn unfinished(&self) -> Option<String> {
        let counted = |count: usize, what: [&str; 2]| match count {
            0 => None,
            1 => Some(what[0].to_owned()),
            _ => Some(format!("{count} {}", what[1])),
        };
        let parts = [
            counted(self.running.load(Ordering::Relaxed), ["1 message is being handled", "messages are being handled"]),
            counted(self.ledger().len(), ["1 row of the outbox is not sent", "rows of the outbox are not sent"]),
        ];
        let parts: Vec<_> = parts.into_iter().flatten().collect();
        (!parts.is_empty()).then(|| parts.join("; "))
    }

    /// Returns the topic of the service's dead letters.
    pub(crate) fn dead_letter_topic(&self) -> String {
        format!("{}.dlt", self.name)
    }

    /// Returns the number of rows in the service's outbox: those in this process's ledger or, if more, those of all processes at the last
    /// count.
    pub(crate) fn outbox_rows(&self) -> usize {
        self.ledger().len().max(self.process.counted())
    }

    /// Returns whether the outbox has reached its limit.
    pub(crate) fn outbox_full(&self) -> bool {
        self.outbox_rows() >= self.settings.outbox_rows
    }

    /// Writes `records` to the outbox within an open transaction.
    pub(crate) async fn stage(self: &Arc<Self>, tx: &mut dyn PublishTx, records: &[Record]) -> Result<Staged, StoreError> {
        let (ticket, hooks) = (self.ledger().begin(), AfterCommit::default());
        let mut staged = Staged { core: self.clone(), ticket, rows: Vec::new(), hooks };
        if !records.is_empty() {
            let ids = tx.append_outbox(&self.name, records).await?;
            staged.rows = ids.into_iter().zip(records.iter().map(Record::shard)).collect();
            self.record_activity();
            let mut ledger = self.ledger();
            for ((id, _), record) in staged.rows.iter().zip(records) {
                ledger.stage(staged.ticket, *id, order_key(record), record.clone());
            }
        }
        Ok(staged)
    }

    /// Commits, passes the rows to the relay, and calls the hooks. Once it has begun, the commit continues even if the caller is cancelled.
    pub(crate) async fn commit(self: &Arc<Self>, tx: Box<dyn StoreTx>, staged: Staged) -> Result<(), StoreError> {
        let core = self.clone();
        let committing = tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            let mut staged = staged;
            let (ticket, rows) = (staged.ticket, std::mem::take(&mut staged.rows));
            // If the store panics, this marks the rows as in doubt, so that the relay looks them up instead of losing them.
            let doubt = Doubt { core: &core, ticket, rows: &rows };
            let result = tx.commit().await;
            if result.is_ok() {
                std::mem::forget(doubt);
                core.series.commit_duration.record_duration(began.elapsed());
                core.outage.worked();
                let strange = core.committed(ticket, &rows);
                core.process.notify(strange);
                core.record_activity();
                core.relay_wake.notify_one();
                core.call_hooks(std::mem::take(&mut staged.hooks));
            }
            result
        });
        committing.await.unwrap_or_else(|error| match error.try_into_panic() {
            // It is unknown whether the commit succeeded. If it did, the inbox shows it when the message is delivered again.
            Ok(panic) => Err(StoreError::Refused(format!("panic in the commit: {}", panics::text(&*panic)))),
            Err(error) => Err(StoreError::Unavailable(format!("the commit did not end: {error}"))),
        })
    }

    /// Calls `hooks`, of a transaction that is committed, in order. If one panics, the transaction stays committed, and the remaining ones
    /// are still called.
    fn call_hooks(&self, hooks: AfterCommit) {
        for hook in hooks {
            let at = hook.at();
            if let Err(text) = panics::guard(|| hook.call()) {
                let text = format!("{text} (in the hook of `Tx::after_commit` given at {at})");
                Panics::note(self, "after_commit", Task::Helping, &text);
            }
        }
    }

    /// Records in the ledger that the rows are committed. If open transactions of user code may hide earlier rows of the same keys, the
    /// relay scans the outbox before it sends.
    fn committed(&self, ticket: Ticket, rows: &[(OutboxId, Shard)]) -> Shards {
        let mut ledger = self.ledger();
        #[cfg(feature = "sql")]
        if self.joined.may_hide_rows() {
            ledger.mark_stale(Shards::ALL);
        }
        ledger.commit(ticket, rows)
    }

    /// Records that a transaction failed because of the database.
    pub(crate) fn store_failed(&self, error: &StoreError) {
        self.series.store_failures.increment();
        self.outage.failed(error, self.clock.now());
    }

    /// Returns the wait after the `failures`-th consecutive failure of the database or the log.
    pub(crate) fn outage_backoff(&self, failures: u32) -> Duration {
        self.backoff(Duration::from_millis(50), failures)
    }

    /// Returns the wait after `error`, the `failures`-th consecutive failure of the database. The wait is short if another transaction won
    /// a conflict, because that transaction has ended or ends soon.
    pub(crate) fn store_backoff(&self, error: &StoreError, failures: u32) -> Duration {
        match error {
            StoreError::Contended(_) => self.backoff(Duration::from_millis(2), failures),
            _ => self.outage_backoff(failures),
        }
    }

    fn backoff(&self, first: Duration, failures: u32) -> Duration {
        spread(doubling(first, first * 32, failures), self.ids.fraction())
    }
}

/// Outbox rows written in an open transaction, and the hooks to call after its commit. When it is dropped, the transaction was rolled back:
/// the rows are removed from the ledger, and no hook is called.
pub(crate) struct Staged {
    core: Arc<Core>,
    ticket: Ticket,
    rows: Vec<(OutboxId, Shard)>,
    hooks: AfterCommit,
}

impl Staged {
    /// Appends `hooks`.
    pub(crate) fn with_hooks(mut self, hooks: AfterCommit) -> Self {
        self.hooks.append(hooks);
        self
    }

    /// Marks the rows as in doubt, because the transaction has ended with an unknown result. The relay looks them up.
    #[cfg(feature = "sql")]
    pub(super) fn in_doubt(mut self) {
        let rows = std::mem::take(&mut self.rows);
        drop(Doubt { core: &self.core, ticket: self.ticket, rows: &rows });
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.rows.is_empty() {
            self.core.ledger().roll_back(self.ticket, &self.rows);
            self.core.record_activity();
            self.core.outbox_room.notify_one();
            self.core.relay_wake.notify_one();
        }
    }
}

struct Doubt<'c> {
    core: &'c Core,
    ticket: Ticket,
    rows: &'c [(OutboxId, Shard)],
}

impl Drop for Doubt<'_> {
    fn drop(&mut self) {
        if !self.rows.is_empty() {
            let strange = self.core.ledger().mark_in_doubt(self.ticket, self.rows);
            self.core.process.notify(strange);
            self.core.relay_wake.notify_one();
        }
    }
}

impl Core {
    /// Returns the name of `topic` in the log, which is the name that operators know.
    pub(crate) fn name_in_log<'t>(&'t self, topic: &'t str) -> Cow<'t, str> {
        self.transport.name_in_log(topic)
    }

    /// As [`name_in_log`](Self::name_in_log), for a partition.
    pub(crate) fn partition_in_log(&self, at: &TopicPartition) -> TopicPartition {
        TopicPartition::new(self.name_in_log(&at.topic), at.partition)
    }
}

/// Returns the sort key that orders the handlers of one event: compensations come first, from the last step of the saga to the first, then
/// all other handlers.
fn order_of_call(handler: &Handler) -> (bool, Reverse<usize>) {
    let undo = handler.role().filter(|role| role.kind == RoleKind::Undo);
    let step = undo.and_then(|role| role.saga.steps.iter().position(|step| step.name == role.step));
    (step.is_none(), Reverse(step.unwrap_or_default()))
}
