//! What every part of a running service shares.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicBool},
    time::Duration,
};

use tokio::sync::{Notify, watch};

use super::{
    after_commit,
    conditions::Conditions,
    gap::Gap,
    logs::Logs,
    lookout::Sight,
    metrics::{HandlerSeries, ServiceSeries},
    outage::Outage,
    panics::{self, Panics},
    put_off::PutOff,
    relay::{self, Instance},
    replays::Wanted,
    saga::SagaCore,
    spans::Spans,
    timekeeper::Timekeeper,
};
use crate::{
    engine::{
        admission::Directory,
        outbox::{Ledger, Ticket},
        parking::ParkingLot,
    },
    handler::{Handler, StateMap},
    id::IdSource,
    message::{Record, Shard, TopicPartition},
    runtime::{Health, Metrics, Tracker},
    settings::Settings,
    store::{AfterCommit, Database, OutboxId, Store, StoreError, StoreTx},
    time::{Clock, Timestamp},
    transport::Transport,
};

/// A running service, from the inside.
pub(crate) struct Core {
    pub(crate) name: Arc<str>,
    pub(crate) database: Database,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) settings: Settings,
    /// The service's own, which is that of `time`.
    pub(crate) clock: Clock,
    pub(crate) time: Timekeeper,
    pub(crate) ids: IdSource,
    pub(crate) handlers: Vec<Handler>,
    pub(crate) directory: Directory,
    pub(crate) state: StateMap,
    pub(crate) metrics: Metrics,
    pub(crate) spans: Spans,
    pub(crate) health: Health,
    /// What has been wrong for longer than a moment.
    pub(crate) conditions: Conditions,
    /// Which tasks have panicked lately.
    pub(crate) panics: Panics,
    /// Messages that are put off.
    pub(crate) put_off: PutOff,
    /// Whether transactions fail.
    pub(crate) outage: Outage,
    /// What is seen of the log.
    pub(crate) sight: Sight,
    /// Which log each topic is.
    pub(crate) logs: Logs,
    pub(crate) series: ServiceSeries,
    pub(crate) handler_series: Vec<HandlerSeries>,
    pub(crate) sagas: SagaCore,
    /// The outbox as far as this process knows it.
    ledger: Mutex<Ledger<Record>>,
    /// This process among the instances of the service.
    pub(crate) instance: Instance,
    /// The parked keys.
    lot: Mutex<ParkingLot>,
    /// Partitions that wait, because records are missing.
    gaps: Mutex<BTreeMap<TopicPartition, Gap>>,
    /// Replays that were asked for, as last looked at.
    replays: Mutex<Arc<[Wanted]>>,
    /// A replay was asked for, or is to end.
    pub(crate) replay_wake: Notify,
    /// Rows became ready, or were sent, or are in doubt: the relay has work.
    pub(crate) relay_wake: Notify,
    /// Rows have left: there is room for the consumer to go on.
    pub(crate) outbox_room: Notify,
    /// A key was parked, or its due time changed.
    pub(crate) lot_wake: Notify,
    /// Moves whenever something begins or ends, so that two looks at the state can be told to be of the same moment.
    pub(crate) activity: watch::Sender<u64>,
    /// Whether the consumer runs as it should.
    pub(crate) consuming: AtomicBool,
    /// Who may use the routes that read messages or act.
    #[cfg(feature = "http")]
    pub(crate) operators: super::operators::Operators,
}

impl Core {
    #[expect(clippy::too_many_arguments, reason = "called once, by the app, with everything it has gathered")]
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
        Self {
            directory: Directory::new(handlers.iter().map(Handler::accepts), settings.max_record_bytes),
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
            ledger: Mutex::new(if shared { Ledger::shared() } else { Ledger::alone() }),
            instance: Instance::new(shared.then(|| ids.uuid(clock.now()).to_string())),
            lot: Mutex::default(),
            gaps: Mutex::default(),
            replays: Mutex::new(Arc::from([])),
            replay_wake: Notify::new(),
            relay_wake: Notify::new(),
            outbox_room: Notify::new(),
            lot_wake: Notify::new(),
            activity: watch::Sender::new(0),
            consuming: AtomicBool::new(false),
            #[cfg(feature = "http")]
            operators: super::operators::Operators::at(None, None, Vec::new()),
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

    pub(crate) fn lot(&self) -> MutexGuard<'_, ParkingLot> {
        self.lot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn gaps(&self) -> MutexGuard<'_, BTreeMap<TopicPartition, Gap>> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replays that have not ended, as last looked at.
    pub(crate) fn replays(&self) -> Arc<[Wanted]> {
        self.replays.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_replays(&self, wanted: Vec<Wanted>) {
        *self.replays.lock().unwrap_or_else(PoisonError::into_inner) = wanted.into();
    }

    /// The time before which everything that was written is surely older than `retention`.
    pub(crate) fn older_than(&self, retention: Duration) -> Timestamp {
        self.time.passed.older_than(self.clock.now(), retention)
    }

    pub(crate) fn moved(&self) {
        self.activity.send_modify(|moves| *moves += 1);
    }

    /// The topic of the service's dead letters.
    pub(crate) fn dead_letter_topic(&self) -> String {
        format!("{}.dlt", self.name)
    }

    /// How many rows are in the service's outbox: those known here, or, with several instances, those that were last counted.
    pub(crate) fn outbox_rows(&self) -> usize {
        self.ledger().len().max(self.instance.counted())
    }

    /// Whether the outbox takes no more.
    pub(crate) fn outbox_full(&self) -> bool {
        self.outbox_rows() >= self.settings.outbox_rows
    }

    /// Writes `records` to the outbox of an open transaction.
    pub(crate) async fn stage(self: &Arc<Self>, tx: &mut dyn StoreTx, records: &[Record]) -> Result<Staged, StoreError> {
        let (ticket, hooks) = (self.ledger().begin(), AfterCommit::default());
        let mut staged = Staged { core: self.clone(), ticket, rows: Vec::new(), hooks };
        if !records.is_empty() {
            let ids = tx.append_outbox(&self.name, records).await?;
            staged.rows = ids.into_iter().zip(records.iter().map(Record::shard)).collect();
            self.moved();
            let mut ledger = self.ledger();
            for ((id, _), record) in staged.rows.iter().zip(records) {
                ledger.stage(staged.ticket, *id, relay::order_key(record), record.clone());
            }
        }
        Ok(staged)
    }

    /// Commits, hands the rows over to the relay, and calls the hooks. What has begun to commit goes on when the caller is gone.
    pub(crate) async fn commit(self: &Arc<Self>, tx: Box<dyn StoreTx>, staged: Staged) -> Result<(), StoreError> {
        let core = self.clone();
        let committing = tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            let mut staged = staged;
            let (ticket, rows) = (staged.ticket, std::mem::take(&mut staged.rows));
            // Should the store panic, the rows are in doubt, not lost.
            let doubt = Doubt { core: &core, ticket, rows: &rows };
            let result = tx.commit().await;
            if result.is_ok() {
                std::mem::forget(doubt);
                core.series.commit_duration.record_duration(began.elapsed());
                core.outage.worked();
                let strange = core.ledger().commit(ticket, &rows);
                core.instance.tell(strange);
                core.moved();
                core.relay_wake.notify_one();
                after_commit::call(&core, std::mem::take(&mut staged.hooks));
            }
            result
        });
        committing.await.unwrap_or_else(|error| match error.try_into_panic() {
            // Whether it happened is not known; if it did, the inbox says so.
            Ok(panic) => Err(StoreError::Refused(format!("panic in the commit: {}", panics::text(&*panic)))),
            Err(error) => Err(StoreError::Unavailable(format!("the commit did not end: {error}"))),
        })
    }

    /// A transaction failed because of the database.
    pub(crate) fn store_failed(&self, error: &StoreError) {
        self.series.store_failures.increment();
        self.outage.failed(error, self.clock.now());
    }

    /// How long to wait after the `failures`-th failure in a row of the database or the log.
    pub(crate) fn outage_backoff(&self, failures: u32) -> Duration {
        self.backoff(Duration::from_millis(50), failures)
    }

    /// How long to wait after `error`, the `failures`-th failure in a row of the database. Where another transaction was first, it
    /// has ended, or will soon.
    pub(crate) fn store_backoff(&self, error: &StoreError, failures: u32) -> Duration {
        match error {
            StoreError::Contended(_) => self.backoff(Duration::from_millis(2), failures),
            _ => self.outage_backoff(failures),
        }
    }

    fn backoff(&self, first: Duration, failures: u32) -> Duration {
        first.saturating_mul(1 << failures.min(5)).mul_f64(0.5 + 0.5 * self.ids.fraction())
    }
}

/// Rows written in an open transaction, and what is to be called once it has committed. Dropped, the rows are taken out of the ledger, and
/// nothing is called: the transaction was rolled back.
pub(crate) struct Staged {
    core: Arc<Core>,
    ticket: Ticket,
    rows: Vec<(OutboxId, Shard)>,
    hooks: AfterCommit,
}

impl Staged {
    /// With `hooks` behind those that are there.
    pub(crate) fn with_hooks(mut self, hooks: AfterCommit) -> Self {
        self.hooks.append(hooks);
        self
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.rows.is_empty() {
            self.core.ledger().roll_back(self.ticket, &self.rows);
            self.core.moved();
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
            let strange = self.core.ledger().doubt(self.ticket, self.rows);
            self.core.instance.tell(strange);
            self.core.relay_wake.notify_one();
        }
    }
}
