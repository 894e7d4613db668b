//! Events of flows that the log does not take: their instances need attention, wherever they are kept, until the events have left.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{super::core::Core, deadlines::entry};
use crate::{
    engine::saga::{self, GivenUp, Instance},
    id::MessageId,
    message::{Context, Envelope, Outgoing, Received, Record, headers},
    saga::{Definition, InstanceKey, Publishes, StepGivenUp},
    store::{DeadLetterId, HistoryEntry, InstanceQuery, OutboxId, StoreError, StoreTx},
    time::Timestamp,
};

/// Instances looked at, at the start, for what they wait for in the outbox.
const LOOK: u32 = 500;

/// A record of the outbox that the log does not take.
pub(crate) struct Unsent<'r> {
    pub(crate) row: OutboxId,
    pub(crate) record: &'r Record,
    /// The dead letter that it has become; `None`: it waits in the outbox.
    pub(crate) letter: Option<&'r DeadLetterId>,
    pub(crate) why: &'r str,
}

/// An instance kept here, and the row of the outbox that it waits for.
pub(crate) type Waiting = (InstanceKey, OutboxId);

/// What an event is to one of the flows that this service has a part in.
struct Part {
    saga: Arc<Definition>,
    /// Whether the instance is kept here.
    tracked: bool,
    key: InstanceKey,
    event: String,
    step: String,
    undo: bool,
}

/// The flows that `record` is an event of.
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

/// Whether the log not taking `record` concerns a flow.
pub(crate) fn concerns(core: &Core, record: &Record) -> bool {
    !parts(core, record).is_empty()
}

/// Why the instance stands still, for people.
pub(super) fn reason(service: &str, event: &str, dead_letter: &str, why: &str) -> String {
    match dead_letter {
        "" => format!("{service} waits to publish {event}: {why}; it is sent as soon as the log takes it"),
        id => {
            format!("{service} could not publish {event}: {why}; it is kept as the dead letter {id}: mend the cause, then retry")
        }
    }
}

/// Sets the instances of `unsent` that are kept here to *needs attention*, in `tx`, and gives the records that tell the trackers of
/// the others.
pub(crate) async fn tell(
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
        instance.stop(&part.saga, GivenUp { step: part.step, undo: part.undo, service, dead_letter, reason, event }, now);
    }
    save(core, tx, &instances, &history).await?;
    Ok(signals)
}

/// What tells the tracker of another service.
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
    // Our own records can be read; one of another kind is known by its position.
    let envelope = Envelope::of(&received, now).unwrap_or_else(|_| Envelope::by_position(&received, now));
    // It comes of the same span as the record that the log does not take: of a relay there is none that it could be within.
    let trace = envelope.trace.clone().unwrap_or_else(|| core.spans.root(&core.ids));
    let context = Context::caused_by(&envelope, trace);
    let event = Outgoing::of(&event).ok()?;
    Some(event.into_record(&MessageId::from(core.ids.uuid(now)), &core.name, now, &context))
}

/// Has the instance that `signal` is of, a message to a tracker or to a participant that the log refuses, need attention if it is
/// kept here; says whether it is.
pub(crate) async fn tell_here(
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
            instance.stop(&tracked.definition, given_up.clone(), now);
        }
    }
    save(core, tx, &instances, &history).await?;
    Ok(!instances.is_empty())
}

/// Takes the call for attention away from instances whose rows have left the outbox, in `tx`.
pub(crate) async fn left(core: &Core, tx: &mut dyn StoreTx, waiting: &[Waiting], now: Timestamp) -> Result<(), StoreError> {
    let mut instances = load(core, tx, waiting.iter().map(|(key, _)| key.clone())).await?;
    let (mut history, mut changed) = (Vec::new(), BTreeSet::new());
    for (key, row) in waiting {
        let (Some(instance), Some(tracked)) = (instances.get_mut(key), core.sagas.tracked(&key.saga)) else { continue };
        if instance.left(&tracked.definition, *row, now) {
            history.push(entry(core, instance, "log.took", "the log has taken what the flow waited for", now));
            changed.insert(key.clone());
        }
    }
    instances.retain(|key, _| changed.contains(key));
    save(core, tx, &instances, &history).await
}

/// Takes the call for attention away, in `tx`, that the dead letter `id` with `record` has led to: the record is sent again.
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
    if waiting.is_empty() { Ok(()) } else { left(core, tx, &waiting, now).await }
}

/// The instances kept here that `record` is an event of.
pub(crate) fn tracked_keys(core: &Core, record: &Record) -> Vec<InstanceKey> {
    parts(core, record).into_iter().filter(|part| part.tracked).map(|part| part.key).collect()
}

/// The instances that wait for rows of the outbox: those whose rows are there, and those whose rows have left.
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

/// Reads instances; one that this program cannot read is passed over: it shows as such already.
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
