//! The timers of the instances: waits for the next one, and decides, in one transaction with the pivot's records, who was first.

use std::{any::Any, panic::AssertUnwindSafe, sync::Arc, sync::atomic::Ordering, time::Duration};

use futures_util::FutureExt;

use super::{
    super::{
        core::Core,
        judge::{Part, judge},
        service::ServiceHandle,
    },
    Tracked,
    scope::{Before, Scope},
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
    message::{Context, Envelope, Outgoing},
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

/// How often instances are looked for that were written by a clock that was ahead.
const BRING_BACK: Duration = Duration::from_secs(60);

/// Carries out the timers of the instances that are kept here, for ever.
pub(crate) async fn watch(core: Arc<Core>) {
    let (mut failures, mut looked) = (0, None::<Timestamp>);
    loop {
        core.sagas.planned.store(Timestamp::MAX.as_millis(), Ordering::SeqCst);
        let due = async {
            let now = core.clock.now();
            if looked.is_none_or(|looked| now.since(looked) >= BRING_BACK) {
                bring_back(&core).await?;
                looked = Some(now);
            }
            turn(&core).await
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

/// Carries out what is due; says when the next timer ends.
async fn turn(core: &Arc<Core>) -> Result<Option<Timestamp>, StoreError> {
    let (mut stuck, mut unavailable) = (false, false);
    loop {
        let now = core.clock.now();
        let due = core.store().sagas().due(&core.name, now, PAGE).await?;
        let mut fired = 0;
        for key in &due {
            // One that cannot be carried out keeps none of the others from its time; only the database's own outage does.
            let fate = match fire(core, key).await {
                Err(StoreError::Refused(error)) => refused(core, key, &error).await,
                fate => fate,
            };
            match fate {
                Ok(()) => fired += 1,
                Err(StoreError::Contended(_)) => {}
                Err(error @ StoreError::Unavailable(_)) if std::mem::replace(&mut unavailable, true) => return Err(error),
                Err(error) => {
                    stuck = true;
                    let (service, saga, instance) = (&*core.name, &key.saga, &key.id);
                    tracing::error!(service, saga, instance, %error, "a deadline cannot be carried out");
                }
            }
        }
        if due.len() < PAGE as usize || fired == 0 {
            break;
        }
    }
    core.moved();
    let next = core.store().sagas().next_due(&core.name).await?;
    let soonest = core.clock.now().after(LOOK);
    Ok(next.map(|next| if stuck { next.max(soonest) } else { next }))
}

/// The database has refused what the handler of a deadline did: that is its failure.
async fn refused(core: &Arc<Core>, key: &InstanceKey, error: &str) -> Result<(), StoreError> {
    match core.sagas.tracked(&key.saga) {
        Some(tracked) => put_off(core, tracked, key, error, false, core.clock.now()).await,
        None => Ok(()),
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
            tracing::warn!(service = &*core.name, saga = key.saga, instance = key.id, reason, "a saga needs attention");
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
    let envelope = Arc::new(Envelope::internal(message_id.clone(), &core.name, now, &instance.known.correlation_id));
    let make = role.make_deadline.ok_or_else(|| StoreError::Refused("the handler of a deadline takes none".into()))?;
    let invocation = Invocation {
        messages: vec![(
            make(&key.id, instance.started_at, cause.clone()),
            meta(core, handler, envelope.clone(), now, &instance),
        )],
        tx: Some(Tx::lend(tx, slot.clone(), true, core.ids.clone(), now)),
        work: None,
        state: core.state.clone(),
        service: Some(Box::new(ServiceHandle::within_a_transaction(core)) as Box<dyn Any + Send>),
    };
    let outcome = run(core, handler, invocation).await;
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
            scope.see_published(core, &judged.events, &envelope.correlation_id, Some(envelope.id.as_str()), now);
            scope.write(core, tx, now).await?;
            let context = Context::caused_by(&envelope, &core.ids);
            let records: Vec<_> = judged
                .events
                .into_iter()
                .map(|(id, event): (MessageId, Outgoing)| event.into_record(&id, &core.name, now, &context))
                .collect();
            let staged = core.stage(tx, &records).await?;
            core.commit(returned.tx, staged).await?;
            scope.committed(core);
            tracing::info!(service = &*core.name, saga = key.saga, instance = key.id, %cause, "a saga was given up");
            Ok(())
        }
        (ended, returned) => {
            drop(returned);
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
    tracing::warn!(service = &*core.name, saga = key.saga, instance = key.id, error, "the handler of a deadline has failed");
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

fn meta(core: &Core, handler: usize, envelope: Arc<Envelope>, now: Timestamp, instance: &Instance) -> Meta {
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
        last_error: None,
        step: None,
    }
}

pub(crate) async fn load(core: &Core, tx: &mut dyn StoreTx, key: &InstanceKey) -> Result<Option<Instance>, StoreError> {
    let found = tx.load_instances(&core.name, std::slice::from_ref(key)).await?.pop();
    let read = found.map(Instance::read).transpose();
    let mut read =
        read.map_err(|error| StoreError::Incompatible(format!("the saga {} {} cannot be read: {error}", key.saga, key.id)))?;
    if let Some(instance) = &mut read {
        instance.bring_back(core.clock.now());
    }
    Ok(read)
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
