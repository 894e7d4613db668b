//! A transaction on the store in memory.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::{
    super::{
        DeadLetter, DeadLetterId, DeadLetterState, HistoryEntry, InboxKey, InstanceKey, InstanceRecord, LetterHead, OutboxId,
        ParkedId, ParkedMessage, PublishTx, StepRecord, StoreError, StoreTx, Taker,
    },
    tables::{Change, Tables},
};
use crate::{
    message::{Received, Record, TopicPartition},
    time::Timestamp,
};

pub(super) struct MemoryTx {
    tables: Arc<Mutex<Tables>>,
    staged: Vec<Change>,
    /// The number of staged changes when the savepoint was set.
    savepoint: Option<usize>,
    view: View,
    /// Held until this transaction has ended.
    _writer: OwnedMutexGuard<()>,
}

/// The effect of the staged changes on the rows that are queried by key. It is derived from the changes, and kept so that a query does not
/// scan all of them.
#[derive(Default)]
struct View {
    claimed: HashSet<(String, InboxKey)>,
    /// Claims of earlier transactions that were removed.
    forgotten: HashSet<(String, InboxKey)>,
    parked: HashMap<ParkedId, bool>,
    letters: HashMap<(String, DeadLetterId), DeadLetterState>,
}

impl View {
    fn add(&mut self, change: &Change) {
        match change {
            Change::Claim(service, key, _) => {
                self.claimed.insert((service.clone(), key.clone()));
            }
            Change::Forget(service, key) => {
                self.forgotten.insert((service.clone(), key.clone()));
            }
            Change::Park(id, ..) => {
                self.parked.insert(*id, true);
            }
            Change::Unpark(id) => {
                self.parked.insert(*id, false);
            }
            Change::Bury(service, letter) => {
                self.letters.insert((service.clone(), letter.id.clone()), letter.state);
            }
            Change::Settle(service, id, state, _) => {
                self.letters.insert((service.clone(), id.clone()), *state);
            }
            Change::Send(..)
            | Change::Sent(..)
            | Change::Step(..)
            | Change::Instance(..)
            | Change::History(..)
            | Change::Repark(..)
            | Change::Release(..)
            | Change::Replace(..)
            | Change::Unpublished(..) => {}
        }
    }
}

impl MemoryTx {
    pub(super) fn new(tables: Arc<Mutex<Tables>>, writer: OwnedMutexGuard<()>) -> Self {
        Self { tables, staged: Vec::new(), savepoint: None, view: View::default(), _writer: writer }
    }

    fn tables(&self) -> MutexGuard<'_, Tables> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stage(&mut self, change: Change) {
        self.view.add(&change);
        self.staged.push(change);
    }
}

#[async_trait]
impl PublishTx for MemoryTx {
    async fn append_outbox(&mut self, service: &str, rows: &[Record]) -> Result<Vec<OutboxId>, StoreError> {
        let mut ids = Vec::with_capacity(rows.len());
        for record in rows {
            let id = self.tables().next_id();
            self.stage(Change::Send(id, service.to_owned(), record.clone()));
            ids.push(id);
        }
        Ok(ids)
    }

    /// The transaction is the only writer, so it needs no further locks.
    async fn load_steps(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<StepRecord>, StoreError> {
        let tables = self.tables();
        let sagas = tables.sagas.get(service);
        let committed = of.iter().filter_map(|key| Some(sagas?.steps_of(key))).flatten();
        let mut steps: BTreeMap<_, _> = committed.map(|step| ((step.instance.clone(), step.step.clone()), step)).collect();
        drop(tables);
        for change in &self.staged {
            if let Change::Step(owner, step) = change
                && owner == service
                && of.contains(&step.instance)
            {
                steps.insert((step.instance.clone(), step.step.clone()), step.clone());
            }
        }
        Ok(steps.into_values().collect())
    }

    async fn save_steps(&mut self, service: &str, steps: &[StepRecord]) -> Result<(), StoreError> {
        steps.iter().for_each(|step| self.stage(Change::Step(service.to_owned(), step.clone())));
        Ok(())
    }

    async fn load_instances(&mut self, service: &str, of: &[InstanceKey]) -> Result<Vec<InstanceRecord>, StoreError> {
        let tables = self.tables();
        let sagas = tables.sagas.get(service);
        let committed = of.iter().filter_map(|key| sagas?.instances.get(key).cloned());
        let mut instances: BTreeMap<_, _> = committed.map(|record| (record.instance.clone(), record)).collect();
        drop(tables);
        for change in &self.staged {
            if let Change::Instance(owner, record) = change
                && owner == service
                && of.contains(&record.instance)
            {
                instances.insert(record.instance.clone(), record.clone());
            }
        }
        Ok(instances.into_values().collect())
    }

    async fn save_instances(&mut self, service: &str, instances: &[InstanceRecord]) -> Result<(), StoreError> {
        instances.iter().for_each(|record| self.stage(Change::Instance(service.to_owned(), record.clone())));
        Ok(())
    }

    async fn append_history(&mut self, service: &str, entries: &[HistoryEntry]) -> Result<(), StoreError> {
        entries.iter().for_each(|entry| self.stage(Change::History(service.to_owned(), entry.clone())));
        Ok(())
    }
}

#[async_trait]
impl StoreTx for MemoryTx {
    async fn savepoint(&mut self) -> Result<(), StoreError> {
        self.savepoint = Some(self.staged.len());
        Ok(())
    }

    async fn undo(&mut self) -> Result<(), StoreError> {
        let kept = self.savepoint.ok_or_else(super::super::no_savepoint)?;
        self.staged.truncate(kept);
        self.view = View::default();
        self.staged.iter().for_each(|change| self.view.add(change));
        Ok(())
    }

    async fn claim(&mut self, service: &str, keys: &[InboxKey], now: Timestamp) -> Result<Vec<bool>, StoreError> {
        let mut new = Vec::with_capacity(keys.len());
        for key in keys {
            let owned = (service.to_owned(), key.clone());
            let committed = self.tables().inbox.get(service).is_some_and(|inbox| inbox.contains_key(key));
            let fresh = (!committed || self.view.forgotten.contains(&owned)) && !self.view.claimed.contains(&owned);
            if fresh {
                self.stage(Change::Claim(service.to_owned(), key.clone(), now));
            }
            new.push(fresh);
        }
        Ok(new)
    }

    /// Claims of this transaction itself are kept.
    async fn forget(&mut self, service: &str, keys: &[InboxKey], before: Timestamp) -> Result<(), StoreError> {
        for key in keys {
            let old = self.tables().inbox.get(service).and_then(|inbox| inbox.get(key)).is_some_and(|at| *at < before);
            if old {
                self.stage(Change::Forget(service.to_owned(), key.clone()));
            }
        }
        Ok(())
    }

    async fn takers(&mut self, service: &str) -> Result<Vec<Taker>, StoreError> {
        Ok(self.tables().takers.get(service).cloned().unwrap_or_default())
    }

    async fn delete_outbox(&mut self, ids: &[OutboxId]) -> Result<(), StoreError> {
        ids.iter().for_each(|id| self.stage(Change::Sent(*id)));
        Ok(())
    }

    async fn park(&mut self, service: &str, messages: &[ParkedMessage]) -> Result<Vec<ParkedId>, StoreError> {
        let mut ids = Vec::with_capacity(messages.len());
        for message in messages {
            let id = self.tables().next_id();
            self.stage(Change::Park(id, service.to_owned(), ParkedMessage { id, ..message.clone() }));
            ids.push(id);
        }
        Ok(ids)
    }

    async fn repark(&mut self, id: ParkedId, attempts: u32, due: Timestamp, error: &str) -> Result<(), StoreError> {
        self.stage(Change::Repark(id, attempts, due, error.to_owned()));
        Ok(())
    }

    async fn unpark(&mut self, ids: &[ParkedId]) -> Result<Vec<bool>, StoreError> {
        let mut there = Vec::with_capacity(ids.len());
        for id in ids {
            let staged = self.view.parked.get(id).copied();
            let present = staged.unwrap_or_else(|| self.tables().parked.contains_key(id));
            if present {
                self.stage(Change::Unpark(*id));
            }
            there.push(present);
        }
        Ok(there)
    }

    async fn count_parked(&mut self, service: &str, topic: &str, keys: &[Bytes]) -> Result<Vec<usize>, StoreError> {
        let tables = self.tables();
        let of_topic = |owner: &str, message: &ParkedMessage| owner == service && message.received.record.topic == topic;
        let mut keys_there: HashMap<ParkedId, Bytes> = tables
            .parked
            .iter()
            .filter(|(_, (owner, message))| of_topic(owner, message))
            .map(|(id, (_, message))| (*id, message.key()))
            .collect();
        drop(tables);
        for change in &self.staged {
            match change {
                Change::Park(id, owner, message) if of_topic(owner, message) => {
                    keys_there.insert(*id, message.key());
                }
                Change::Unpark(id) => {
                    keys_there.remove(id);
                }
                _ => {}
            }
        }
        Ok(keys.iter().map(|key| keys_there.values().filter(|there| *there == key).count()).collect())
    }

    async fn insert_dead_letters(&mut self, service: &str, letters: &[DeadLetter]) -> Result<(), StoreError> {
        letters.iter().for_each(|letter| self.stage(Change::Bury(service.to_owned(), letter.clone())));
        Ok(())
    }

    async fn settle_dead_letters(
        &mut self,
        service: &str,
        ids: &[DeadLetterId],
        state: DeadLetterState,
        now: Timestamp,
    ) -> Result<Vec<bool>, StoreError> {
        let mut moved = Vec::with_capacity(ids.len());
        for id in ids {
            let staged = self.view.letters.get(&(service.to_owned(), id.clone())).copied();
            let committed = || self.tables().letters_of(service).find(|letter| letter.id == *id).map(|letter| letter.state);
            let may = staged.or_else(committed).is_some_and(|present| present.may_become(state));
            if may {
                self.stage(Change::Settle(service.to_owned(), id.clone(), state, now));
            }
            moved.push(may);
        }
        Ok(moved)
    }

    /// The transaction is the only writer. The result does not contain dead letters that it has inserted itself; no caller needs them.
    async fn dead_letters_of(&mut self, service: &str, messages: &[InboxKey]) -> Result<Vec<Vec<LetterHead>>, StoreError> {
        let tables = self.tables();
        let of = |key: &InboxKey| {
            let letters = tables.letters_of(service).filter(|letter| letter.known_by().as_ref() == Some(key));
            letters.map(LetterHead::of).collect()
        };
        Ok(messages.iter().map(of).collect())
    }

    async fn holding(&mut self, service: &str, letters: &[LetterHead]) -> Result<Vec<(DeadLetterId, ParkedId)>, StoreError> {
        let tables = self.tables();
        Ok(letters.iter().filter_map(|letter| Some((letter.id.clone(), tables.held_by(service, letter)?))).collect())
    }

    async fn release(&mut self, ids: &[ParkedId], due: Timestamp) -> Result<(), StoreError> {
        ids.iter().for_each(|id| self.stage(Change::Release(*id, due)));
        Ok(())
    }

    async fn replace_parked(&mut self, id: ParkedId, received: &Received, due: Timestamp) -> Result<(), StoreError> {
        self.stage(Change::Replace(id, received.clone(), due));
        Ok(())
    }

    async fn mark_unpublished(&mut self, service: &str, id: &DeadLetterId, why: &str) -> Result<bool, StoreError> {
        let staged = self.view.letters.contains_key(&(service.to_owned(), id.clone()));
        let there = staged || self.tables().letters.iter().any(|(owner, letter)| owner == service && letter.id == *id);
        if there {
            self.stage(Change::Unpublished(service.to_owned(), id.clone(), why.to_owned()));
        }
        Ok(there)
    }

    /// The transaction is the only writer, so a valid epoch remains valid until its end.
    async fn check_ownership(&mut self, service: &str, owned: &[(TopicPartition, i64)]) -> Result<Vec<bool>, StoreError> {
        let tables = self.tables();
        Ok(owned.iter().map(|(partition, epoch)| tables.stands(service, partition, *epoch)).collect())
    }

    async fn commit(mut self: Box<Self>) -> Result<(), StoreError> {
        let staged = std::mem::take(&mut self.staged);
        let mut tables = self.tables();
        staged.into_iter().for_each(|change| tables.apply(change));
        Ok(())
    }
}
