//! One transaction of a lane: claim, call, write, commit.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;

use super::{
    super::{
        call::{Called, call, decode},
        core::Core,
        effects::{Effects, Written, outcome_counter},
        fence::{self, Shutdown},
        inbox,
        item::Item,
        judge::{Failed, Judged, apply_failure, judge, tx_not_returned},
        replacement::{self, Arrival, Claim},
        saga::{self, Scope},
        service::ServiceHandle,
        spans::Commit,
    },
    RetryState, Run,
};
use crate::{
    engine::{
        admission::{Admission, Inadmissible},
        batch::{AfterHandler, BeforeHandler, Origin, OutcomeKind, Rollback, before_handler, group_calls, rollback},
        fallback::Fallback,
        parking::TopicKey,
    },
    extract::{Invocation, Meta},
    failure::Fault,
    handler::Outcome,
    store::{AfterCommit, StoreError, StoreTx, Tx, TxSlot, contention},
    time::Timestamp,
};

/// A transaction of many messages.
pub(super) struct Transaction<'l> {
    core: &'l Arc<Core>,
    items: &'l [Item],
    retry_state: &'l mut RetryState,
    effects: Effects,
    /// Keys with parked messages that this process's index does not contain.
    elsewhere: HashSet<TopicKey>,
    now: Timestamp,
}

/// The transaction after a call, or `None` if everything must run again.
type Open = Option<Box<dyn StoreTx>>;

impl<'l> Transaction<'l> {
    pub(super) async fn run(
        core: &'l Arc<Core>,
        items: &'l [Item],
        retry_state: &'l mut RetryState,
        stop: &Shutdown,
    ) -> Result<Run, StoreError> {
        let now = core.clock.now();
        if items.iter().all(|item| retry_state.fenced.has(item)) {
            return Ok(Run::Committed(Duration::ZERO));
        }
        let bare = retry_state.fallback >= Fallback::WithoutSagas;
        retry_state.part = "beginning its transaction";
        let mut this = Self { core, items, retry_state, effects: Effects::default(), elsewhere: HashSet::new(), now };
        let mut tx = stop.begin(core).await?;
        let begun = core.clock.now();
        this.retry_state.part = "claiming it";
        let runnable = this.weigh(&mut *tx).await?;
        this.look_elsewhere(&mut *tx, &runnable).await?;
        core.series.batch_size.record(items.len() as f64);
        if !bare {
            this.retry_state.part = "reading the state of its saga";
            let called = runnable.iter().map(|at| &items[*at]);
            this.effects.sagas.load(core, &mut *tx, called).await?;
        }
        this.retry_state.part = "judging the outcome of its handler";

        let handlers: Vec<_> = runnable.iter().map(|at| this.call_key(*at)).collect();
        for call in group_calls(&handlers) {
            match this.call(tx, &runnable[call]).await? {
                Some(open) => tx = open,
                None => return Ok(Run::Again),
            }
        }
        this.retry_state.part = "writing its effects";
        if bare {
            this.effects.sagas = Scope::default();
        }
        let held = match this.effects.write(core, &mut *tx, now).await? {
            Written::Staged(staged) => {
                let ours = items.iter().filter(|item| !this.retry_state.fenced.has(item));
                let lost = fence::check_ownership(core, &mut *tx, ours).await?;
                if !lost.is_empty() {
                    this.retry_state.fenced.add(lost);
                    return Ok(Run::Again);
                }
                let held = core.clock.now().since(begun);
                let ours = || items.iter().filter(|item| !this.retry_state.fenced.has(item));
                let commit = Commit::begin(core, ours());
                core.commit(tx, staged).await?;
                commit.ended(core, ours());
                held
            }
            Written::Gone(ids) => {
                this.retry_state.gone.extend(ids);
                return Ok(Run::Again);
            }
        };
        this.effects.committed(core, now);
        Ok(Run::Committed(held))
    }

    /// Claims the messages and finishes those that need no handler. Returns the indices of the others.
    async fn weigh(&mut self, tx: &mut dyn StoreTx) -> Result<Vec<usize>, StoreError> {
        let mut claims = self.claim(tx).await?;
        let mut runnable = Vec::with_capacity(self.items.len());
        for (at, item) in self.items.iter().enumerate() {
            if self.retry_state.fenced.has(item) {
                continue;
            }
            if item.parked.is_some_and(|id| self.retry_state.gone.contains(&id)) {
                self.effects.gone(item);
                continue;
            }
            if item.is_void(self.core) {
                // No message of this key is settled before the failed one has been tried again.
                continue;
            }
            if !item.split.is_empty() {
                let listeners = inbox::unheard(self.core, tx, item, self.now).await?;
                self.effects.split(item, &listeners, self.now);
                continue;
            }
            let claim = claims.remove(&at).unwrap_or(Claim::New);
            let new = !matches!(claim, Claim::Known);
            if let Claim::Replaces(replay) = claim
                && self.effects.replayed(self.core, item, replay, true, self.now)
            {
                continue;
            }
            match (&item.admission, new) {
                (Admission::DeadLetter(unfit), true) => self.unfit(item, unfit),
                (Admission::Skip, true) => self.effects.done(item),
                (_, false) => {
                    if let Some(unfit) = item.unfit_for_all()
                        && !self.effects.has_letter_for_all(&item.inbox_key())
                    {
                        for listener in inbox::unheard_elsewhere(self.core, tx, item, self.now).await? {
                            self.give_up(&item.only_for(self.core, listener), unfit);
                        }
                    }
                    if let Some(handler) = item.handler() {
                        self.effects.count(&self.core.handler_series[handler].duplicate);
                    }
                }
                (Admission::Handle { .. }, true) => runnable.push(at),
            }
        }
        Ok(runnable)
    }

    /// Claims the messages that came from the log. Returns, by index, those that the inbox already contained, and whether each is a
    /// duplicate or replaces dead letters.
    async fn claim(&mut self, tx: &mut dyn StoreTx) -> Result<HashMap<usize, Claim>, StoreError> {
        let ours = self.items.iter().enumerate().filter(|(_, item)| !self.retry_state.fenced.has(item));
        let fresh: Vec<_> = ours.filter(|(_, item)| item.origin == Origin::Fresh).collect();
        if fresh.is_empty() {
            return Ok(HashMap::new());
        }
        let claims: Vec<_> = fresh.iter().map(|(_, item)| item.claim()).collect();
        let new = inbox::claim(self.core, tx, &claims, self.now).await?;
        let known: Vec<_> = fresh.into_iter().zip(new).filter_map(|(item, new)| (!new).then_some(item)).collect();
        let arrivals: Vec<_> = known.iter().map(|(_, item)| Arrival::of(item)).collect();
        let replays = replacement::settle_replaced(self.core, tx, &arrivals, self.now).await?;
        let claim = |replay: Option<_>| replay.map_or(Claim::Known, Claim::Replaces);
        Ok(known.into_iter().zip(replays).map(|((at, _), replay)| (at, claim(replay))).collect())
    }

    /// Reads from the database whether messages of the same keys are parked, where the index does not suffice: if the keys of a topic have
    /// moved between partitions, messages of a key can be parked in a partition that another process owns.
    async fn look_elsewhere(&mut self, tx: &mut dyn StoreTx, runnable: &[usize]) -> Result<(), StoreError> {
        let mut unknown: BTreeMap<&str, BTreeSet<Bytes>> = BTreeMap::new();
        {
            let parked = self.core.parked();
            for item in runnable.iter().map(|at| &self.items[*at]) {
                let place = &item.place;
                if item.origin == Origin::Fresh && parked.has_moved(&place.topic) && !parked.is_parked(place) {
                    unknown.entry(&place.topic).or_default().insert(place.key.clone());
                }
            }
        }
        for (topic, keys) in unknown {
            let keys: Vec<_> = keys.into_iter().collect();
            let counts = tx.count_parked(&self.core.name, topic, &keys).await?;
            let parked = keys.into_iter().zip(counts).filter(|(_, count)| *count > 0);
            self.elsewhere.extend(parked.map(|(key, _)| TopicKey { topic: topic.to_owned(), key }));
        }
        Ok(())
    }

    fn unfit(&mut self, item: &Item, unfit: &Inadmissible) {
        if self.effects.ignored(self.core, item, &unfit.to_string()) {
            return;
        }
        self.effects.done(item);
        // The event was published, even if this service does not handle it, so the tracker records it.
        self.effects.sagas.tracking.see_received(self.core, item, Some(&format!("not handled: {unfit}")));
        self.give_up(item, unfit);
    }

    /// Makes `item` a dead letter and counts the reason why it could not be delivered.
    fn give_up(&mut self, item: &Item, unfit: &Inadmissible) {
        let series = &self.core.series;
        self.effects.count(match unfit {
            Inadmissible::TooLarge { .. } => &series.dead_too_large,
            Inadmissible::NoType => &series.dead_untyped,
            Inadmissible::NewerVersion { .. } => &series.dead_unknown_version,
            Inadmissible::NoValue => &series.dead_no_value,
            Inadmissible::BadHeader(_) => &series.dead_bad_header,
            Inadmissible::NoHandler(_) => &series.dead_no_handler,
            Inadmissible::Unhandled { .. } => &series.dead_unhandled,
            Inadmissible::Panicked(_) => &series.dead_unwritable,
        });
        self.effects.dead_letter(self.core, item, 0, unfit.label(), &unfit.to_string(), self.now);
    }

    fn handler(&self, at: usize) -> usize {
        self.items[at].handler().unwrap_or_default()
    }

    fn call_key(&self, at: usize) -> (usize, bool) {
        let handler = self.handler(at);
        let batch = self.core.handlers[handler].requirements().batch;
        let held_back =
            self.retry_state.one_by_one || self.retry_state.failed.contains_key(&at) || self.before(at) != BeforeHandler::Run;
        (handler, batch && !held_back)
    }

    fn before(&self, at: usize) -> BeforeHandler {
        let item = &self.items[at];
        let parked = self.elsewhere.contains(&item.place) || self.core.parked().is_parked(&item.place);
        before_handler(item.origin, true, parked, self.effects.waits(&item.place) || item.is_void(self.core))
    }

    /// Makes one call, with the messages at the indices `at`.
    async fn call(&mut self, tx: Box<dyn StoreTx>, at: &[usize]) -> Result<Open, StoreError> {
        let first = at[0];
        let (item, handler) = (&self.items[first], self.handler(first));
        let before: Vec<_> = at.iter().map(|index| self.before(*index)).collect();
        if let Some(lost) = at.iter().map(|index| &self.items[*index]).find(|item| !item.is_ours(self.core)) {
            self.retry_state.fenced.add(vec![(lost.partition(), lost.epoch)]);
            return Ok(None);
        }
        if at.len() > 1 && before.iter().any(|before| *before != BeforeHandler::Run) {
            return self.retry_one_by_one();
        }
        match before[0] {
            BeforeHandler::ParkBehind => {
                self.effects.count(&self.core.handler_series[handler].parked);
                self.effects.park_behind(item, self.now);
                return Ok(Some(tx));
            }
            BeforeHandler::Stay | BeforeHandler::Duplicate => return Ok(Some(tx)),
            BeforeHandler::Run => {}
        }
        at.iter().for_each(|index| self.items[*index].span.begins(self.core));
        if let Some(failed) = self.retry_state.failed.get(&first).cloned() {
            return self.conclude(tx, first, item, handler, failed).await;
        }
        let mut messages = Vec::with_capacity(at.len());
        for index in at {
            match decode(self.core, &self.items[*index]) {
                Ok(value) => messages.push((value, self.items[*index].meta(self.core, handler, self.now))),
                Err(unread) if at.len() == 1 => match unread.ended() {
                    Ok((ended, why)) => {
                        let failed = Failed::new(self.core, item, handler, ended, why);
                        return self.conclude(tx, first, item, handler, failed).await;
                    }
                    Err(fault) => {
                        self.undecodable(item, &fault);
                        return Ok(Some(tx));
                    }
                },
                Err(_) => return self.retry_one_by_one(),
            }
        }
        let mut left_behind = None;
        if let Some(role) = self.core.handlers[handler].role() {
            match self.effects.sagas.decide_item(self.core, role, item, self.now) {
                saga::Decision::RunHandler => {}
                saga::Decision::Undo(record) => left_behind = Some(record),
                saga::Decision::Wait(until) => {
                    let failed = Failed::new(self.core, item, handler, saga::wait(until, self.now), saga::IN_PROGRESS.to_owned());
                    let AfterHandler::Park { attempts, due } = failed.after else {
                        return self.conclude(tx, first, item, handler, failed).await;
                    };
                    self.effects.park(item, attempts, due, &failed.error);
                    self.effects.put_off(item, &failed.error);
                    return Ok(Some(tx));
                }
                saga::Decision::Nothing(reason) => {
                    self.effects.without_effect(self.core, item, reason);
                    return Ok(Some(tx));
                }
            }
        }
        if let Some(record) = left_behind
            && let Err((ended, why)) = saga::left_behind(self.core, handler, record.as_ref(), &mut messages)
        {
            let failed = Failed::new(self.core, item, handler, ended, why);
            return self.conclude(tx, first, item, handler, failed).await;
        }
        self.invoke(tx, at, messages, item, handler).await
    }

    async fn invoke(
        &mut self,
        tx: Box<dyn StoreTx>,
        at: &[usize],
        messages: Vec<(Box<dyn Any + Send>, Meta)>,
        item: &Item,
        handler: usize,
    ) -> Result<Open, StoreError> {
        let core = self.core;
        let definition = &core.handlers[handler];
        let savepoint = self.retry_state.use_savepoints || !definition.rejects().is_empty();
        let slot = TxSlot::default();
        let (lent, kept) = match definition.requirements().tx {
            true => (Some(Tx::lend(tx, slot.clone(), savepoint, core.ids.clone(), self.now)), None),
            false => (None, Some(tx)),
        };
        let state = core.state.clone();
        let service: Option<Box<dyn Any + Send>> = Some(Box::new(ServiceHandle::within_a_transaction(core)));
        let invocation = Invocation { messages, tx: lent, work: None, state, service };
        let others: Vec<_> = at[1..].iter().map(|index| &self.items[*index]).collect();
        let Called { outcome, timed_out, .. } = call(core, item, &others, handler, definition.call_fn(), invocation).await;

        let (mut tx, touched, published, hooks) = match kept {
            Some(tx) => (tx, false, Vec::new(), AfterCommit::default()),
            None => match slot.take() {
                Some(returned) => (returned.tx, returned.touched, returned.published, returned.after_commit),
                None => {
                    let outcome = Outcome::Retry(Fault::new(tx_not_returned(core, handler)));
                    return self.again_without(at, item, handler, judge(core, None, outcome, Vec::new(), self.now));
                }
            },
        };
        if let Outcome::Retry(fault) = &outcome
            && let Some(error) = contention(fault.error())
        {
            return Err(error);
        }
        let judged = judge(core, item.part(core), outcome, published, self.now);
        if judged.ended != OutcomeKind::Done && at.len() > 1 {
            return self.retry_one_by_one();
        }
        // A handler that timed out may be in the middle of a statement, and only dropping the transaction cancels that.
        let savepoint = savepoint && !timed_out;
        match rollback(judged.ended, touched, savepoint) {
            Rollback::Nothing => {}
            Rollback::Savepoint => tx.undo().await?,
            Rollback::Transaction => return self.again_without(at, item, handler, judged),
        }
        if judged.ended == OutcomeKind::Done {
            self.effects.call(hooks);
        }
        if matches!(judged.ended, OutcomeKind::Done | OutcomeKind::Rejected) {
            let refused = judged.ended == OutcomeKind::Rejected;
            for index in at {
                self.effects.count(outcome_counter(&core.handler_series[handler], judged.ended));
                if *index != at[at.len() - 1] {
                    self.effects.published(core, &self.items[*index], handler, refused, Vec::new(), self.now);
                }
            }
            // The events of a batch are published as caused by its last message.
            let last = &self.items[at[at.len() - 1]];
            self.effects.published(core, last, handler, refused, judged.events, self.now);
            return Ok(Some(tx));
        }
        let failed = Failed::new(core, item, handler, judged.ended, judged.error);
        self.conclude(tx, at[0], item, handler, failed).await
    }

    async fn conclude(
        &mut self,
        tx: Box<dyn StoreTx>,
        at: usize,
        item: &Item,
        handler: usize,
        failed: Failed,
    ) -> Result<Open, StoreError> {
        match apply_failure(self.core, tx, item, handler, &failed, &mut self.effects, self.now).await? {
            Ok(tx) => Ok(Some(tx)),
            Err(error) => {
                self.retry_state.use_savepoints = true;
                self.retry_state.failed.insert(at, Failed { last_words: Some(error), ..failed });
                Ok(None)
            }
        }
    }

    fn undecodable(&mut self, item: &Item, fault: &Fault) {
        if self.effects.ignored(self.core, item, &fault.to_string()) {
            return;
        }
        self.effects.count(&self.core.series.dead_undecodable);
        self.effects.done(item);
        self.effects.dead_letter(self.core, item, 0, "undecodable", &fault.to_string(), self.now);
    }

    /// Runs everything again, with savepoints and one message at a time.
    fn retry_one_by_one(&mut self) -> Result<Open, StoreError> {
        self.retry_state.one_by_one = true;
        self.retry_state.use_savepoints = true;
        Ok(None)
    }

    /// Runs everything again, with savepoints and without the message that has failed.
    fn again_without(&mut self, at: &[usize], item: &Item, handler: usize, judged: Judged) -> Result<Open, StoreError> {
        if at.len() > 1 {
            return self.retry_one_by_one();
        }
        self.retry_state.use_savepoints = true;
        // A refusal without a savepoint cannot be rolled back alone, so its handler runs again under a savepoint.
        if judged.ended != OutcomeKind::Rejected {
            let failed = Failed::new(self.core, item, handler, judged.ended, judged.error);
            self.retry_state.failed.insert(at[0], failed);
        }
        Ok(None)
    }
}
