//! The timers of the instances: waits for the next one, and decides, in one transaction with the pivot's records, who was first.

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
        judge::{Part, judge},
        panics::{Panics, Task, guarded},
        service::ServiceHandle,
        spans::{Ids, Kind, Making, Span, brief as shortly},
        suspicion::Trouble,
    },
    Tracked, brief,
    scope::{Before, Scope},
    unreadable,
};
use crate::{
    engine::{
        batch::Ended,
        saga::{Firing, Instance},
    },
    extract::Meta,
    failure::Fault,
    handler::{Invocation, Outcome},
    id::MessageId,
    message::{Context, Envelope, Outgoing, TraceContext},
    saga::{Cause, InstanceKey, Role, RoleKind},
    store::{HistoryEntry, StoreError, StoreTx, Tx, TxSlot},
    time::Timestamp,
};

/// Timers that are carried out before the next look.
const PAGE: u32 = 100;
/// How often timers are looked at that nobody waits for: those of another process, where there may be one, for it may have set them
/// and died; and those that could not be carried out.
const LOOK: Duration = Duration::from_secs(5);
/// The first wait of a deadline whose handler has failed, and the longest.
const RETRY: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(30));
/// Failures of a deadline's handler after which somebody has to look at the instance.
const ATTEMPTS: u32 = 10;

/// The longest wait of a timer that cannot be carried out.
const LONGEST: Duration = Duration::from_secs(600);
/// The condition that timers cannot be carried out.
const DEADLINES_STUCK: &str = "deadlines_stuck";

/// How often instances are looked for that were written by a clock that was ahead.
const BRING_BACK: Duration = Duration::from_secs(60);

/// Carries out the timers of the instances that are kept here, for ever.
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
            turn(&core, &mut stuck).await
        };
        let wait = match due.await {
            Ok(next) => {
                failures = 0;
                next
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(service = &*core.name, %error, "the deadlines of sagas could not be looked at; waiting");
                Some(core.clock.now().after(core.store_backoff(&error, failures)))
            }
        };
        let shared = core.store().sharing().is_some().then(|| core.clock.now().after(LOOK));
        let until = wait.into_iter().chain(shared).min();
        if let Some(until) = until {
            core.sagas.planned.store(until.as_millis(), Ordering::SeqCst);
        }
        // Whatever was committed between the look and here has left its permit.
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

/// Puts right the timers of instances that were written by a clock that was ahead: they would end late.
async fn bring_back(core: &Arc<Core>) -> Result<(), StoreError> {
    // What others write while this looks may be a moment ahead.
    const MOMENT: Duration = Duration::from_secs(1);
    loop {
        let found = core.store().sagas().updated_after(&core.name, core.clock.now().after(MOMENT), PAGE).await?;
        let mut brought = 0;
        for key in &found {
            let mut tx = core.store().begin().await?;
            // One that cannot be read is shown as that elsewhere.
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

/// Instances whose timers cannot be carried out now: how often that was tried, when it is next, and why.
#[derive(Default)]
struct Stuck(BTreeMap<InstanceKey, (u32, Timestamp, String)>);

impl Stuck {
    /// Leaves `key` alone for a while, longer each time.
    fn put_back(&mut self, key: &InstanceKey, trouble: &Trouble, now: Timestamp) {
        let (tries, again, why) = self.0.entry(key.clone()).or_default();
        *again = now.after(LOOK.saturating_mul(1 << (*tries).min(10)).min(LONGEST));
        (*tries, *why) = (tries.saturating_add(1), trouble.to_string());
    }

    fn waits(&self, key: &InstanceKey, now: Timestamp) -> bool {
        self.0.get(key).is_some_and(|(_, again, _)| *again > now)
    }

    /// Tells of them: of each flow how many there are, and of one why.
    fn tell(&self, core: &Core) {
        let mut of_flows: BTreeMap<&str, (usize, &InstanceKey, &str)> = BTreeMap::new();
        for (key, (.., why)) in self.0.iter().filter(|(_, (tries, ..))| *tries > 1) {
            of_flows.entry(&key.saga).or_insert((0, key, why)).0 += 1;
        }
        let told = of_flows.into_iter().map(|(saga, (count, key, why))| {
            let detail = format!(
                "the deadlines of {count} instances of {saga} cannot be carried out, of `{}` because of: {why}; each is tried again after \
                 growing waits, and others' go on",
                key.id
            );
            (saga.to_owned(), Severity::Warning, detail)
        });
        core.conditions.set(DEADLINES_STUCK, told.collect::<Vec<_>>(), core.clock.now());
    }
}

/// Carries out what is due; says when the next timer ends.
async fn turn(core: &Arc<Core>, stuck: &mut Stuck) -> Result<Option<Timestamp>, StoreError> {
    let mut unavailable = false;
    let mut seen = BTreeSet::new();
    loop {
        let now = core.clock.now();
        // Those that are left alone are due too, and take no other's place.
        let page = PAGE.saturating_add(u32::try_from(stuck.0.len()).unwrap_or(u32::MAX));
        let due = core.store().sagas().due(&core.name, now, page).await?;
        let whole = due.len() < page as usize;
        seen.extend(due.iter().cloned());
        let mut progress = false;
        for key in due.iter().filter(|key| !stuck.waits(key, now)).collect::<Vec<_>>() {
            // One that cannot be carried out keeps none of the others from its time; only the database's own outage does.
            let trouble = match carry_out(core, key).await {
                Ok(()) => {
                    progress = true;
                    stuck.0.remove(key);
                    continue;
                }
                Err(Trouble::Store(StoreError::Contended(_))) => continue,
                Err(Trouble::Store(error @ StoreError::Unavailable(_))) if std::mem::replace(&mut unavailable, true) => {
                    return Err(error);
                }
                Err(trouble) => trouble,
            };
            let (service, saga, instance) = (&*core.name, &key.saga, &key.id);
            tracing::debug!(service, saga, instance, error = %trouble, "a deadline cannot be carried out; waiting");
            stuck.put_back(key, &trouble, now);
            progress = true;
        }
        if whole || !progress {
            break;
        }
    }
    // What is due no more was carried out, or settled, by another.
    stuck.0.retain(|key, _| seen.contains(key));
    stuck.tell(core);
    core.moved();
    let next = core.store().sagas().next_due(&core.name).await?;
    let soonest = core.clock.now().after(LOOK);
    Ok(next.map(|next| if stuck.0.is_empty() { next } else { next.max(soonest) }))
}

/// Carries out the timers of one instance. What the database refuses of it, or panics, is the failure of the deadline's handler, if that can
/// be written down.
async fn carry_out(core: &Arc<Core>, key: &InstanceKey) -> Result<(), Trouble> {
    let trouble = match guarded(fire(core, key)).await {
        Ok(Ok(())) => return Ok(()),
        Ok(Err(error)) => Trouble::Store(error),
        Err(text) => {
            let trouble = Trouble::Panic { part: "carrying out a deadline", text };
            Panics::note(core, "deadlines", Task::Helping, &trouble.to_string());
            trouble
        }
    };
    let Some(tracked) = core.sagas.tracked(&key.saga).filter(|_| trouble.counts()) else { return Err(trouble) };
    match guarded(put_off(core, tracked, key, &trouble.to_string(), false, core.clock.now())).await {
        Ok(Ok(())) => Ok(()),
        _ => Err(trouble),
    }
}

/// Carries out the timers of one instance that have ended.
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
            instance.call_for_attention(reason.clone(), now);
            reason
        }
        Firing::Abort(cause) => match handler(core, tracked) {
            Some((handler, role)) => return abort(core, tracked, key, (handler, role), cause, tx, scope, instance).await,
            None => {
                let reason = format!("{cause}, and this service has no handler for Deadline<{}>", key.saga);
                instance.call_for_attention(reason.clone(), now);
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

/// Gives the flow up, by its handler, unless the pivot or another abort was first.
#[expect(clippy::too_many_arguments, reason = "what one transaction has at hand")]
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
    // What began the instance is what has led to this.
    let message_id = MessageId::new(instance.begun_by(&tracked.definition));
    if !matches!(scope.answer(role, key, None, &message_id, now), Before::Call) {
        instance.fired(now);
        if instance.is_decided(&tracked.definition) {
            tx.save_instances(&core.name, &[instance.record()]).await?;
        } else {
            let reason = format!("{cause}, and it is recorded as decided by an event that was never published");
            instance.call_for_attention(reason.clone(), now);
            save(core, &mut *tx, &instance, "timer.attention", &reason, now).await?;
        }
        return tx.commit().await;
    }
    let slot = TxSlot::default();
    let began = instance.known.trace.clone();
    let trace = core.spans.follow(began.as_ref(), &core.ids);
    let telling = core.spans.begin(&trace);
    let tell = |error: Option<(&'static str, String)>| {
        core.spans.end(telling, || {
            Span::new(&trace, format!("deadline {}", key.saga), Kind::Internal)
                .within_remote(began.as_ref().map(TraceContext::span_id))
                .with([("sagas.saga", key.saga.as_str().into()), ("sagas.instance", brief(&key.id).into())])
                .with([("sagas.cause", cause.to_string().into())])
                .failed(error)
        });
    };
    let envelope = Envelope::internal(message_id.clone(), &core.name, now, &instance.known.correlation_id, began.clone());
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
        (Ended::Done, Some(mut returned)) => {
            let tx = &mut *returned.tx;
            scope.conclude(role, key, &message_id, false, &judged.events, now);
            instance.fired(now);
            tx.append_history(&core.name, &[entry(core, &instance, "timer.deadline", &cause.to_string(), now)]).await?;
            scope.adopt(instance);
            let (context, mut making) = (Context::caused_by(&envelope, trace.clone()), Making::default());
            scope.see_published(core, &judged.events, &context, now);
            scope.write(core, tx, now).await?;
            let records: Vec<_> = judged
                .events
                .into_iter()
                .map(|(id, event): (MessageId, Outgoing)| making.record(core, &id, event, &context, now))
                .collect();
            let staged = core.stage(tx, &records).await?.with_hooks(returned.after_commit);
            core.commit(returned.tx, staged).await?;
            scope.committed(core);
            making.committed(core);
            tell(None);
            tracing::info!(service = &*core.name, saga = key.saga, instance = brief(&key.id), %cause, "a saga was given up");
            Ok(())
        }
        (ended, returned) => {
            drop(returned);
            tell(Some(("retry", shortly(&judged.error))));
            put_off(core, tracked, key, &judged.error, ended == Ended::Dead, now).await
        }
    }
}

/// Lets the timer of an instance whose deadline's handler has failed end again later.
///
/// One that has failed for good is not called again: somebody has to look at the instance at once.
async fn put_off(
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
    if for_good || instance.known.attempts + 1 >= ATTEMPTS {
        let reason = match for_good {
            true => format!("the handler of its deadline has failed for good: {error}"),
            false => format!("the handler of its deadline has failed {ATTEMPTS} times: {error}"),
        };
        instance.call_for_attention(reason.clone(), now);
        instance.fired(now);
        save(core, &mut *tx, &instance, "timer.attention", &reason, now).await?;
    } else {
        let wait = RETRY.0.saturating_mul(1 << instance.known.attempts.min(8)).min(RETRY.1);
        instance.fire_again(now, wait);
        tx.save_instances(&core.name, &[instance.record()]).await?;
    }
    tx.commit().await
}

/// One call of the handler, within its time, and with its panics caught.
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
        attempt: instance.known.attempts.saturating_add(1),
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

/// Writes `instance` and what was done to it.
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

pub(super) fn entry(core: &Core, instance: &Instance, what: &str, note: &str, now: Timestamp) -> HistoryEntry {
    HistoryEntry {
        instance: instance.key.clone(),
        event: what.to_owned(),
        message_id: String::new(),
        causation_id: None,
        source: core.name.to_string(),
        at: now,
        seen_at: now,
        note: Some(note.to_owned()),
    }
}
