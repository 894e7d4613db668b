//! The rows of the framework that a transaction writes, and the actions that follow its commit.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use bytes::Bytes;

use super::{
    core::{Core, Staged},
    item::Item,
    metrics::HandlerSeries,
    put_off::Postponed,
    replacement::Replacement,
    saga::{self, Scope},
    spans::{CreateSpans, Ids},
};
use crate::{
    engine::{
        parking::{ParkedIndex, TopicKey},
        saga::barrier::NoEffect,
    },
    id::MessageId,
    message::{Context, Header, Outgoing, Received, Record, TopicPartition, headers, listener::Listener},
    runtime::metrics::Counter,
    store::{AfterCommit, DeadLetter, DeadLetterId, DeadLetterState, InboxKey, ParkedId, ParkedMessage, StoreError, StoreTx},
    time::Timestamp,
};

/// The longest error text that is stored, in bytes.
const MAX_ERROR: usize = 2_000;

/// Collects what a transaction will write.
#[derive(Default)]
pub(crate) struct Effects {
    records: Vec<Record>,
    /// The spans of publishing the records.
    create_spans: CreateSpans,
    parks: Vec<ParkedMessage>,
    reparks: Vec<(ParkedId, u32, Timestamp, String)>,
    unparks: Vec<ParkedId>,
    letters: Vec<DeadLetter>,
    /// Messages that replace parked messages.
    replaces: Vec<(ParkedId, Received, Timestamp)>,
    /// Parked messages that held their key for a dead letter that was replaced.
    freed: Vec<(ParkedId, TopicKey)>,
    /// The number of open dead letters that were replaced.
    answered: usize,
    /// The changes that concern sagas.
    pub(crate) sagas: Scope,
    counts: Vec<Counter>,
    /// The hooks that handlers have registered for after the commit.
    hooks: AfterCommit,
    parked: ParkedChanges,
    /// Messages that are put off without a counted attempt.
    postponed: HashMap<TopicKey, Postponed>,
    /// The keys of messages that failed or were put off in this transaction. Later messages of these keys wait.
    waiting: HashSet<TopicKey>,
}

/// Changes to the index of parked keys, applied after the commit.
#[derive(Default)]
struct ParkedChanges {
    /// Messages that are added to a queue, and when the head of a new queue is due.
    joined: Vec<(TopicKey, Under, Timestamp)>,
    /// Queues in which the head ran: the number of messages that are done, and when the new head is due.
    settled: HashMap<TopicKey, (Under, usize, Option<Timestamp>)>,
}

/// The partition of a message and the epoch under which it was received. The index contains only partitions that this process owns.
type Under = (TopicPartition, i64);

impl ParkedChanges {
    fn settle(&mut self, item: &Item) -> &mut (Under, usize, Option<Timestamp>) {
        self.settled.entry(item.place.clone()).or_insert_with(|| ((item.partition(), item.epoch), 0, None))
    }
}

/// The result of writing the effects.
pub(crate) enum Written {
    /// Everything is written.
    Staged(Staged),
    /// These parked messages were handled by another process. The transaction must not be committed.
    Gone(Vec<ParkedId>),
}

impl Effects {
    /// Records that `item` is done without its handler: it is a duplicate, or the service does not handle its type.
    pub(crate) fn done(&mut self, item: &Item) {
        if let Some(id) = item.parked {
            self.unparks.push(id);
            self.parked.settle(item).1 += 1;
        }
    }

    /// If `item`, which cannot be delivered to any handler because of `why`, is from a topic of the framework, records that it is done.
    pub(crate) fn ignored(&mut self, core: &Core, item: &Item, why: &str) -> bool {
        let own = saga::is_own(&item.received.record.topic);
        if own {
            core.sagas.ignored.note(core, &item.received.record.topic, why);
            self.done(item);
        }
        own
    }

    /// Records that `item` was parked and another process has handled it.
    pub(crate) fn gone(&mut self, item: &Item) {
        self.parked.settle(item).1 += 1;
    }

    /// Returns whether a message of the key `place` failed in this transaction, so that later messages of the key wait.
    pub(crate) fn waits(&self, place: &TopicKey) -> bool {
        self.waiting.contains(place)
    }

    /// Increments `counter` after the commit.
    pub(crate) fn count(&mut self, counter: &Counter) {
        self.counts.push(counter.clone());
    }

    /// Calls `hooks` after the commit.
    pub(crate) fn call(&mut self, hooks: AfterCommit) {
        self.hooks.append(hooks);
    }

    /// Records that the handler succeeded or refused, and publishes its events.
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
        self.sagas.tracking.see_received(core, item, None);
        if let Some(role) = core.handlers[handler].role() {
            self.sagas.concluded(role, item, refused, &events, now);
        }
        self.publish_only(core, item, events, now);
    }

    /// Records that the attempt of `item`, which began outside a transaction, ended without a result.
    pub(crate) fn no_longer_running(&mut self, core: &Core, item: &Item, now: Timestamp) {
        if let Some(role) = item.role(core) {
            self.sagas.release(role, item, now);
        }
    }

    /// Records that the barrier decided that `item` has no effect.
    pub(crate) fn without_effect(&mut self, core: &Core, item: &Item, reason: NoEffect) {
        self.done(item);
        item.span.comes_to("without_effect");
        self.sagas.tracking.see_received(core, item, Some(reason.note()));
        core.sagas.without_effect(&core.metrics, item.role(core), reason, |counter| self.count(counter));
    }

    /// Publishes events that `item` caused, without a change to `item` itself.
    pub(crate) fn publish_only(&mut self, core: &Core, item: &Item, events: Vec<(MessageId, Outgoing)>, now: Timestamp) {
        if events.is_empty() {
            return;
        }
        let context = Context::caused_by(&item.envelope, item.span.context.clone());
        self.sagas.tracking.see_published(core, &events, &context, now);
        let create_spans = &mut self.create_spans;
        self.records.extend(events.into_iter().map(|(id, event)| create_spans.record(core, &id, event, &context, now)));
    }

    /// Parks `item` behind the parked messages of its key.
    pub(crate) fn park_behind(&mut self, item: &Item, now: Timestamp) {
        self.parks.push(item.to_parked(0, now, String::new()));
        self.parked.joined.push((item.place.clone(), (item.partition(), item.epoch), now));
    }

    /// Records that `item` replaces dead letters, which were settled in this transaction.
    ///
    /// Returns whether `item` was parked in place of a message that held its key, so that it is handled before the messages behind that
    /// one. This happens only if `parks` is true, which means that `item` has not run yet.
    pub(crate) fn replayed(&mut self, core: &Core, item: &Item, replay: Replacement, parks: bool, now: Timestamp) -> bool {
        for letter in &replay.letters {
            tracing::info!(
                service = &*core.name,
                dead_letter = letter.id.as_str(),
                topic = &*core.name_in_log(&item.received.record.topic),
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
                self.replaces.push((id, item.kept(), now));
                self.parked.settle(item).2 = Some(now);
                parked = true;
            } else {
                self.freed.push((id, place));
            }
        }
        parked
    }

    /// Parks `item`, which was parked for all its handlers, once for each of `listeners` instead.
    pub(crate) fn split(&mut self, item: &Item, listeners: &[Listener], now: Timestamp) {
        for listener in listeners {
            let parked = item.to_parked(0, now, String::new());
            self.parks.push(ParkedMessage { received: listener.keep(&item.received), ..parked });
            self.parked.joined.push((item.place.clone(), (item.partition(), item.epoch), now));
        }
        self.done(item);
    }

    /// Parks `item` after a failure, until its next attempt.
    pub(crate) fn park(&mut self, item: &Item, attempts: u32, due: Timestamp, error: &str) {
        let error = shortened(error);
        self.waiting.insert(item.place.clone());
        match item.parked {
            Some(id) => {
                self.reparks.push((id, attempts, due, error));
                self.parked.settle(item).2 = Some(due);
            }
            None => {
                self.parks.push(item.to_parked(attempts, due, error));
                self.parked.joined.push((item.place.clone(), (item.partition(), item.epoch), due));
            }
        }
    }

    /// Records that `item` is put off without a counted attempt. It is parked separately.
    pub(crate) fn put_off(&mut self, item: &Item, why: &str) {
        self.postponed.insert(item.place.clone(), Postponed::of(item, why));
    }

    /// Makes `item` a dead letter: it is kept in the database, and its record is sent to the dead-letter topic.
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
            event = item.said_type(core),
            topic = &*core.name_in_log(&item.received.record.topic),
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
        self.create_spans.copy(core, &copy, &item.span.context);
        self.records.push(copy);
        self.records.extend(saga::given_up(core, item, &id, attempts, &error, &mut self.create_spans, now));
    }

    /// Returns whether this transaction contains a dead letter of this message for all its handlers.
    pub(crate) fn has_letter_for_all(&self, message: &InboxKey) -> bool {
        let of_all = self.letters.iter().filter(|letter| letter.handler().is_none());
        of_all.filter_map(DeadLetter::known_by).any(|known_by| known_by == *message)
    }

    /// Makes `item` a dead letter only in the database, because the framework's part of its transaction fails.
    pub(crate) fn insert_dead_letter(&mut self, core: &Core, item: &Item, error: &str, now: Timestamp) {
        // Replace all characters but printable ASCII: the database may have rejected one of them, and the dead letter must not fail as
        // well.
        let error = shortened(&error.replace(|of: char| of != ' ' && !of.is_ascii_graphic(), "?"));
        let (topic, offset) = (core.name_in_log(&item.received.record.topic), item.received.offset);
        tracing::error!(
            service = &*core.name,
            topic = &*topic,
            partition = item.received.partition,
            offset,
            error,
            "dead-lettered by itself"
        );
        self.count(&core.series.dead_unwritable);
        item.span.begins(core);
        item.span.fails("dead_lettered", "unwritable", &error);
        let why = "only the dead letter was written, because its other effects could not be written".to_owned();
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
            received: item.kept(),
            event_type: item.said_type(core),
            error: error.to_owned(),
            attempts,
            at: now,
            state: DeadLetterState::Open,
            unpublished,
        });
        id
    }

    /// Writes all effects within the transaction.
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
            tx.insert_dead_letters(&core.name, &self.letters).await?;
        }
        self.sagas.write(core, tx, now).await?;
        let hooks = std::mem::take(&mut self.hooks);
        core.stage(tx, &self.records).await.map(|staged| Written::Staged(staged.with_hooks(hooks)))
    }

    /// Applies the effects in memory, after the commit.
    pub(crate) fn committed(self, core: &Core, now: Timestamp) {
        self.counts.iter().for_each(Counter::increment);
        self.create_spans.committed(core);
        self.sagas.committed(core);
        if !self.letters.is_empty() {
            core.series.open_dead_letters.add(self.letters.len() as f64);
        }
        if self.answered > 0 {
            core.series.open_dead_letters.add(-(self.answered as f64));
        }
        for place in self.parked.settled.keys().filter(|place| !self.postponed.contains_key(*place)) {
            core.put_off.forget(place);
        }
        for (place, postponed) in self.postponed {
            core.put_off.note(core, place, postponed, now);
        }
        let mut parked = core.parked();
        let changed = !self.parked.joined.is_empty() || !self.parked.settled.is_empty() || !self.freed.is_empty();
        let ours = |parked: &ParkedIndex, (partition, epoch): &Under| parked.epoch(partition) == Some(*epoch);
        for (place, under, due) in self.parked.joined {
            if ours(&parked, &under) {
                parked.park(place, under.0.partition, 1, due);
            }
        }
        for (place, (under, done, due)) in self.parked.settled {
            if ours(&parked, &under) {
                parked.settled(&place, done, due, now);
            }
        }
        for (_, place) in self.freed {
            parked.settled(&place, 1, None, now);
        }
        if changed {
            let (keys, messages) = parked.totals();
            drop(parked);
            core.series.parked_keys.set_count(keys as u64);
            core.series.parked_messages.set_count(messages as u64);
            core.parked_wake.notify_one();
        }
        core.record_activity();
    }
}

/// Returns the counter of deliveries with this outcome.
pub(crate) fn outcome_counter(series: &HandlerSeries, ended: crate::engine::batch::OutcomeKind) -> &Counter {
    use crate::engine::batch::OutcomeKind;
    match ended {
        OutcomeKind::Done => &series.done,
        OutcomeKind::Rejected => &series.rejected,
        OutcomeKind::Retry => &series.retried,
        OutcomeKind::Later { .. } => &series.later,
        OutcomeKind::Dead => &series.dead,
    }
}

fn dead_letter_record(core: &Core, item: &Item, id: &DeadLetterId, reason: &str, error: &str, now: Timestamp) -> Record {
    let original = &*item.received.record;
    let mut record = original.clone();
    // A copy of a dead letter that fails again gets only the headers of its last failure.
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
    item.write_handler_header(&mut record);
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
