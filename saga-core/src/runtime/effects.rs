//! What a transaction writes besides the handlers' own rows, and what follows once it has committed.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    answered::Replay,
    core::{Core, Staged},
    item::Item,
    metrics::HandlerSeries,
    put_off::Postponed,
    saga::{self, Scope},
    spans::{Ids, Making},
};
use crate::{
    engine::{
        parking::{ParkingLot, Place},
        saga::barrier::Reason,
    },
    id::MessageId,
    message::{Context, Header, Outgoing, Received, Record, TopicPartition, headers},
    runtime::metrics::Counter,
    store::{AfterCommit, DeadLetter, DeadLetterId, DeadLetterState, ParkedId, ParkedMessage, StoreError, StoreTx},
    time::Timestamp,
};

/// The longest error text that is kept, in bytes.
const MAX_ERROR: usize = 2_000;

/// Gathers what a transaction will write.
#[derive(Default)]
pub(crate) struct Effects {
    records: Vec<Record>,
    /// The spans of making them.
    making: Making,
    parks: Vec<ParkedMessage>,
    reparks: Vec<(ParkedId, u32, Timestamp, String)>,
    unparks: Vec<ParkedId>,
    letters: Vec<DeadLetter>,
    /// Messages that take the place of parked ones.
    replaces: Vec<(ParkedId, Received, Timestamp)>,
    /// Parked messages that held a key for a dead letter which was answered.
    freed: Vec<(ParkedId, Place)>,
    /// Open dead letters that were answered.
    answered: usize,
    /// What it has to do with sagas.
    pub(crate) sagas: Scope,
    counts: Vec<Counter>,
    /// What handlers want called once it has committed.
    hooks: AfterCommit,
    lot: LotChanges,
    /// Messages that are put off without an attempt being counted.
    postponed: HashMap<Place, Postponed>,
    /// Where messages wait that failed, or were parked, in this transaction.
    waiting: HashSet<Place>,
}

/// What changes in the index of parked keys once the transaction has committed.
#[derive(Default)]
struct LotChanges {
    /// Messages that join a queue, and when the queue's head is due if it is new.
    joined: Vec<(Place, Under, Timestamp)>,
    /// Queues whose head ran: how many are done, and when the new head is due.
    settled: HashMap<Place, (Under, usize, Option<Timestamp>)>,
}

/// The partition of a message and the epoch under which it was taken: the index holds nothing of another's partition.
type Under = (TopicPartition, i64);

impl LotChanges {
    fn settle(&mut self, item: &Item) -> &mut (Under, usize, Option<Timestamp>) {
        self.settled.entry(item.place.clone()).or_insert_with(|| ((item.partition(), item.epoch), 0, None))
    }
}

/// What came of writing them.
pub(crate) enum Written {
    /// All is written.
    Staged(Staged),
    /// Parked messages with these numbers among those taken out were handled by somebody else; nothing may be committed.
    Gone(Vec<ParkedId>),
}

impl Effects {
    /// `item` is done without its handler: a duplicate, or a type nobody wants.
    pub(crate) fn done(&mut self, item: &Item) {
        if let Some(id) = item.parked {
            self.unparks.push(id);
            self.lot.settle(item).1 += 1;
        }
    }

    /// `item` was parked, and somebody else has handled it.
    pub(crate) fn gone(&mut self, item: &Item) {
        self.lot.settle(item).1 += 1;
    }

    /// Whether a message of `place` has failed in this transaction, so that its followers wait.
    pub(crate) fn waits(&self, place: &Place) -> bool {
        self.waiting.contains(place)
    }

    /// Counts, once committed.
    pub(crate) fn count(&mut self, counter: &Counter) {
        self.counts.push(counter.clone());
    }

    /// Calls these hooks, once committed.
    pub(crate) fn call(&mut self, hooks: AfterCommit) {
        self.hooks.append(hooks);
    }

    /// The handler did its work or refused, and publishes these.
    pub(crate) fn published(
        &mut self,
        core: &Core,
        item: &Item,
        handler: usize,
        refused: bool,
        events: Vec<(MessageId, Outgoing)>,
        now: Timestamp,
    ) {
        self.done(item);
        item.span.comes_to(if refused { "refused" } else { "done" });
        self.sagas.see_received(core, item, None);
        if let Some(role) = core.handlers[handler].role() {
            self.sagas.concluded(role, item, refused, &events, now);
        }
        self.publish_only(core, item, events, now);
    }

    /// The attempt of `item` that was begun outside a transaction has ended without a result.
    pub(crate) fn no_longer_running(&mut self, core: &Core, item: &Item, now: Timestamp) {
        if let Some(role) = item.role(core) {
            self.sagas.release(role, item, now);
        }
    }

    /// The barrier let `item` have no effect.
    pub(crate) fn without_effect(&mut self, core: &Core, item: &Item, reason: Reason) {
        self.done(item);
        item.span.comes_to("without_effect");
        self.sagas.see_received(core, item, Some(reason.note()));
        core.sagas.without_effect(&core.metrics, item.role(core), reason, |counter| self.count(counter));
    }

    /// Publishes events that `item` led to, and says nothing of `item` itself.
    pub(crate) fn publish_only(&mut self, core: &Core, item: &Item, events: Vec<(MessageId, Outgoing)>, now: Timestamp) {
        if events.is_empty() {
            return;
        }
        let context = Context::caused_by(&item.envelope, item.span.context.clone());
        self.sagas.see_published(core, &events, &context, now);
        let making = &mut self.making;
        self.records.extend(events.into_iter().map(|(id, event)| making.record(core, &id, event, &context, now)));
    }

    /// `item` waits behind a parked one of its key.
    pub(crate) fn park_behind(&mut self, item: &Item, now: Timestamp) {
        self.parks.push(item.to_parked(0, now, String::new()));
        self.lot.joined.push((item.place.clone(), (item.partition(), item.epoch), now));
    }

    /// `item` answers dead letters, which were settled in this transaction. Says whether it is parked in the place of a message that
    /// held its key, where it is handled next, and before those that wait behind. `parks`: that it may be, for it has not run.
    pub(crate) fn replayed(&mut self, core: &Core, item: &Item, replay: Replay, parks: bool, now: Timestamp) -> bool {
        for letter in &replay.letters {
            tracing::info!(
                service = &*core.name,
                dead_letter = letter.id.as_str(),
                topic = item.received.record.topic,
                partition = item.received.partition,
                offset = item.received.offset,
                message_id = item.envelope.id.as_str(),
                "a dead letter's message was produced again: it is handled, and the letter is settled as replayed"
            );
            self.counts.push(core.series.letters_replayed.clone());
            self.answered += usize::from(letter.state == DeadLetterState::Open);
        }
        let mut parked = false;
        for (id, place) in replay.held {
            if parks && !parked && place == item.place {
                self.replaces.push((id, item.received.clone(), now));
                self.lot.settle(item).2 = Some(now);
                parked = true;
            } else {
                self.freed.push((id, place));
            }
        }
        parked
    }

    /// `item` failed and waits for its next attempt.
    pub(crate) fn park(&mut self, item: &Item, attempts: u32, due: Timestamp, error: &str) {
        let error = shortened(error);
        self.waiting.insert(item.place.clone());
        match item.parked {
            Some(id) => {
                self.reparks.push((id, attempts, due, error));
                self.lot.settle(item).2 = Some(due);
            }
            None => {
                self.parks.push(item.to_parked(attempts, due, error));
                self.lot.joined.push((item.place.clone(), (item.partition(), item.epoch), due));
            }
        }
    }

    /// `item`, which is parked, is put off without an attempt being counted.
    pub(crate) fn put_off(&mut self, item: &Item, why: &str) {
        self.postponed.insert(item.place.clone(), Postponed::of(item, why));
    }

    /// `item` is given up: kept in the database, and sent to the dead letter topic as it came.
    pub(crate) fn dead_letter(
        &mut self,
        core: &Core,
        item: &Item,
        attempts: u32,
        reason: &'static str,
        error: &str,
        now: Timestamp,
    ) {
        let error = shortened(error);
        tracing::warn!(
            service = &*core.name,
            handler = item.handler().map(|handler| core.handlers[handler].options().name),
            event = item.event_type(core),
            topic = item.received.record.topic,
            partition = item.received.partition,
            offset = item.received.offset,
            key = %item.shown_key(),
            message_id = item.envelope.id.as_str(),
            correlation_id = item.envelope.correlation_id,
            causation_id = item.envelope.causation_id.as_deref().unwrap_or_default(),
            trace_id = %Ids(&item.span.context).trace(),
            span_id = %Ids(&item.span.context).span(),
            attempts,
            error,
            "dead-lettered"
        );
        item.span.begins(core);
        item.span.fails("dead_lettered", reason, &error);
        let id = self.letter(core, item, attempts, &error, None, now);
        let copy = dead_letter_record(core, item, &id, reason, &error, now);
        self.making.copy(core, &copy, &item.span.context);
        self.records.push(copy);
        self.records.extend(saga::given_up(core, item, &id, attempts, &error, &mut self.making, now));
    }

    /// `item` is given up because the framework's own part of its transaction fails: kept in the database, and nowhere else.
    pub(crate) fn bury(&mut self, core: &Core, item: &Item, error: &str, now: Timestamp) {
        // What of the text the database does not take is not worth the letter.
        let error = shortened(&error.replace(|of: char| of != ' ' && !of.is_ascii_graphic(), "?"));
        let (topic, offset) = (&item.received.record.topic, item.received.offset);
        tracing::error!(
            service = &*core.name,
            topic,
            partition = item.received.partition,
            offset,
            error,
            "dead-lettered by itself"
        );
        self.count(&core.series.dead_unwritable);
        item.span.begins(core);
        item.span.fails("dead_lettered", "unwritable", &error);
        let why = "nothing was written but the letter, since what else follows from one could not be".to_owned();
        self.letter(core, item, item.origin.attempts().saturating_add(1), &error, Some(why), now);
    }

    fn letter(
        &mut self,
        core: &Core,
        item: &Item,
        attempts: u32,
        error: &str,
        unpublished: Option<String>,
        now: Timestamp,
    ) -> DeadLetterId {
        let id = DeadLetterId::from(core.ids.uuid(now));
        self.letters.push(DeadLetter {
            id: id.clone(),
            received: item.received.clone(),
            event_type: item.event_type(core),
            error: error.to_owned(),
            attempts,
            at: now,
            state: DeadLetterState::Open,
            unpublished,
        });
        id
    }

    /// Writes all of it to the transaction.
    pub(crate) async fn write(&mut self, core: &Arc<Core>, tx: &mut dyn StoreTx, now: Timestamp) -> Result<Written, StoreError> {
        if !self.unparks.is_empty() {
            let there = tx.unpark(&self.unparks).await?;
            let gone: Vec<_> = self.unparks.iter().zip(there).filter(|(_, there)| !there).map(|(id, _)| *id).collect();
            if !gone.is_empty() {
                return Ok(Written::Gone(gone));
            }
        }
        if !self.freed.is_empty() {
            let ids: Vec<_> = self.freed.iter().map(|(id, _)| *id).collect();
            tx.unpark(&ids).await?;
        }
        for (id, received, due) in &self.replaces {
            tx.replace_parked(*id, received, *due).await?;
        }
        for (id, attempts, due, error) in &self.reparks {
            tx.repark(*id, *attempts, *due, error).await?;
        }
        if !self.parks.is_empty() {
            tx.park(&core.name, &self.parks).await?;
        }
        if !self.letters.is_empty() {
            tx.bury(&core.name, &self.letters).await?;
        }
        self.sagas.write(core, tx, now).await?;
        let hooks = std::mem::take(&mut self.hooks);
        core.stage(tx, &self.records).await.map(|staged| Written::Staged(staged.with_hooks(hooks)))
    }

    /// Carries out what follows from the commit.
    pub(crate) fn committed(self, core: &Core, now: Timestamp) {
        self.counts.iter().for_each(Counter::increment);
        self.making.committed(core);
        self.sagas.committed(core);
        if !self.letters.is_empty() {
            core.series.dead_open.add(self.letters.len() as f64);
        }
        if self.answered > 0 {
            core.series.dead_open.add(-(self.answered as f64));
        }
        for place in self.lot.settled.keys().filter(|place| !self.postponed.contains_key(*place)) {
            core.put_off.forget(place);
        }
        for (place, postponed) in self.postponed {
            core.put_off.note(core, place, postponed, now);
        }
        let mut lot = core.lot();
        let changed = !self.lot.joined.is_empty() || !self.lot.settled.is_empty() || !self.freed.is_empty();
        let ours = |lot: &ParkingLot, (partition, epoch): &Under| lot.epoch(partition) == Some(*epoch);
        for (place, under, due) in self.lot.joined {
            if ours(&lot, &under) {
                lot.park(place, under.0.partition, 1, due);
            }
        }
        for (place, (under, done, due)) in self.lot.settled {
            if ours(&lot, &under) {
                lot.settled(&place, done, due, now);
            }
        }
        for (_, place) in self.freed {
            lot.settled(&place, 1, None, now);
        }
        if changed {
            let (keys, messages) = lot.totals();
            drop(lot);
            core.series.parked_keys.set_count(keys as u64);
            core.series.parked_messages.set_count(messages as u64);
            core.lot_wake.notify_one();
        }
        core.moved();
    }
}

/// Counts a delivery by its outcome.
pub(crate) fn outcome_counter(series: &HandlerSeries, ended: crate::engine::batch::Ended) -> &Counter {
    use crate::engine::batch::Ended;
    match ended {
        Ended::Done => &series.done,
        Ended::Rejected => &series.rejected,
        Ended::Retry => &series.retried,
        Ended::Later { .. } => &series.later,
        Ended::Dead => &series.dead,
    }
}

fn dead_letter_record(core: &Core, item: &Item, id: &DeadLetterId, reason: &str, error: &str, now: Timestamp) -> Record {
    let original = &*item.received.record;
    let mut record = original.clone();
    // A copy of a letter that fails again has those of its last failure.
    record.headers.retain(|header| !headers::DLT.contains(&header.name.as_str()));
    let binary = |name: &str, bytes: &[u8]| Header { name: name.to_owned(), value: Some(Bytes::copy_from_slice(bytes)) };
    record.headers.extend([
        Header::text(headers::DLT_TOPIC, original.topic.clone()),
        binary(headers::DLT_PARTITION, &item.received.partition.to_be_bytes()),
        binary(headers::DLT_OFFSET, &item.received.offset.to_be_bytes()),
        binary(headers::DLT_TIMESTAMP, &original.timestamp.as_millis().to_be_bytes()),
        Header::text(headers::DLT_GROUP, core.name.to_string()),
        Header::text(headers::DLT_EXCEPTION, reason),
        Header::text(headers::DLT_MESSAGE, error),
        Header::text(headers::DLT_LETTER, id.to_string()),
    ]);
    record.topic = core.dead_letter_topic();
    record.timestamp = now.into();
    record
}

fn shortened(error: &str) -> String {
    let mut end = error.len().min(MAX_ERROR);
    while !error.is_char_boundary(end) {
        end -= 1;
    }
    error[..end].to_owned()
}
