//! One message whose handler begins its transaction itself, after a call to the outside.
//!
//! No transaction is held while the handler waits. When it begins one, the message is claimed in it; when it never does, one
//! is begun for it. A failure is written down in a transaction of its own.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::{
    answered::{self, Arrival, Claim, Replay},
    call::{Called, call, decode},
    core::Core,
    effects::{Effects, Written, outcome_counter},
    fence::{self, Fate, Stop},
    item::Item,
    judge::{Failed, conclude, judge, moved_away},
    last::{backoff, bury, failed, is_overdue, leave_alone, told},
    panics::guarded,
    parked,
    saga::{self, Before, Scope},
    service::ServiceHandle,
    spans::{Commit, Kind, Moment, Span},
    suspicion::{Suspicion, Trouble},
};
use crate::{
    engine::{
        batch::{After, Ended, Origin},
        care::{Care, Next},
        saga::barrier::Reason,
    },
    extract::Work,
    failure::Fault,
    handler::{Invocation, Outcome},
    message::TraceContext,
    store::{StoreError, StoreTx, Tx, TxSlot},
    time::Timestamp,
};

/// Runs `item`, and returns when its effects are durable, or will not be here.
pub(crate) async fn run(core: &Arc<Core>, item: &Item, stop: &Stop) -> Fate {
    let Some(handler) = item.handler() else { return Fate::Done };
    let (mut failures, mut suspicion, mut blame) = (0_u32, Suspicion::default(), Blame::default());
    let fate = loop {
        let trouble = match guarded(blame.run(core, item, handler, stop)).await {
            Ok(Ok(fate)) => break fate,
            Ok(Err(error)) => Trouble::Store(error),
            Err(text) => Trouble::Panic { part: blame.part(), text },
        };
        failed(core, &trouble);
        failures = failures.saturating_add(1);
        if stop.is_there() {
            return Fate::GivenBack;
        }
        // A handler that calls out is not called again to see whether the database gives the same statement up.
        let at_once = blame.care == Care::Whole && trouble.counts() && core.store().check().await.is_ok();
        if at_once || suspicion.grows(core, &trouble).await {
            match blame.care.next(trouble.counts() || is_overdue(core, item)) {
                Next::With(care) => blame.grow(core, item, handler, care, &trouble),
                Next::LeftAlone => {
                    leave_alone(core, item, &trouble);
                    return Fate::LeftAlone;
                }
            }
            suspicion = Suspicion::default();
            continue;
        }
        tracing::warn!(service = &*core.name, error = %trouble, "the database failed; waiting");
        if stop.comes_within(core, backoff(core, &trouble, failures)).await {
            return Fate::GivenBack;
        }
    };
    if failures > 0 {
        parked::reconcile(core, std::slice::from_ref(item), stop).await;
    }
    fate
}

/// What is known to be wrong with a message, and how it is run for that.
#[derive(Default)]
struct Blame {
    care: Care,
    failed: Option<Failed>,
    last: String,
}

impl Blame {
    async fn run(&self, core: &Arc<Core>, item: &Item, handler: usize, stop: &Stop) -> Result<Fate, StoreError> {
        match (&self.failed, self.care) {
            (_, Care::Last) => bury(core, item, &self.last, stop).await,
            (Some(failed), _) => match begin(core, item, core.clock.now(), stop).await? {
                Some(begun) => write_down(core, item, handler, failed.clone(), begun, stop).await,
                None => Ok(Fate::Done),
            },
            (None, _) => attempt(core, item, handler, stop).await,
        }
    }

    fn part(&self) -> &'static str {
        match self.care {
            Care::Whole => "the delivery outside its handler",
            Care::Last => "writing its dead letter",
            _ => "writing down its failure",
        }
    }

    /// Takes `trouble` as the failure of the message's handler; from now on it is run with `care`.
    fn grow(&mut self, core: &Core, item: &Item, handler: usize, care: Care, trouble: &Trouble) {
        let error = told(self.failed.as_ref().map(|failed| failed.error.as_str()), trouble);
        self.care = care;
        self.last.clone_from(&error);
        let failed = match self.failed.take() {
            Some(failed) => Failed { error, ..failed },
            None => Failed::new(core, item, handler, trouble.ended(), error),
        };
        self.failed = Some(Failed { bare: care >= Care::Bare, ..failed });
    }
}

/// How the beginning went that the handler asked for.
#[derive(Default)]
enum Begun {
    #[default]
    Not,
    /// With what is known of its sagas in that transaction, and the dead letters that the message answers.
    Yes(Scope, Option<Replay>),
    Duplicate,
    /// Somebody else has settled the step that the handler is at.
    Overtaken,
    Failed(StoreError),
}

async fn attempt(core: &Arc<Core>, item: &Item, handler: usize, stop: &Stop) -> Result<Fate, StoreError> {
    let now = core.clock.now();
    let mut effects = Effects::default();
    if item.is_void(core) {
        return Ok(Fate::Done);
    }
    if item.origin == Origin::Fresh {
        if item.again.is_none()
            && core.store().seen(&core.name, &[item.inbox_key()]).await? == [true]
            && !is_replay(core, item, now, stop).await?
        {
            core.handler_series[handler].duplicate.increment();
            return Ok(Fate::Done);
        }
        let parked = core.lot().is_parked(&item.place) || parked::is_elsewhere(core, &item.place).await?;
        if !item.is_ours(core) {
            return Ok(Fate::Fenced);
        }
        if parked {
            let Some((tx, replay)) = begin(core, item, now, stop).await? else { return Ok(Fate::Done) };
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
        Err(fault) => {
            effects.count(&core.series.dead_undecodable);
            effects.done(item);
            effects.dead_letter(core, item, 0, "undecodable", &fault.to_string(), now);
            return claim_and_commit(core, item, effects, now, stop).await;
        }
    };

    item.span.begins(core);
    let mut messages = vec![(value, item.meta(core, handler, now))];
    if item.role(core).is_some() {
        match enter(core, item, handler, now, stop).await? {
            Entered::Fate(fate) => return Ok(fate),
            Entered::Call => {}
            Entered::Undo(record) => {
                if let Err(fault) = saga::left_behind(core, handler, record.as_deref(), &mut messages) {
                    let failed = Failed::new(core, item, handler, Ended::Dead, fault.to_string());
                    return match begin(core, item, now, stop).await? {
                        Some(begun) => write_down(core, item, handler, failed, begun, stop).await,
                        None => Ok(Fate::Done),
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
        tell_call(core, &span, handler, calling, until);
    }
    let begun = std::mem::take(&mut *begun.lock().unwrap_or_else(PoisonError::into_inner));
    let returned = slot.take();
    let (mut scope, mut replay) = (Scope::default(), None);
    let (outcome, returned) = match (begun, returned) {
        (Begun::Failed(error), _) => return Err(error),
        (Begun::Overtaken, returned) => {
            drop(returned);
            effects.without_effect(core, item, Reason::Late);
            return claim_and_commit(core, item, effects, core.clock.now(), stop).await;
        }
        (Begun::Duplicate, _) => {
            core.handler_series[handler].duplicate.increment();
            return Ok(Fate::Done);
        }
        (Begun::Yes(..), None) => (Outcome::Retry(Fault::new(moved_away(core, handler))), None),
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
    // What does not stand is rolled back now: on a database with one writer, no other transaction could begin before.
    let kept = open.filter(|_| judged.ended == Ended::Done);
    let (tx, scope, replay) = match kept {
        Some((tx, hooks)) => {
            effects.call(hooks);
            (tx, scope, replay)
        }
        None => {
            let Some((mut tx, replay)) = begin(core, item, now, stop).await? else {
                core.handler_series[handler].duplicate.increment();
                return Ok(Fate::Done);
            };
            let mut scope = Scope::default();
            scope.load(core, &mut *tx, std::iter::once(item)).await?;
            let overtaken = item.role(core).is_some_and(|role| !scope.goes_on(role, item));
            if overtaken && matches!(judged.ended, Ended::Done | Ended::Rejected) {
                effects.without_effect(core, item, Reason::Late);
                took_over(core, item, replay, &mut effects, now);
                return commit(core, item, tx, effects, now).await;
            }
            (tx, scope, replay)
        }
    };
    effects.sagas = scope;
    if matches!(judged.ended, Ended::Done | Ended::Rejected) {
        took_over(core, item, replay, &mut effects, now);
        effects.count(outcome_counter(&core.handler_series[handler], judged.ended));
        effects.published(core, item, handler, judged.ended == Ended::Rejected, judged.events, now);
        return commit(core, item, tx, effects, now).await;
    }
    write_down(core, item, handler, Failed::new(core, item, handler, judged.ended, judged.error), (tx, replay), stop).await
}

/// What becomes of a message of a saga before its handler is called.
enum Entered {
    /// Nothing more: this is its fate.
    Fate(Fate),
    /// The handler is called.
    Call,
    /// The compensation is called with what the step left behind.
    Undo(Option<String>),
}

/// How much longer a compensation waits for an attempt than the attempt may take: for the commit before its call, and for clocks of
/// other processes that are ahead.
const LEASE_MARGIN: Duration = Duration::from_secs(5);

/// Asks the barrier, and writes down that an attempt begins: a compensation that comes meanwhile waits for it.
async fn enter(core: &Arc<Core>, item: &Item, handler: usize, now: Timestamp, stop: &Stop) -> Result<Entered, StoreError> {
    let Some(role) = item.role(core) else { return Ok(Entered::Call) };
    let mut effects = Effects::default();
    let mut tx = stop.begin(core).await?;
    effects.sagas.load(core, &mut *tx, std::iter::once(item)).await?;
    let entered = match effects.sagas.before(core, role, item, now) {
        Before::Call => Entered::Call,
        Before::Undo(record) => Entered::Undo(record),
        Before::Wait(until) => {
            let failed = Failed::new(core, item, handler, saga::wait(until, now), saga::IN_PROGRESS.to_owned());
            if item.origin == Origin::Fresh && tx.claim(&core.name, &[item.inbox_key()], now).await? != [true] {
                return Ok(Entered::Fate(Fate::Done));
            }
            // It waits for another's attempt, which stays as it is.
            let After::Park { attempts, due } = failed.after else {
                return write_down(core, item, handler, failed, (tx, None), stop).await.map(Entered::Fate);
            };
            effects.park(item, attempts, due, &failed.error);
            effects.put_off(item, &failed.error);
            return commit(core, item, tx, effects, now).await.map(Entered::Fate);
        }
        Before::Nothing(reason) => {
            match claim(core, item, &mut *tx, now).await? {
                Claim::Known => return Ok(Entered::Fate(Fate::Done)),
                Claim::Replay(replay) => took_over(core, item, Some(replay), &mut effects, now),
                Claim::New => {}
            }
            effects.without_effect(core, item, reason);
            return commit(core, item, tx, effects, now).await.map(Entered::Fate);
        }
    };
    // Taken anew: the transaction may have waited for its beginning.
    let begins = core.clock.now();
    effects.sagas.begin(role, item, begins.after(core.handlers[handler].options().timeout + LEASE_MARGIN), begins);
    effects.sagas.write(core, &mut *tx, now).await?;
    tx.commit().await?;
    Ok(entered)
}

/// Writes down a failure, in `tx` or, where that is lost with the handler's last words, in another.
async fn write_down(
    core: &Arc<Core>,
    item: &Item,
    handler: usize,
    mut failed: Failed,
    begun: (Box<dyn StoreTx>, Option<Replay>),
    stop: &Stop,
) -> Result<Fate, StoreError> {
    let now = core.clock.now();
    let mut open = Some(begun);
    while let Some((mut tx, replay)) = open.take() {
        let mut effects = Effects::default();
        took_over(core, item, replay, &mut effects, now);
        if !failed.bare {
            effects.sagas.load(core, &mut *tx, std::iter::once(item)).await?;
        }
        match conclude(core, tx, item, handler, &failed, &mut effects, now).await? {
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
    Ok(Fate::Done)
}

/// Tells what the handler did outside, `until` it began its transaction, or to its end.
fn tell_call(core: &Core, within: &TraceContext, handler: usize, began: Moment, until: Moment) {
    if began.is_recorded() {
        let name = core.handlers[handler].options().name;
        let span = Span::new(&within.child(&core.ids), format!("call {name}"), Kind::Internal)
            .within(within)
            .with([("sagas.handler", name.into())]);
        core.spans.tell(span.from(began, if until.is_recorded() { until } else { Moment::now() }));
    }
}

/// The right to begin the transaction that the handler is given. When it did is noted in `called`.
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
                    Some(arrival) => answered::claim(&core, &mut *tx, arrival, now).await?,
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
                    Claim::Replay(replay) => Some(replay),
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

/// Claims the message. One that was parked was claimed when it came.
async fn claim(core: &Core, item: &Item, tx: &mut dyn StoreTx, now: Timestamp) -> Result<Claim, StoreError> {
    match item.origin {
        Origin::Fresh => answered::claim(core, tx, &Arrival::of(item), now).await,
        Origin::Parked { .. } => Ok(Claim::New),
    }
}

/// Begins a transaction and claims the message, with the dead letters that it answers; `None` for a message that was handled before.
async fn begin(
    core: &Arc<Core>,
    item: &Item,
    now: Timestamp,
    stop: &Stop,
) -> Result<Option<(Box<dyn StoreTx>, Option<Replay>)>, StoreError> {
    let mut tx = stop.begin(core).await?;
    Ok(match claim(core, item, &mut *tx, now).await? {
        Claim::New => Some((tx, None)),
        Claim::Replay(replay) => Some((tx, Some(replay))),
        Claim::Known => None,
    })
}

/// Whether a message that the inbox knows answers a dead letter. Nothing is written.
async fn is_replay(core: &Arc<Core>, item: &Item, now: Timestamp, stop: &Stop) -> Result<bool, StoreError> {
    let mut tx = stop.begin(core).await?;
    Ok(matches!(claim(core, item, &mut *tx, now).await?, Claim::Replay(_)))
}

/// `item`, which has run, answers these dead letters: what held their keys for them lets go.
fn took_over(core: &Core, item: &Item, replay: Option<Replay>, effects: &mut Effects, now: Timestamp) {
    if let Some(replay) = replay {
        effects.replayed(core, item, replay, false, now);
    }
}

async fn claim_and_commit(
    core: &Arc<Core>,
    item: &Item,
    mut effects: Effects,
    now: Timestamp,
    stop: &Stop,
) -> Result<Fate, StoreError> {
    match begin(core, item, now, stop).await? {
        Some((tx, replay)) => {
            took_over(core, item, replay, &mut effects, now);
            commit(core, item, tx, effects, now).await
        }
        None => Ok(Fate::Done),
    }
}

async fn commit(
    core: &Arc<Core>,
    item: &Item,
    mut tx: Box<dyn StoreTx>,
    mut effects: Effects,
    now: Timestamp,
) -> Result<Fate, StoreError> {
    match effects.write(core, &mut *tx, now).await? {
        Written::Staged(staged) => {
            if !fence::hold(core, &mut *tx, std::iter::once(item)).await?.is_empty() {
                return Ok(Fate::Fenced);
            }
            let commit = Commit::begin(core, std::iter::once(item));
            core.commit(tx, staged).await?;
            commit.ended(core, std::iter::once(item));
            effects.committed(core, now);
        }
        // Somebody else has handled the parked message: nothing of this is wanted.
        Written::Gone(_) => {
            drop(tx);
            let mut gone = Effects::default();
            gone.gone(item);
            gone.committed(core, now);
        }
    }
    Ok(Fate::Done)
}
