//! Deliveries of handlers that take [`Work`]: the handler begins its transaction itself, after a call to another system.
//!
//! No transaction is open during the call. When the handler begins one, the message is claimed in it. If the handler never begins one, the
//! runtime begins one afterwards. A failure is written in a separate transaction.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    call::{Called, call, decode},
    core::Core,
    effects::{Effects, Written, outcome_counter},
    fence::{self, Disposition, Shutdown},
    item::Item,
    judge::{Failed, apply_failure, judge, tx_not_returned},
    last::{backoff, failed, give_up_with_letter_only, is_overdue, set_aside, told},
    panics::guarded,
    parked,
    poison::{CommitFailure, PoisonDetector},
    replacement::{self, Arrival, Claim, Replacement},
    saga::{self, Decision, Scope},
    service::ServiceHandle,
    spans::{Commit, Kind, Moment, Span},
};
use crate::{
    engine::{
        batch::{AfterHandler, Origin, OutcomeKind},
        fallback::{Fallback, NextFallback},
        saga::barrier::NoEffect,
    },
    extract::{Invocation, Work},
    failure::Fault,
    handler::Outcome,
    message::TraceContext,
    saga::LeftBehind,
    store::{StoreError, StoreTx, Tx, TxSlot},
    time::Timestamp,
};

/// Delivers `item`. Returns when its effects are durable, or when it is certain that this process does not commit them.
pub(crate) async fn run(core: &Arc<Core>, item: &Item, stop: &Shutdown) -> Disposition {
    let Some(handler) = item.handler() else { return Disposition::Done };
    let (mut failures, mut poison, mut blame) = (0_u32, PoisonDetector::default(), Blame::default());
    let disposition = loop {
        let failure = match guarded(blame.run(core, item, handler, stop)).await {
            Ok(Ok(disposition)) => break disposition,
            Ok(Err(error)) => CommitFailure::Store(error),
            Err(text) => CommitFailure::Panic { part: blame.part(), text },
        };
        failed(core, &failure);
        failures = failures.saturating_add(1);
        if stop.is_requested() {
            return Disposition::GivenBack;
        }
        // A handler with a call is not called again only to see whether the statement that the database rejected fails again.
        let at_once = blame.fallback == Fallback::Full && failure.counts_as_attempt() && core.store().check().await.is_ok();
        if at_once || poison.record(core, &failure).await {
            match blame.fallback.next(failure.counts_as_attempt() || is_overdue(core, item)) {
                NextFallback::With(fallback) => blame.grow(core, item, handler, fallback, &failure),
                NextFallback::SetAside => {
                    set_aside(core, item, &failure);
                    return Disposition::SetAside;
                }
            }
            poison = PoisonDetector::default();
            continue;
        }
        tracing::warn!(service = &*core.name, error = %failure, "the database failed; waiting");
        if stop.sleep(core, backoff(core, &failure, failures)).await {
            return Disposition::GivenBack;
        }
    };
    if failures > 0 {
        parked::reconcile(core, std::slice::from_ref(item), stop).await;
    }
    disposition
}

/// The failure that a message is given, and how the message is run because of it.
#[derive(Default)]
struct Blame {
    fallback: Fallback,
    failed: Option<Failed>,
    last: String,
}

impl Blame {
    async fn run(&self, core: &Arc<Core>, item: &Item, handler: usize, stop: &Shutdown) -> Result<Disposition, StoreError> {
        match (&self.failed, self.fallback) {
            (_, Fallback::DeadLetterOnly) => give_up_with_letter_only(core, item, &self.last, stop).await,
            (Some(failed), _) => match begin(core, item, core.clock.now(), stop).await? {
                Some(begun) => write_down(core, item, handler, failed.clone(), begun, stop).await,
                None => Ok(Disposition::Done),
            },
            (None, _) => attempt(core, item, handler, stop).await,
        }
    }

    fn part(&self) -> &'static str {
        match self.fallback {
            Fallback::Full => "the delivery outside its handler",
            Fallback::DeadLetterOnly => "writing its dead letter",
            _ => "writing down its failure",
        }
    }

    /// Records `failure` as the failure of the message's handler. From now on the message runs with `fallback`.
    fn grow(&mut self, core: &Core, item: &Item, handler: usize, fallback: Fallback, failure: &CommitFailure) {
        let error = told(self.failed.as_ref().map(|failed| failed.error.as_str()), failure);
        self.fallback = fallback;
        self.last.clone_from(&error);
        let failed = match self.failed.take() {
            Some(failed) => Failed { error, ..failed },
            None => Failed::new(core, item, handler, failure.outcome_kind(), error),
        };
        self.failed = Some(Failed { bare: fallback >= Fallback::WithoutSagas, ..failed });
    }
}

/// The result of the handler's request to begin the transaction.
#[derive(Default)]
enum Begun {
    #[default]
    Not,
    /// The transaction has begun. Contains the sagas that were loaded in it, and the dead letters that the message replaces.
    Yes(Scope, Option<Replacement>),
    Duplicate,
    /// The handler's step was settled in the meantime, by its compensation or by another attempt.
    Overtaken,
    Failed(StoreError),
}

async fn attempt(core: &Arc<Core>, item: &Item, handler: usize, stop: &Shutdown) -> Result<Disposition, StoreError> {
    let now = core.clock.now();
    let mut effects = Effects::default();
    if item.is_void(core) {
        return Ok(Disposition::Done);
    }
    if item.origin == Origin::Fresh {
        if item.again.is_none()
            && core.store().seen(&core.name, &[item.inbox_key()]).await? == [true]
            && !is_replay(core, item, now, stop).await?
        {
            core.handler_series[handler].duplicate.increment();
            return Ok(Disposition::Done);
        }
        let parked = core.parked().is_parked(&item.place) || parked::is_elsewhere(core, &item.place).await?;
        if !item.is_ours(core) {
            return Ok(Disposition::Fenced);
        }
        if parked {
            let Some((tx, replay)) = begin(core, item, now, stop).await? else { return Ok(Disposition::Done) };
            effects.count(&core.handler_series[handler].parked);
            let in_place = replay.is_some_and(|replay| effects.replayed(core, item, replay, true, now));
            if !in_place {
                effects.park_behind(item, now);
            }
            return commit(core, item, tx, effects, now).await;
        }
    }
    let value = match decode(core, item) {
        Ok(value) => value,
        Err(unread) => match unread.ended() {
            Ok((ended, why)) => {
                let failed = Failed::new(core, item, handler, ended, why);
                return match begin(core, item, now, stop).await? {
                    Some(begun) => write_down(core, item, handler, failed, begun, stop).await,
                    None => Ok(Disposition::Done),
                };
            }
            Err(fault) => {
                if !effects.ignored(core, item, &fault.to_string()) {
                    effects.count(&core.series.dead_undecodable);
                    effects.done(item);
                    effects.dead_letter(core, item, 0, "undecodable", &fault.to_string(), now);
                }
                return claim_and_commit(core, item, effects, now, stop).await;
            }
        },
    };

    item.span.begins(core);
    let mut messages = vec![(value, item.meta(core, handler, now))];
    if item.role(core).is_some() {
        match enter(core, item, handler, now, stop).await? {
            Entered::Ended(disposition) => return Ok(disposition),
            Entered::Call => {}
            Entered::Undo(record) => {
                if let Err((ended, why)) = saga::left_behind(core, handler, record.as_ref(), &mut messages) {
                    let failed = Failed::new(core, item, handler, ended, why);
                    return match begin(core, item, now, stop).await? {
                        Some(begun) => write_down(core, item, handler, failed, begun, stop).await,
                        None => Ok(Disposition::Done),
                    };
                }
            }
        }
    }

    let (slot, begun) = (TxSlot::default(), Arc::new(Mutex::new(Begun::Not)));
    let called = Arc::new(Mutex::new(Moment::default()));
    let invocation = Invocation {
        messages,
        tx: None,
        work: Some(work(core, item, slot.clone(), begun.clone(), called.clone())),
        state: core.state.clone(),
        service: Some(Box::new(ServiceHandle::new(core))),
    };
    let calling = core.spans.begin(&item.span.context);
    let Called { outcome, span, .. } = call(core, item, &[], handler, core.handlers[handler].call_fn(), invocation).await;
    let until = *called.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(span) = span {
        export_call_span(core, &span, handler, calling, until);
    }
    let begun = std::mem::take(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner));
    let returned = slot.take();
    let (mut scope, mut replay) = (Scope::default(), None);
    let (outcome, returned) = match (begun, returned) {
        (Begun::Failed(error), _) => return Err(error),
        (Begun::Overtaken, returned) => {
            drop(returned);
            effects.without_effect(core, item, NoEffect::Late);
            return claim_and_commit(core, item, effects, core.clock.now(), stop).await;
        }
        (Begun::Duplicate, _) => {
            core.handler_series[handler].duplicate.increment();
            return Ok(Disposition::Done);
        }
        (Begun::Yes(..), None) => (Outcome::Retry(Fault::new(tx_not_returned(core, handler))), None),
        (Begun::Yes(known, answered), returned) => {
            (scope, replay) = (known, answered);
            (outcome, returned)
        }
        (Begun::Not, returned) => (outcome, returned),
    };

    let now = core.clock.now();
    let (open, published) = match returned {
        Some(returned) => (Some((returned.tx, returned.after_commit)), returned.published),
        None => (None, Vec::new()),
    };
    let judged = judge(core, item.part(core), outcome, published, now);
    // A transaction that is not kept is rolled back now: on a database with one writer, the next one could not begin before.
    let kept = open.filter(|_| judged.ended == OutcomeKind::Done);
    let (tx, scope, replay) = match kept {
        Some((tx, hooks)) => {
            effects.call(hooks);
            (tx, scope, replay)
        }
        None => {
            let Some((mut tx, replay)) = begin(core, item, now, stop).await? else {
                core.handler_series[handler].duplicate.increment();
                return Ok(Disposition::Done);
            };
            let mut scope = Scope::default();
            scope.load(core, &mut *tx, std::iter::once(item)).await?;
            let overtaken = item.role(core).is_some_and(|role| !scope.goes_on(role, item));
            if overtaken && matches!(judged.ended, OutcomeKind::Done | OutcomeKind::Rejected) {
                effects.without_effect(core, item, NoEffect::Late);
                took_over(core, item, replay, &mut effects, now);
                return commit(core, item, tx, effects, now).await;
            }
            (tx, scope, replay)
        }
    };
    effects.sagas = scope;
    if matches!(judged.ended, OutcomeKind::Done | OutcomeKind::Rejected) {
        took_over(core, item, replay, &mut effects, now);
        effects.count(outcome_counter(&core.handler_series[handler], judged.ended));
        effects.published(core, item, handler, judged.ended == OutcomeKind::Rejected, judged.events, now);
        return commit(core, item, tx, effects, now).await;
    }
    write_down(core, item, handler, Failed::new(core, item, handler, judged.ended, judged.error), (tx, replay), stop).await
}

/// How the delivery of a saga's message continues before its handler is called.
enum Entered {
    /// The delivery has ended with this disposition.
    Ended(Disposition),
    /// The handler is called.
    Call,
    /// The compensation is called with the record that the step left behind.
    Undo(Option<LeftBehind>),
}

/// The time that a compensation waits for an attempt in addition to the handler's timeout. It covers the commit before the call, and clocks
/// of other processes that are ahead.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Asks the barrier, and records that an attempt begins, so that a compensation that arrives during the attempt waits for it.
async fn enter(core: &Arc<Core>, item: &Item, handler: usize, now: Timestamp, stop: &Shutdown) -> Result<Entered, StoreError> {
    let Some(role) = item.role(core) else { return Ok(Entered::Call) };
    let mut effects = Effects::default();
    let mut tx = stop.begin(core).await?;
    effects.sagas.load(core, &mut *tx, std::iter::once(item)).await?;
    let entered = match effects.sagas.decide_item(core, role, item, now) {
        Decision::RunHandler => Entered::Call,
        Decision::Undo(record) => Entered::Undo(record),
        Decision::Wait(until) => {
            let failed = Failed::new(core, item, handler, saga::wait(until, now), saga::IN_PROGRESS.to_owned());
            if item.origin == Origin::Fresh && tx.claim(&core.name, &[item.inbox_key()], now).await? != [true] {
                return Ok(Entered::Ended(Disposition::Done));
            }
            // The attempt that it waits for belongs to another message, so its record is left unchanged.
            let AfterHandler::Park { attempts, due } = failed.after else {
                return write_down(core, item, handler, failed, (tx, None), stop).await.map(Entered::Ended);
            };
            effects.park(item, attempts, due, &failed.error);
            effects.put_off(item, &failed.error);
            return commit(core, item, tx, effects, now).await.map(Entered::Ended);
        }
        Decision::Nothing(reason) => {
            match claim(core, item, &mut *tx, now).await? {
                Claim::Known => return Ok(Entered::Ended(Disposition::Done)),
                Claim::Replaces(replay) => took_over(core, item, Some(replay), &mut effects, now),
                Claim::New => {}
            }
            effects.without_effect(core, item, reason);
            return commit(core, item, tx, effects, now).await.map(Entered::Ended);
        }
    };
    // Read the clock again: the transaction may have waited before it began.
    let begins = core.clock.now();
    effects.sagas.begin(role, item, begins.after(core.handlers[handler].options().timeout + LEASE_MARGIN), begins);
    effects.sagas.write(core, &mut *tx, now).await?;
    tx.commit().await?;
    Ok(entered)
}

/// Writes the failure in the transaction of `begun`. If the `exhausted` fn loses that transaction, writes it in another one.
async fn write_down(
    core: &Arc<Core>,
    item: &Item,
    handler: usize,
    mut failed: Failed,
    begun: (Box<dyn StoreTx>, Option<Replacement>),
    stop: &Shutdown,
) -> Result<Disposition, StoreError> {
    let now = core.clock.now();
    let mut open = Some(begun);
    while let Some((mut tx, replay)) = open.take() {
        let mut effects = Effects::default();
        took_over(core, item, replay, &mut effects, now);
        if !failed.bare {
            effects.sagas.load(core, &mut *tx, std::iter::once(item)).await?;
        }
        match apply_failure(core, tx, item, handler, &failed, &mut effects, now).await? {
            Ok(tx) => {
                if failed.bare {
                    effects.sagas = Scope::default();
                }
                return commit(core, item, tx, effects, now).await;
            }
            Err(error) => {
                failed.last_words = Some(error);
                open = begin(core, item, now, stop).await?;
            }
        }
    }
    Ok(Disposition::Done)
}

/// Exports the span of the call to another system: up to `until`, when the handler began its transaction, or until now if it never did.
fn export_call_span(core: &Core, within: &TraceContext, handler: usize, began: Moment, until: Moment) {
    if began.is_recorded() {
        let name = core.handlers[handler].options().name;
        let span = Span::new(&within.child(&core.ids), format!("call {name}"), Kind::Internal)
            .within(within)
            .with([("sagas.handler", name.into())]);
        core.spans.export(span.from(began, if until.is_recorded() { until } else { Moment::now() }));
    }
}

/// Creates the handler's right to begin the transaction. The time at which it does is stored in `called`.
fn work(core: &Arc<Core>, item: &Item, slot: TxSlot, begun: Arc<Mutex<Begun>>, called: Arc<Mutex<Moment>>) -> Work {
    let core = core.clone();
    let trace = item.span.context.clone();
    let arrival = (item.origin == Origin::Fresh).then(|| Arrival::of(item));
    let part = item.role(&core).cloned().zip(item.instance(&core));
    Work::new(Box::new(move || {
        Box::pin(async move {
            *called.lock().unwrap_or_else(PoisonError::into_inner) = core.spans.begin(&trace);
            let now = core.clock.now();
            let opened = async {
                let mut tx = core.store().begin().await?;
                let claim = match &arrival {
                    Some(arrival) => replacement::claim(&core, &mut *tx, arrival, now).await?,
                    None => Claim::New,
                };
                let (mut scope, mut goes_on) = (Scope::default(), true);
                if let Some((role, instance)) = &part {
                    scope.load_instance(&core, &mut *tx, instance).await?;
                    goes_on = scope.goes_on_with(role, instance);
                }
                let replay = match claim {
                    Claim::Known => return Ok(None),
                    Claim::New => None,
                    Claim::Replaces(replay) => Some(replay),
                };
                Ok::<_, StoreError>(Some((tx, scope, goes_on, replay)))
            };
            let opened = opened.await;
            let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            match opened {
                Ok(Some((_, _, false, _))) => {
                    *begun = Begun::Overtaken;
                    Err(Fault::new("the step was settled in the meantime, by its compensation or by another attempt"))
                }
                Ok(Some((tx, scope, true, replay))) => {
                    *begun = Begun::Yes(scope, replay);
                    Ok(Tx::lend(tx, slot, false, core.ids.clone(), now))
                }
                Ok(None) => {
                    *begun = Begun::Duplicate;
                    Err(Fault::new("the message was handled in the meantime"))
                }
                Err(error) => {
                    let fault = Fault::new(error.to_string());
                    *begun = Begun::Failed(error);
                    Err(fault)
                }
            }
        })
    }))
}

/// Claims the message. A parked message was claimed when it was first delivered.
async fn claim(core: &Core, item: &Item, tx: &mut dyn StoreTx, now: Timestamp) -> Result<Claim, StoreError> {
    match item.origin {
        Origin::Fresh => replacement::claim(core, tx, &Arrival::of(item), now).await,
        Origin::Parked { .. } => Ok(Claim::New),
    }
}

/// Begins a transaction and claims the message, with the dead letters that it replaces. Returns `None` for a duplicate.
async fn begin(
    core: &Arc<Core>,
    item: &Item,
    now: Timestamp,
    stop: &Shutdown,
) -> Result<Option<(Box<dyn StoreTx>, Option<Replacement>)>, StoreError> {
    let mut tx = stop.begin(core).await?;
    Ok(match claim(core, item, &mut *tx, now).await? {
        Claim::New => Some((tx, None)),
        Claim::Replaces(replay) => Some((tx, Some(replay))),
        Claim::Known => None,
    })
}

/// Returns whether a message that the inbox contains replaces a dead letter. Writes nothing.
async fn is_replay(core: &Arc<Core>, item: &Item, now: Timestamp, stop: &Shutdown) -> Result<bool, StoreError> {
    let mut tx = stop.begin(core).await?;
    Ok(matches!(claim(core, item, &mut *tx, now).await?, Claim::Replaces(_)))
}

/// Settles the dead letters that `item`, which has run, replaces, and releases the keys that they hold.
fn took_over(core: &Core, item: &Item, replay: Option<Replacement>, effects: &mut Effects, now: Timestamp) {
    if let Some(replay) = replay {
        effects.replayed(core, item, replay, false, now);
    }
}

async fn claim_and_commit(
    core: &Arc<Core>,
    item: &Item,
    mut effects: Effects,
    now: Timestamp,
    stop: &Shutdown,
) -> Result<Disposition, StoreError> {
    match begin(core, item, now, stop).await? {
        Some((tx, replay)) => {
            took_over(core, item, replay, &mut effects, now);
            commit(core, item, tx, effects, now).await
        }
        None => Ok(Disposition::Done),
    }
}

async fn commit(
    core: &Arc<Core>,
    item: &Item,
    mut tx: Box<dyn StoreTx>,
    mut effects: Effects,
    now: Timestamp,
) -> Result<Disposition, StoreError> {
    match effects.write(core, &mut *tx, now).await? {
        Written::Staged(staged) => {
            if !fence::check_ownership(core, &mut *tx, std::iter::once(item)).await?.is_empty() {
                return Ok(Disposition::Fenced);
            }
            let commit = Commit::begin(core, std::iter::once(item));
            core.commit(tx, staged).await?;
            commit.ended(core, std::iter::once(item));
            effects.committed(core, now);
        }
        // Another process has handled the parked message, so none of these effects are committed.
        Written::Gone(_) => {
            drop(tx);
            let mut gone = Effects::default();
            gone.gone(item);
            gone.committed(core, now);
        }
    }
    Ok(Disposition::Done)
}
