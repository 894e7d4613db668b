//! A store that fails on command, and that records which parked messages are read.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use sagas::{
    Database,
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterId, DeadLetterState, LetterHead, LetterSummary},
    message::{Received, Record, TopicPartition},
    port::store::{
        HandledStore, InboxKey, KeptClock, OutboxId, OutboxRow, Ownership, ParkedId, ParkedKey, ParkedMessage, PrunedLetters,
        PublishTx, ReplayStep, ReplayStore, SagaStore, Shards, Sharing, SqlReader, Store, StoreTx, Taker,
    },
    replay::{Replay, ReplayId},
    saga::{HistoryEntry, InstanceKey, InstanceRecord, StepRecord},
    store::{Migration, SqlConnection, StoreError},
    time::Timestamp,
};

use super::watch::Watch;

/// The faults, decided at each call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Fault {
    Begin,
    Claim,
    Append,
    /// Nothing is committed, and the commit returns an error.
    Commit,
    /// Everything is committed, but the commit returns an error.
    LoseAnswer,
    Read,
    Own,
    Advance,
    Hold,
    /// A step of a replay.
    Step,
    /// The check of the database reports that it is not healthy.
    Check,
}

/// The result of a call that fails.
#[derive(Debug, Clone)]
pub enum Comes {
    /// The call panics.
    ToPanic,
    /// The call returns this error.
    To(StoreError),
}

/// Decides the result of the call with this name and these keys.
type Act = Box<dyn FnMut(&'static str, &str) -> Option<Comes> + Send>;

type Decide = Box<dyn FnMut(Fault) -> bool + Send>;

/// Decides about faults. A store and the test share it.
#[derive(Clone, Default)]
pub struct Faults {
    decide: Arc<Mutex<Option<Decide>>>,
    poison: Arc<Mutex<Option<String>>>,
    act: Arc<Mutex<Option<Act>>>,
    /// The parked messages that were read.
    pub parked: Watch,
}

impl Faults {
    pub fn set(&self, decide: impl FnMut(Fault) -> bool + Send + 'static) {
        *self.decide.lock().unwrap() = Some(Box::new(decide));
    }

    /// Lets no transaction commit that publishes a record with this key, while the database reports that it is healthy.
    pub fn poison(&self, key: &str) {
        *self.poison.lock().unwrap() = Some(key.to_owned());
    }

    pub fn clear(&self) {
        *self.decide.lock().unwrap() = None;
        *self.poison.lock().unwrap() = None;
        *self.act.lock().unwrap() = None;
    }

    /// Sets the function that decides the result of each call by its name and the keys or ids that it is about.
    pub fn act(&self, act: impl FnMut(&'static str, &str) -> Option<Comes> + Send + 'static) {
        *self.act.lock().unwrap() = Some(Box::new(act));
    }

    fn meet<T: AsRef<str>>(&self, call: &'static str, about: impl IntoIterator<Item = T>) -> Result<(), StoreError> {
        let about = about.into_iter().map(|key| format!("{} ", key.as_ref())).collect::<String>();
        let comes = self.act.lock().unwrap().as_mut().and_then(|act| act(call, &about));
        match comes {
            None => Ok(()),
            Some(Comes::To(error)) => Err(error),
            Some(Comes::ToPanic) => panic!("the test wants {call} to panic"),
        }
    }

    fn check(&self, fault: Fault) -> Result<(), StoreError> {
        let fails = self.decide.lock().unwrap().as_mut().is_some_and(|decide| decide(fault));
        if fails { Err(unavailable(fault)) } else { Ok(()) }
    }

    fn is_poisonous(&self, record: &Record) -> bool {
        self.poison.lock().unwrap().as_ref().is_some_and(|key| record.key.as_deref() == Some(key.as_bytes()))
    }
}

fn unavailable(fault: Fault) -> StoreError {
    StoreError::Unavailable(format!("a fault that the test asked for: {fault:?}"))
}

/// What a commit waits for before it returns.
type Pause = dyn Fn() -> BoxFuture<'static, ()> + Send + Sync;

pub struct Failing {
    inner: Arc<dyn Store>,
    faults: Faults,
    pause: Arc<Pause>,
    sharing: Option<Arc<dyn Sharing>>,
}

/// Returns `database` with the faults of `faults`.
pub fn failing(database: &Database, faults: &Faults) -> Database {
    slow_to_answer(database, faults, || std::future::ready(()))
}

/// Returns `database` with the faults of `faults`; its commits return when `pause` has ended.
pub fn slow_to_answer<F>(database: &Database, faults: &Faults, pause: impl Fn() -> F + Send + Sync + 'static) -> Database
where
    F: Future<Output = ()> + Send + 'static,
{
    let pause = Arc::new(move || -> BoxFuture<'static, ()> { Box::pin(pause()) });
    Database::new(Arc::new(Failing { inner: database.store().clone(), faults: faults.clone(), pause, sharing: None }))
}

/// Returns `database` with the faults of `faults`, as one of several processes that share it.
pub fn shared(database: &Database, faults: &Faults, sharing: Arc<dyn Sharing>) -> Database {
    let pause = Arc::new(|| -> BoxFuture<'static, ()> { Box::pin(std::future::ready(())) });
    let (inner, faults, sharing) = (database.store().clone(), faults.clone(), Some(sharing));
    Database::new(Arc::new(Failing { inner, faults, pause, sharing }))
}

#[async_trait]
impl Store for Failing {
    async fn migrate(&self) -> Result<(), StoreError> {
        self.inner.migrate().await
    }

    async fn migrate_set(&self, set: &str, migrations: &[Migration]) -> Result<(), StoreError> {
        self.inner.migrate_set(set, migrations).await
    }

    async fn begin(&self) -> Result<Box<dyn StoreTx>, StoreError> {
        self.faults.check(Fault::Begin)?;
        let inner = self.inner.begin().await?;
        let (faults, pause) = (self.faults.clone(), self.pause.clone());
        Ok(Box::new(FailingTx { inner, faults, pause, poisoned: false }))
    }

    async fn seen(&self, service: &str, keys: &[InboxKey]) -> Result<Vec<bool>, StoreError> {
        self.faults.check(Fault::Read)?;
        self.inner.seen(service, keys).await
    }

    async fn outbox(&self, service: &str, after: OutboxId, limit: usize) -> Result<Vec<OutboxRow>, StoreError> {
        self.faults.check(Fault::Read)?;
        self.inner.outbox(service, after, limit).await
    }

    async fn outbox_of(
        &self,
        service: &str,
        shards: Shards,
        known: &[OutboxId],
        limit: usize,
    ) -> Result<Vec<OutboxRow>, StoreError> {
        self.faults.check(Fault::Read)?;
        self.inner.outbox_of(service, shards, known, limit).await
    }

    fn sharing(&self) -> Option<&dyn Sharing> {
        self.sharing.as_deref()
    }

    async fn parked_keys(&self, service: &str) -> Result<Vec<ParkedKey>, StoreError> {
        self.faults.meet::<&str>("parked_keys", [])?;
        self.faults.check(Fault::Read)?;
        self.inner.parked_keys(service).await
    }

    async fn parked(&self, service: &str, topic: &str, key: &[u8], limit: usize) -> Result<Vec<ParkedMessage>, StoreError> {
        self.faults.meet("parked", [String::from_utf8_lossy(key)])?;
        self.faults.check(Fault::Read)?;
        let mut messages = self.inner.parked(service, topic, key, limit).await?;
        messages.iter_mut().for_each(|message| self.faults.parked.watch(&mut message.received));
        Ok(messages)
    }

    fn replays(&self) -> &dyn ReplayStore {
        self
    }

    fn handled(&self) -> &dyn HandledStore {
        self.inner.handled()
    }

    fn sagas(&self) -> &dyn SagaStore {
        assert!(self.faults.meet::<&str>("sagas", []).is_ok(), "this call cannot answer an error");
        self.inner.sagas()
    }

    async fn find_dead_letters(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        offset: u64,
        limit: u32,
    ) -> Result<(Vec<LetterSummary>, u64), StoreError> {
        self.inner.find_dead_letters(service, filter, offset, limit).await
    }

    async fn dead_letter_heads(
        &self,
        service: &str,
        filter: &DeadLetterFilter,
        after: Option<&LetterHead>,
        limit: u32,
    ) -> Result<Vec<LetterHead>, StoreError> {
        self.inner.dead_letter_heads(service, filter, after, limit).await
    }

    async fn dead_letters_by_id(&self, service: &str, ids: &[DeadLetterId]) -> Result<Vec<DeadLetter>, StoreError> {
        self.inner.dead_letters_by_id(service, ids).await
    }

    async fn holding_letters(&self, service: &str, letters: &[LetterHead]) -> Result<HashSet<DeadLetterId>, StoreError> {
        self.inner.holding_letters(service, letters).await
    }

    async fn prune_dead_letters(
        &self,
        service: &str,
        open: Option<Timestamp>,
        settled: Option<Timestamp>,
        limit: u32,
    ) -> Result<PrunedLetters, StoreError> {
        self.inner.prune_dead_letters(service, open, settled, limit).await
    }

    async fn dead_letter(&self, service: &str, id: &DeadLetterId) -> Result<Option<DeadLetter>, StoreError> {
        self.inner.dead_letter(service, id).await
    }

    async fn prune_inbox(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.faults.meet::<&str>("prune", [])?;
        self.inner.prune_inbox(service, before, limit).await
    }

    async fn acquire_partitions(&self, service: &str, partitions: &[TopicPartition]) -> Result<Vec<Ownership>, StoreError> {
        self.faults.meet::<&str>("own", [])?;
        self.faults.check(Fault::Own)?;
        self.inner.acquire_partitions(service, partitions).await
    }

    async fn advance(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.faults.meet::<&str>("advance", [])?;
        self.faults.check(Fault::Advance)?;
        self.inner.advance(service, applied).await
    }

    async fn rewind(&self, service: &str, applied: &[Ownership]) -> Result<Vec<bool>, StoreError> {
        self.inner.rewind(service, applied).await
    }

    async fn record_partitions(&self, service: &str, topics: &[(String, i32)]) -> Result<Vec<bool>, StoreError> {
        self.inner.record_partitions(service, topics).await
    }

    async fn time(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.time().await
    }

    async fn clock(&self, service: &str) -> Result<Option<KeptClock>, StoreError> {
        self.inner.clock(service).await
    }

    async fn save_clock(&self, service: &str, clock: &KeptClock) -> Result<(), StoreError> {
        self.inner.save_clock(service, clock).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.faults.check(Fault::Check)?;
        self.inner.check().await
    }

    async fn reader(&self) -> Result<Option<SqlReader>, StoreError> {
        self.inner.reader().await
    }

    fn place(&self) -> String {
        self.inner.place()
    }

    async fn version(&self) -> Option<String> {
        self.inner.version().await
    }

    /// The database belongs to the test, and outlives the app.
    async fn close(&self) {}
}

#[async_trait]
impl ReplayStore for Failing {
    async fn ask(&self, service: &str, replay: &Replay) -> Result<bool, StoreError> {
        self.inner.replays().ask(service, replay).await
    }

    async fn list(&self, service: &str, open: bool, limit: u32) -> Result<Vec<Replay>, StoreError> {
        self.inner.replays().list(service, open, limit).await
    }

    async fn stop(&self, service: &str, id: &ReplayId, at: Timestamp) -> Result<bool, StoreError> {
        self.inner.replays().stop(service, id, at).await
    }

    async fn step(&self, service: &str, step: &ReplayStep) -> Result<bool, StoreError> {
        self.faults.check(Fault::Step)?;
        self.inner.replays().step(service, step).await
    }

    async fn partitions(&self, service: &str) -> Result<Vec<Ownership>, StoreError> {
        self.inner.replays().partitions(service).await
    }

    async fn prune(&self, service: &str, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        self.inner.replays().prune(service, before, limit).await
    }
}

struct FailingTx {
    inner: Box<dyn StoreTx>,
    faults: Faults,
    pause: Arc<Pause>,
    poisoned: bool,
}

#[async_trait]
impl PublishTx for FailingTx {
    async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError> {
        self.faults
            .meet("append_outbox", rows.iter().map(|row| String::from_utf8_lossy(row.key.as_deref().unwrap_or_default())))?;
        self.faults.check(Fault::Append)?;
        self.poisoned |= rows.iter().any(|record| self.faults.is_poisonous(record));
        self.inner.append_outbox(service, rows).await
    }

    async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError> {
        self.faults.meet("load_steps", of.iter().map(|key| &key.id))?;
        self.inner.load_steps(service, of).await
    }

    async fn save_steps(&mut self, service: &str, steps: &[StepRecord]) -> Result<(), StoreError> {
        self.inner.save_steps(service, steps).await
    }

    async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
        self.faults.meet("load_instances", of.iter().map(|key| &key.id))?;
        self.inner.load_instances(service, of).await
    }

    async fn save_instances(&mut self, service: &str, instances: &[InstanceRecord]) -> Result<(), StoreError> {
        self.inner.save_instances(service, instances).await
    }

    async fn append_history(&mut self, service: &str, entries: &[HistoryEntry]) -> Result<(), StoreError> {
        self.faults.meet("append_history", entries.iter().map(|entry| &entry.instance.id))?;
        self.inner.append_history(service, entries).await
    }
}

#[async_trait]
impl StoreTx for FailingTx {
    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.inner.savepoint().await
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        self.inner.undo().await
    }

    async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        self.faults.meet("claim", keys.iter().map(|key| key.id.as_str()))?;
        self.faults.check(Fault::Claim)?;
        self.inner.claim(service, keys, now).await
    }

    async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError> {
        self.inner.forget(service, keys, before).await
    }

    async fn takers(&mut self, service: &str) -> Result<Vec<Taker>, StoreError> {
        self.faults.meet("takers", [service])?;
        self.inner.takers(service).await
    }

    async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError> {
        self.inner.delete_outbox(ids).await
    }

    async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError> {
        self.faults.meet("park", messages.iter().map(|message| String::from_utf8_lossy(&message.key()).into_owned()))?;
        self.inner.park(service, messages).await
    }

    async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError> {
        self.inner.repark(id, attempts, due, error).await
    }

    async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError> {
        self.inner.unpark(ids).await
    }

    async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError> {
        self.inner.count_parked(service, topic, keys).await
    }

    async fn insert_dead_letters(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError> {
        self.faults.meet(
            "bury",
            letters.iter().map(|letter| String::from_utf8_lossy(letter.received.record.key.as_deref().unwrap_or_default())),
        )?;
        self.inner.insert_dead_letters(service, letters).await
    }

    async fn settle_dead_letters(
        &mut self,
        service: &str,
        ids: &[DeadLetterId],
        state: DeadLetterState,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        self.inner.settle_dead_letters(service, ids, state, now).await
    }

    async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError> {
        self.faults.meet("dead_letters_of", messages.iter().map(|key| key.id.as_str()))?;
        self.inner.dead_letters_of(service, messages).await
    }

    async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError> {
        self.inner.holding(service, letters).await
    }

    async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError> {
        self.inner.release(ids, due).await
    }

    async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError> {
        self.inner.replace_parked(id, received, due).await
    }

    async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError> {
        self.inner.mark_unpublished(service, id, why).await
    }

    async fn check_ownership(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError> {
        self.faults.check(Fault::Hold)?;
        self.inner.check_ownership(service, owned).await
    }

    async fn commit(self: Box<Self>) -> Result<(), StoreError> {
        self.faults.meet::<&str>("commit", [])?;
        self.faults.check(Fault::Commit)?;
        if self.poisoned {
            return Err(unavailable(Fault::Commit));
        }
        self.inner.commit().await?;
        (self.pause)().await;
        self.faults.check(Fault::LoseAnswer)
    }

    fn sql(&mut self) -> Option<SqlConnection<'_>> {
        self.inner.sql()
    }
}
