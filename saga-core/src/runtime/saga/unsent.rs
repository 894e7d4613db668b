//! Events of sagas that the log does not store. Their instances need attention, in this service or at another tracker, until the events
//! were sent.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{super::core::Core, history::entry};
use crate::{
    engine::saga::{self, GivenUp, Instance},
    id::MessageId,
    message::{Context, Envelope, Outgoing, Received, Record, headers},
    saga::{Definition, InstanceKey, Publishes, StepGivenUp},
    store::{DeadLetterId, HistoryEntry, InstanceQuery, OutboxId, StoreError, StoreTx},
    time::Timestamp,
};

/// The most instances of each saga whose waiting rows are checked.
const LOOK: u32 = 500;

/// A record of the outbox that the log does not store.
pub(crate) struct Unsent<'r> {
    pub(crate) row: OutboxId,
    pub(crate) record: &'r Record,
    /// The dead letter that it has become; `None` while it waits in the outbox.
    pub(crate) letter: Option<&'r DeadLetterId>,
    pub(crate) why: &'r str,
}

/// A tracked instance, and the row of the outbox that it waits for.
pub(crate) type Waiting = (InstanceKey, OutboxId);

/// The meaning of an event in one of the sagas that this service tracks or takes part in.
struct Part {
    saga: Arc<Definition>,
    /// Whether this service tracks the saga.
    tracked: bool,
    key: InstanceKey,
    event: String,
    step: String,
    undo: bool,
}

/// Returns the sagas that `record` is an event of.
fn parts(core: &Core, record: &Record) -> Vec<Part> {
    let (Some(event), Some(key)) = (record.header(headers::TYPE), record.key.as_deref()) else { return Vec::new() };
    let Ok(id) = std::str::from_utf8(key) else { return Vec::new() };
    let tracked = core.sagas.tracked.iter().map(|tracked| (&tracked.definition, true));
    let taken_part = core.handlers.iter().filter_map(|handler| handler.role()).map(|role| (&role.saga, false));
    let mut names = BTreeSet::new();
    let of_event = |(saga, tracked): (&Arc<Definition>, bool)| {
        let (step, undo) = match saga.published_as(event)? {
            Publishes::Starts => (String::new(), false),
            Publishes::Done(step) | Publishes::Rejected(step) => (step.name.clone(), false),
            Publishes::Undone(step) => (step.name.clone(), true),
            Publishes::Aborted(abort) => (abort.name.clone(), false),
        };
        let key = InstanceKey { saga: saga.name.clone(), id: id.to_owned() };
        names.insert(saga.name.clone()).then(|| Part { saga: saga.clone(), tracked, key, event: event.to_owned(), step, undo })
    };
    tracked.chain(taken_part).filter_map(of_event).collect()
}

/// Whether `record` is an event of a saga.
pub(crate) fn concerns(core: &Core, record: &Record) -> bool {
    !parts(core, record).is_empty()
}

/// Returns the reason, as operators see it, why the instance cannot continue.
pub(super) fn reason(service: &str, event: &str, dead_letter: &str, why: &str) -> String {
    match dead_letter {
        "" => format!("{service} waits to publish {event}: {why}; it is sent as soon as the log takes it"),
        id => {
            format!("{service} could not publish {event}: {why}; it is kept as the dead letter {id}: mend the cause, then retry")
        }
    }
}

/// Sets the tracked instances of `unsent` to need attention, in `tx`. Returns the records that inform the trackers of the other instances.
pub(crate) async fn require_attention(
    core: &Arc<Core>,
    tx: &mut dyn StoreTx,
    unsent: &[Unsent<'_>],
    now: Timestamp,
) -> Result<Vec<Record>, StoreError> {
    let all: Vec<_> =
        unsent.iter().flat_map(|unsent| parts(core, unsent.record).into_iter().map(move |part| (unsent, part))).collect();
    let keys = all.iter().filter(|(_, part)| part.tracked).map(|(_, part)| part.key.clone());
    let (mut instances, mut history, mut signals) = (load(core, tx, keys).await?, Vec::new(), Vec::new());
    for (Unsent { row, record, letter, why }, part) in all {
        let dead_letter = letter.map(|id| id.to_string()).unwrap_or_default();
        if !part.tracked {
            signals.extend(signal(core, record, part, dead_letter, why, now));
            continue;
        }
        let Some(instance) = instances.get_mut(&part.key) else { continue };
        let reason = reason(&core.name, &part.event, &dead_letter, why);
        let what = if letter.is_some() { "log.refused" } else { "log.waits" };
        history.push(entry(core, instance, what, &reason, now));
        let event = Some(saga::Unsent { name: part.event, row: Some(*row) });
        let service = core.name.to_string();
        instance.record_given_up(
            &part.saga,
            GivenUp { step: part.step, undo: part.undo, service, dead_letter, reason, event },
            now,
        );
    }
    save(core, tx, &instances, &history).await?;
    Ok(signals)
}

/// Returns the record that informs the tracker in another service.
fn signal(core: &Core, record: &Record, part: Part, dead_letter: String, why: &str, now: Timestamp) -> Option<Record> {
    let event = StepGivenUp {
        saga: part.key.saga,
        id: part.key.id,
        step: part.step,
        undo: part.undo,
        service: core.name.to_string(),
        dead_letter,
        error: why.to_owned(),
        attempts: 1,
        event: Some(part.event),
    };
    let received = Received { record: Arc::new(record.clone()), partition: -1, offset: -1 };
    // The service's own records have an envelope. Any other record is identified by its position.
    let envelope = Envelope::of(&received, now).unwrap_or_else(|_| Envelope::by_position(&received, now));
    // The new record belongs to the span of the record that the log does not store, because the relay has no span of its own.
    let trace = envelope.trace.clone().unwrap_or_else(|| core.spans.root(&core.ids));
    let context = Context::caused_by(&envelope, trace);
    let event = Outgoing::of(&event).ok()?;
    Some(event.into_record(&MessageId::from(core.ids.uuid(now)), &core.name, now, &context))
}

/// Sets those instances of `keys` that are tracked here to need attention, because the log refuses a message about them. Returns whether
/// there are any.
pub(crate) async fn require_attention_here(
    core: &Arc<Core>,
    tx: &mut dyn StoreTx,
    keys: &[InstanceKey],
    given_up: &GivenUp,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let tracked = |key: &&InstanceKey| core.sagas.tracked(&key.saga).is_some();
    let mut instances = load(core, tx, keys.iter().filter(tracked).cloned()).await?;
    let mut history = Vec::new();
    for instance in instances.values_mut() {
        history.push(entry(core, instance, "log.refused", &given_up.reason, now));
        if let Some(tracked) = core.sagas.tracked(&instance.key.saga) {
            instance.record_given_up(&tracked.definition, given_up.clone(), now);
        }
    }
    save(core, tx, &instances, &history).await?;
    Ok(!instances.is_empty())
}

/// Records at the instances of `waiting` that their rows were sent, in `tx`. Those that needed attention only because of them no longer do.
pub(crate) async fn record_sent(
    core: &Core,
    tx: &mut dyn StoreTx,
    waiting: &[Waiting],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut instances = load(core, tx, waiting.iter().map(|(key, _)| key.clone())).await?;
    let (mut history, mut changed) = (Vec::new(), BTreeSet::new());
    for (key, row) in waiting {
        let (Some(instance), Some(tracked)) = (instances.get_mut(key), core.sagas.tracked(&key.saga)) else { continue };
        if instance.record_sent(&tracked.definition, *row, now) {
            history.push(entry(core, instance, "log.took", "the log has taken what the saga waited for", now));
            changed.insert(key.clone());
        }
    }
    instances.retain(|key, _| changed.contains(key));
    save(core, tx, &instances, &history).await
}

/// Records at the instance of `record` that the dead letter `id` of this record is sent again, in `tx`.
pub(crate) async fn sent_again(
    core: &Core,
    tx: &mut dyn StoreTx,
    record: &Record,
    id: &DeadLetterId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let keys = tracked_keys(core, record);
    let instances = load(core, tx, keys.into_iter()).await?;
    let row = |(key, instance): (&InstanceKey, &Instance)| Some((key.clone(), instance.row_of_letter(id.as_str())?));
    let waiting: Vec<_> = instances.iter().filter_map(row).collect();
    if waiting.is_empty() { Ok(()) } else { record_sent(core, tx, &waiting, now).await }
}

/// Returns the tracked instances that `record` is an event of.
pub(crate) fn tracked_keys(core: &Core, record: &Record) -> Vec<InstanceKey> {
    parts(core, record).into_iter().filter(|part| part.tracked).map(|part| part.key).collect()
}

/// Returns the instances that wait for rows of the outbox: first those whose rows still exist, then those whose rows were sent.
pub(crate) async fn waiting(core: &Core) -> Result<(Vec<Waiting>, Vec<Waiting>), StoreError> {
    let (mut there, mut gone) = (Vec::new(), Vec::new());
    for tracked in &core.sagas.tracked {
        let saga = Some(tracked.definition.name.clone());
        let query = InstanceQuery { saga, attention: true, limit: LOOK, ..InstanceQuery::default() };
        let (records, _) = core.store().sagas().instances(&core.name, &query).await?;
        for instance in records.into_iter().filter_map(|record| Instance::read(record).ok()) {
            for row in instance.waiting_rows() {
                let first = core.store().outbox(&core.name, row - 1, 1).await?;
                let found = first.first().is_some_and(|first| first.id == row);
                if found { &mut there } else { &mut gone }.push((instance.key.clone(), row));
            }
        }
    }
    Ok((there, gone))
}

/// Reads instances. Instances that cannot be decoded are omitted: they have a condition already.
async fn load(
    core: &Core,
    tx: &mut dyn StoreTx,
    keys: impl Iterator<Item = InstanceKey>,
) -> Result<BTreeMap<InstanceKey, Instance>, StoreError> {
    let keys: Vec<_> = keys.collect::<BTreeSet<_>>().into_iter().collect();
    if keys.is_empty() {
        return Ok(BTreeMap::new());
    }
    let records = tx.load_instances(&core.name, &keys).await?;
    let readable = records.into_iter().filter_map(|record| Instance::read(record).ok());
    Ok(readable.map(|instance| (instance.key.clone(), instance)).collect())
}

async fn save(
    core: &Core,
    tx: &mut dyn StoreTx,
    instances: &BTreeMap<InstanceKey, Instance>,
    history: &[HistoryEntry],
) -> Result<(), StoreError> {
    if instances.is_empty() {
        return Ok(());
    }
    let records: Vec<_> = instances.values().map(Instance::record).collect();
    tx.save_instances(&core.name, &records).await?;
    tx.append_history(&core.name, history).await
}
