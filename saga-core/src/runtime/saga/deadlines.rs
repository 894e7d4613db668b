//! The timers of the instances: one task waits for the next deadline and then aborts the instance, or sets it to need attention. The step
//! records, read and written in the same transaction, decide between the abort and the pivot.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use tracing::Instrument;

use super::{
    super::{
        conditions::Severity,
        core::Core,
        item::Part,
        judge::judge,
        panics::{Panics, Task, guarded},
        poison::CommitFailure,
        service::ServiceHandle,
        spans::{CreateSpans, Ids, Kind, Span, brief as shortly},
    },
    Tracked, brief,
    history::entry,
    scope::{Decision, Scope},
    unreadable,
};
use crate::{
    engine::{
        batch::OutcomeKind,
        saga::{Firing, Instance},
    },
    extract::{Invocation, Meta},
    failure::Fault,
    handler::Outcome,
    id::MessageId,
    message::{Context, Envelope, Outgoing, TraceContext},
    saga::{Cause, InstanceKey, Role, RoleKind},
    store::{StoreError, StoreTx, Tx, TxSlot},
    time::{Timestamp, doubling},
};

/// The most timers that are handled before the database is asked again.
const PAGE: u32 = 100;
/// How often the timers are checked without a notification: those of another process, which can have set them and died, and those that
/// could not be handled.
const LOOK: Duration = Duration::from_secs(5);
/// The first and the longest wait after the handler of a deadline has failed.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// The number of failures of a deadline's handler after which the instance needs attention.
const ATTEMPTS: u32 = 10;

/// The longest wait for a timer that cannot be handled.
const LONGEST: Duration = Duration::from_secs(600);
/// The condition for timers that cannot be handled.
const DEADLINES_STUCK: &str = "deadlines_stuck";

/// How often instances are searched for that were written by a clock that was ahead.
const BRING_BACK: Duration = Duration::from_secs(60);

/// Handles the timers of the tracked instances, forever.
pub(crate) async fn watch(core: Arc<Core>) {
    let (mut failures, mut looked, mut stuck) = (0, None::<Timestamp>, Stuck::default());
    loop {
        core.sagas.planned.store(Timestamp::MAX.as_millis(), Ordering::SeqCst);
        let due = async {
            let now = core.clock.now();
            if looked.is_none_or(|looked| now.since(looked) >= BRING_BACK) {
                bring_back(&core).await?;
                looked = Some(now);
            }
            carry_out_due(&core, &mut stuck).await
        };
        let wait = match due.await {
            Ok(next) => {
                failures = 0;
                next
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(service = &*core.name, %error, "the deadlines of sagas could not be read; waiting");
                Some(core.clock.now().after(core.store_backoff(&error, failures)))
            }
        };
        let shared = core.store().sharing().is_some().then(|| core.clock.now().after(LOOK));
        let until = wait.into_iter().chain(shared).min();
        if let Some(until) = until {
            core.sagas.planned.store(until.as_millis(), Ordering::SeqCst);
        }
        // A timer that was set since the database was read has left a permit in `wake`.
        let timer = async {
            match until {
                Some(until) => core.clock.sleep(until.since(core.clock.now())).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => {}
            () = core.sagas.wake.notified() => {}
        }
    }
}

/// Corrects the timers of instances that were written by a clock that was ahead, because these would be due too late.
async fn bring_back(core: &Arc<Core>) -> Result<(), StoreError> {
    // What other processes write at the same time can be slightly ahead.
    const MOMENT: Duration = Duration::from_secs(1);
    loop {
        let found = core.store().sagas().updated_after(&core.name, core.clock.now().after(MOMENT), PAGE).await?;
        let mut brought = 0;
        for key in &found {
            let mut tx = core.store().begin().await?;
            // An instance that cannot be decoded has a condition already.
            let Ok(Some(instance)) = load(core, &mut *tx, key).await else { continue };
            let note = "it was written by a clock that was ahead: its timers end as much earlier";
            save(core, &mut *tx, &instance, "timer.moved", note, core.clock.now()).await?;
            tx.commit().await?;
            brought += 1;
        }
        if found.len() < PAGE as usize || brought == 0 {
            return Ok(());
        }
    }
}

/// Instances whose timers cannot be handled now: the number of tries, the time of the next one, and the reason.
#[derive(Default)]
struct Stuck(BTreeMap<InstanceKey, (u32, Timestamp, String)>);

impl Stuck {
    /// Postpones `key`, for longer each time.
    fn postpone(&mut self, key: &InstanceKey, failure: &CommitFailure, now: Timestamp) {
        let (tries, again, why) = self.0.entry(key.clone()).or_default();
        *again = now.after(doubling(LOOK, LONGEST, *tries));
        (*tries, *why) = (tries.saturating_add(1), failure.to_string());
    }

    fn waits(&self, key: &InstanceKey, now: Timestamp) -> bool {
        self.0.get(key).is_some_and(|(_, again, _)| *again > now)
    }

    /// Sets the condition: for each saga the number of instances, and the reason of one of them.
    fn report(&self, core: &Core) {
        let mut of_sagas: BTreeMap<&str, (usize, &InstanceKey, &str)> = BTreeMap::new();
        for (key, (.., why)) in self.0.iter().filter(|(_, (tries, ..))| *tries > 1) {
            of_sagas.entry(&key.saga).or_insert((0, key, why)).0 += 1;
        }
        let told = of_sagas.into_iter().map(|(saga, (count, key, why))| {
            let detail = format!(
                "the deadlines of {count} instances of {saga} cannot be carried out, for example that of `{}`: {why}; each is tried again after \
                 a growing delay, and the deadlines of other instances are carried out",
                key.id
            );
            (saga.to_owned(), Severity::Warning, detail)
        });
        core.conditions.set(DEADLINES_STUCK, told.collect::<Vec<_>>(), core.clock.now());
    }
}

/// Handles the timers that are due. Returns when the next timer is due.
async fn carry_out_due(core: &Arc<Core>, stuck: &mut Stuck) -> Result<Option<Timestamp>, StoreError> {
    let mut unavailable = false;
    let mut seen = BTreeSet::new();
    loop {
        let now = core.clock.now();
        // Postponed timers are due as well. The page is larger by their number, so that they do not displace others.
        let page = PAGE.saturating_add(u32::try_from(stuck.0.len()).unwrap_or(u32::MAX));
        let due = core.store().sagas().due(&core.name, now, page).await?;
        let is_last_page = due.len() < page as usize;
        seen.extend(due.iter().cloned());
        let mut progress = false;
        for key in due.iter().filter(|key| !stuck.waits(key, now)).collect::<Vec<_>>() {
            // A deadline that fails does not delay the others. The second error that the database is unavailable ends the loop.
            let failure = match carry_out(core, key).await {
                Ok(()) => {
                    progress = true;
                    stuck.0.remove(key);
                    continue;
                }
                Err(CommitFailure::Store(StoreError::Contended(_))) => continue,
                Err(CommitFailure::Store(error @ StoreError::Unavailable(_))) if std::mem::replace(&mut unavailable, true) => {
                    return Err(error);
                }
                Err(failure) => failure,
            };
            let (service, saga, instance) = (&*core.name, &key.saga, &key.id);
            tracing::debug!(service, saga, instance, error = %failure, "a deadline cannot be carried out; waiting");
            stuck.postpone(key, &failure, now);
            progress = true;
        }
        if is_last_page || !progress {
            break;
        }
    }
    // A postponed timer that is no longer due was handled or settled by another process.
    stuck.0.retain(|key, _| seen.contains(key));
    stuck.report(core);
    core.record_activity();
    let next = core.store().sagas().next_due(&core.name).await?;
    let soonest = core.clock.now().after(LOOK);
    Ok(next.map(|next| if stuck.0.is_empty() { next } else { next.max(soonest) }))
}

/// Handles the timers of one instance. A rejection by the database or a panic counts as a failure of the deadline's handler, if that
/// failure can be recorded.
async fn carry_out(core: &Arc<Core>, key: &InstanceKey) -> Result<(), CommitFailure> {
    let failure = match guarded(fire(core, key)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => CommitFailure::Store(error),
        Err(text) => {
            let failure = CommitFailure::Panic { part: "carrying out a deadline", text };
            Panics::note(core, "deadlines", Task::Helping, &failure.to_string());
            failure
        }
    };
    let Some(tracked) = core.sagas.tracked(&key.saga).filter(|_| failure.counts_as_attempt()) else { return Err(failure) };
    match guarded(reschedule_or_set_attention(core, tracked, key, &failure.to_string(), false, core.clock.now())).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(failure),
    }
}

/// Handles the timers of one instance that are due.
async fn fire(core: &Arc<Core>, key: &InstanceKey) -> Result<(), StoreError> {
    let Some(tracked) = core.sagas.tracked(&key.saga) else {
        return Err(StoreError::Incompatible(format!("this service does not track {} any more", key.saga)));
    };
    let now = core.clock.now();
    let mut tx = core.store().begin().await?;
    let mut scope = Scope::default();
    scope.load_instance(core, &mut *tx, key).await?;
    let Some(mut instance) = load(core, &mut *tx, key).await? else { return Ok(()) };
    let note = match instance.firing(&tracked.definition, now) {
        Firing::Nothing => return Ok(()),
        Firing::Attention(reason) => {
            tracing::warn!(service = &*core.name, saga = key.saga, instance = brief(&key.id), reason, "a saga needs attention");
            instance.set_attention(reason.clone(), now);
            reason
        }
        Firing::Abort(cause) => match handler(core, tracked) {
            Some((handler, role)) => return abort(core, tracked, key, (handler, role), cause, tx, scope, instance).await,
            None => {
                let reason = format!("{cause}, and this service has no handler for Deadline<{}>", key.saga);
                instance.set_attention(reason.clone(), now);
                reason
            }
        },
    };
    instance.fired(now);
    save(core, &mut *tx, &instance, "timer.attention", &note, now).await?;
    tx.commit().await
}

fn handler<'c>(core: &'c Core, tracked: &Tracked) -> Option<(usize, &'c Role)> {
    let handler = tracked.on_deadline?;
    Some((handler, core.handlers[handler].role().filter(|role| role.kind == RoleKind::Abort)?))
}

/// Aborts the instance by calling the handler, unless the pivot or another abort was first.
#[expect(clippy::too_many_arguments, reason = "the data of one transaction")]
async fn abort(
    core: &Arc<Core>,
    tracked: &Tracked,
    key: &InstanceKey,
    (handler, role): (usize, &Role),
    cause: Cause,
    mut tx: Box<dyn StoreTx>,
    mut scope: Scope,
    mut instance: Instance,
) -> Result<(), StoreError> {
    let now = core.clock.now();
    // The event that began the instance counts as the cause of the abort.
    let message_id = MessageId::new(instance.begun_by(&tracked.definition));
    if !matches!(scope.decide(role, key, None, &message_id, now), Decision::RunHandler) {
        instance.fired(now);
        if instance.is_decided(&tracked.definition) {
            tx.save_instances(&core.name, &[instance.record()]).await?;
        } else {
            let reason = format!("{cause}, and it is recorded as decided by an event that was never published");
            instance.set_attention(reason.clone(), now);
            save(core, &mut *tx, &instance, "timer.attention", &reason, now).await?;
        }
        return tx.commit().await;
    }
    let slot = TxSlot::default();
    let began = instance.body.trace.clone();
    let trace = core.spans.follow(began.as_ref(), &core.ids);
    let telling = core.spans.begin(&trace);
    let export_span = |error: Option<(&'static str, String)>| {
        core.spans.end(telling, || {
            Span::new(&trace, format!("deadline {}", key.saga), Kind::Internal)
                .within_remote(began.as_ref().map(TraceContext::span_id))
                .with([("sagas.saga", key.saga.as_str().into()), ("sagas.instance", brief(&key.id).into())])
                .with([("sagas.cause", cause.to_string().into())])
                .failed(error)
        });
    };
    let envelope = Envelope::internal(message_id.clone(), &core.name, now, &instance.body.correlation_id, began.clone());
    let envelope = Arc::new(envelope);
    let make = role.make_deadline.ok_or_else(|| StoreError::Refused("the handler of a deadline takes none".into()))?;
    let invocation = Invocation {
        messages: vec![(
            make(&key.id, instance.started_at, cause.clone()),
            meta(core, handler, (envelope.clone(), trace.clone()), now, &instance),
        )],
        tx: Some(Tx::lend(tx, slot.clone(), true, core.ids.clone(), now)),
        work: None,
        state: core.state.clone(),
        service: Some(Box::new(ServiceHandle::within_a_transaction(core)) as Box<dyn Any + Send>),
    };
    let span = tracing::error_span!(
        "deadline",
        service = &*core.name,
        saga = key.saga,
        instance = brief(&key.id),
        trace_id = %Ids(&trace).trace(),
        span_id = %Ids(&trace).span(),
    );
    let outcome = run(core, handler, invocation).instrument(span).await;
    let returned = slot.take();
    let published = returned.as_ref().map_or_else(Vec::new, |returned| returned.published.clone());
    let part = Part { saga: &role.saga, id: &key.id };
    let judged = judge(core, Some(part), outcome, published, now);
    match (judged.ended, returned) {
        (OutcomeKind::Done, Some(mut returned)) => {
            let tx = &mut *returned.tx;
            scope.conclude(role, key, &message_id, false, &judged.events, now);
            instance.fired(now);
            tx.append_history(&core.name, &[entry(core, &instance, "timer.deadline", &cause.to_string(), now)]).await?;
            scope.tracking.adopt(instance);
            let (context, mut create_spans) = (Context::caused_by(&envelope, trace.clone()), CreateSpans::default());
            scope.tracking.see_published(core, &judged.events, &context, now);
            scope.write(core, tx, now).await?;
            let records: Vec<_> = judged
                .events
                .into_iter()
                .map(|(id, event): (MessageId, Outgoing)| create_spans.record(core, &id, event, &context, now))
                .collect();
            let staged = core.stage(tx, &records).await?.with_hooks(returned.after_commit);
            core.commit(returned.tx, staged).await?;
            scope.committed(core);
            create_spans.committed(core);
            export_span(None);
            tracing::info!(service = &*core.name, saga = key.saga, instance = brief(&key.id), %cause, "a saga was given up");
            Ok(())
        }
        (ended, returned) => {
            drop(returned);
            export_span(Some(("retry", shortly(&judged.error))));
            reschedule_or_set_attention(core, tracked, key, &judged.error, ended == OutcomeKind::Dead, now).await
        }
    }
}

/// Schedules the timer again after the deadline's handler has failed.
///
/// After a permanent failure the handler is not called again, and the instance needs attention at once.
async fn reschedule_or_set_attention(
    core: &Arc<Core>,
    tracked: &Tracked,
    key: &InstanceKey,
    error: &str,
    for_good: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    tracing::warn!(
        service = &*core.name,
        saga = key.saga,
        instance = brief(&key.id),
        error,
        "the handler of a deadline has failed"
    );
    let mut tx = core.store().begin().await?;
    let Some(mut instance) = load(core, &mut *tx, key).await? else { return Ok(()) };
    if instance.firing(&tracked.definition, now) == Firing::Nothing {
        return Ok(());
    }
    if for_good || instance.body.attempts + 1 >= ATTEMPTS {
        let reason = match for_good {
            true => format!("the handler of its deadline has failed for good: {error}"),
            false => format!("the handler of its deadline has failed {ATTEMPTS} times: {error}"),
        };
        instance.set_attention(reason.clone(), now);
        instance.fired(now);
        save(core, &mut *tx, &instance, "timer.attention", &reason, now).await?;
    } else {
        let wait = doubling(RETRY.0, RETRY.1, instance.body.attempts);
        instance.fire_again(now, wait);
        tx.save_instances(&core.name, &[instance.record()]).await?;
    }
    tx.commit().await
}

/// Calls the handler once, with its timeout, and catches its panics.
async fn run(core: &Core, handler: usize, invocation: Invocation) -> Outcome {
    let definition = &core.handlers[handler];
    let timeout = definition.options().timeout;
    let call = AssertUnwindSafe(async { definition.call_fn()(invocation).await }).catch_unwind();
    tokio::select! {
        biased;
        ended = call => ended.unwrap_or_else(|_| Outcome::Retry(Fault::new(format!("handler `{}` panicked", definition.options().name)))),
        () = core.clock.sleep(timeout) => {
            Outcome::Retry(Fault::new(format!("handler `{}` took longer than its timeout of {timeout:?}", definition.options().name)))
        }
    }
}

fn meta(
    core: &Core,
    handler: usize,
    (envelope, trace): (Arc<Envelope>, TraceContext),
    now: Timestamp,
    instance: &Instance,
) -> Meta {
    Meta {
        envelope,
        service: core.name.clone(),
        handler: core.handlers[handler].options().name,
        topic: Arc::from(""),
        partition: -1,
        offset: -1,
        key: Some(Arc::from(instance.key.id.as_str())),
        attempt: instance.body.attempts.saturating_add(1),
        now,
        first_seen: now,
        trace,
        last_error: None,
        step: None,
    }
}

pub(crate) async fn load(core: &Core, tx: &mut dyn StoreTx, key: &InstanceKey) -> Result<Option<Instance>, StoreError> {
    Ok(unreadable::load(core, tx, std::slice::from_ref(key)).await?.pop())
}

/// Writes `instance` and an entry of its history.
pub(super) async fn save(
    core: &Core,
    tx: &mut dyn StoreTx,
    instance: &Instance,
    what: &str,
    note: &str,
    now: Timestamp,
) -> Result<(), StoreError> {
    tx.save_instances(&core.name, &[instance.record()]).await?;
    tx.append_history(&core.name, &[entry(core, instance, what, note, now)]).await
}
