//! A message on its way through a service.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;

use super::{core::Core, spans::Delivery};
use crate::{
    engine::{
        admission::{Admission, Inadmissible, RecordFacts},
        batch::Origin,
        parking::{RunNumber, TopicKey},
        schedule::Mode,
    },
    extract::{Meta, StepName},
    id::MessageId,
    message::{
        Envelope, Outgoing, Received, Record, TopicPartition,
        listener::{self, Listener},
    },
    saga::{Definition, InstanceKey, Role},
    store::{InboxKey, ParkedId, ParkedMessage, parking_key},
    time::Timestamp,
};

/// A message, with the service's decision about it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) received: Received,
    /// The partition that decides which process owns the message: its own, or another one if its own no longer exists.
    owner: i32,
    /// The epoch of that partition when the message was received.
    pub(crate) epoch: i64,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) admission: Admission,
    /// The handler that the message is for. `None` if it cannot be delivered to any handler, or is to be split.
    listener: Option<Listener>,
    /// The handlers of a message that was parked for all of them. Instead of being handled, it is parked once for each.
    pub(crate) split: Vec<Listener>,
    /// The index of its handler among those that take the message.
    pub(crate) part: usize,
    pub(crate) place: TopicKey,
    pub(crate) origin: Origin,
    /// Its id among the parked messages, if it was parked.
    pub(crate) parked: Option<ParkedId>,
    /// The run of its key for which it was taken, if it was parked.
    run: RunNumber,
    pub(crate) last_error: Option<Arc<str>>,
    /// Set in a replay that handles messages again: claims before this time are ignored.
    pub(crate) again: Option<Timestamp>,
    /// When this service first received it.
    pub(crate) seen: Timestamp,
    /// The span of its delivery, in the message's trace.
    pub(crate) span: Delivery,
}

impl Item {
    /// Creates the deliveries of a message from the log: one for the first handler that takes it, and one for each other, in the order in
    /// which they are called.
    pub(crate) fn fresh(core: &Core, received: Received, epoch: i64) -> (Self, Vec<Self>) {
        let received = listener::without(received);
        let owner = (received.partition, epoch);
        Self::each(core, |part| Self::new(core, received.clone(), owner, Origin::Fresh, None, 0, None, part))
    }

    /// Creates the message once for each handler that takes it. If none of them can take it, for the same reason, it is created once and
    /// belongs to no handler, so that a bad record leads to one dead letter.
    fn each(core: &Core, item: impl Fn(usize) -> Self) -> (Self, Vec<Self>) {
        let first = item(0);
        let mut listeners = first.listeners(core);
        let Some(listener) = listeners.next() else { return (first, Vec::new()) };
        let others: Vec<_> =
            listeners.enumerate().map(|(at, listener)| Self { listener: Some(listener), ..item(at + 1) }).collect();
        let goes_to_none = !matches!(first.admission, Admission::Handle { .. });
        match goes_to_none && others.iter().all(|other| other.admission == first.admission) {
            true => (first, Vec::new()),
            false => (Self { listener: Some(listener), ..first }, others),
        }
    }

    /// Returns the handlers of this program that take the message.
    fn handlers<'c>(&self, core: &'c Core) -> impl Iterator<Item = usize> + use<'c> {
        core.directory.handlers(&self.place.topic, self.envelope.event_type.as_deref())
    }

    /// Returns the same handlers, as the inbox distinguishes them.
    fn listeners<'c>(&self, core: &'c Core) -> impl Iterator<Item = Listener> + use<'c> {
        let listeners = core.directory.listeners(&self.place.topic, self.envelope.event_type.as_deref());
        listeners.map(|(handler, known_as)| Listener {
            name: match &core.handlers[handler] {
                ours if ours.is_of_framework() => Cow::Owned(ours.path()),
                handler => Cow::Borrowed(handler.options().name),
            },
            known_as: known_as.cloned(),
        })
    }

    /// Creates a message from the log that caused a panic while it was read.
    pub(crate) fn unreadable(core: &Core, received: Received, epoch: i64, text: String) -> Self {
        let received = listener::without(received);
        let now = core.clock.now();
        let envelope = Arc::new(Envelope::by_position(&received, now));
        let place = TopicKey { topic: received.record.topic.clone(), key: parking_key(&received) };
        Self {
            span: Delivery::new(core, &envelope),
            envelope,
            owner: received.partition,
            epoch,
            admission: Admission::DeadLetter(Inadmissible::Panicked(text)),
            listener: None,
            split: Vec::new(),
            part: 0,
            place,
            origin: Origin::Fresh,
            parked: None,
            run: 0,
            last_error: None,
            received,
            again: None,
            seen: now,
        }
    }

    /// Creates a parked message, taken for `run`. `owner` is the partition that decides which process owns it, with its epoch.
    pub(crate) fn parked(core: &Core, message: ParkedMessage, owner: (i32, i64), run: RunNumber) -> Self {
        let origin = Origin::Parked { attempts: message.attempts };
        let error = (!message.error.is_empty()).then(|| Arc::from(message.error));
        let (seen, id) = (message.seen, message.id);
        let listener = Listener::of(&message.received.record);
        let received = listener::without(message.received);
        let item = |part| Self { seen, ..Self::new(core, received.clone(), owner, origin, Some(id), run, error.clone(), part) };
        let Some(listener) = listener else { return Self::of_nobody(core, item) };
        let first = item(0);
        let of = first.listeners(core).enumerate().find(|(_, here)| here.has_what_was_kept_for(&listener));
        match of {
            Some((0, here)) => Self { listener: Some(here), ..first },
            Some((part, here)) => Self { listener: Some(here), ..item(part) },
            // The message was kept for a handler that this program does not have. It must not go to another handler either.
            None => {
                let admission = Admission::DeadLetter(Inadmissible::NoHandler(listener.name.to_string()));
                Self { admission, part: usize::MAX, listener: Some(listener), ..first }
            }
        }
    }

    /// Creates a message that was parked for all its handlers: it became a dead letter when no handler could be determined, and is retried
    /// now.
    fn of_nobody(core: &Core, item: impl Fn(usize) -> Self) -> Self {
        let (first, others) = Self::each(core, item);
        match &first.listener {
            // It still cannot be delivered to any handler, or it has only one, with the same claim as the dead letter.
            None => first,
            Some(only) if others.is_empty() && only.known_as.is_none() => first,
            Some(_) => {
                let split = first.listener.iter().chain(others.iter().filter_map(|other| other.listener.as_ref())).cloned();
                Self { split: split.collect(), admission: Admission::Skip, listener: None, ..first }
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "called by the constructors of this type only")]
    fn new(
        core: &Core,
        received: Received,
        (owner, epoch): (i32, i64),
        origin: Origin,
        parked: Option<ParkedId>,
        run: RunNumber,
        last_error: Option<Arc<str>>,
        part: usize,
    ) -> Self {
        let now = core.clock.now();
        let (envelope, bad_header) = match Envelope::of(&received, now) {
            Ok(envelope) => (envelope, None),
            Err(bad) => (Envelope::by_position(&received, now), Some(bad)),
        };
        let envelope = Arc::new(envelope);
        let record = &received.record;
        let facts = RecordFacts {
            topic: &record.topic,
            event_type: envelope.event_type.as_deref(),
            version: envelope.version,
            value: record.value.as_ref().map(Bytes::len),
            bad_header: bad_header.as_ref(),
        };
        let admission = core.directory.admit(facts, part, &core.remembered());
        let place = TopicKey { topic: record.topic.clone(), key: parking_key(&received) };
        let span = Delivery::new(core, &envelope);
        Self {
            envelope,
            owner,
            epoch,
            admission,
            listener: None,
            split: Vec::new(),
            part,
            place,
            origin,
            parked,
            run,
            last_error,
            received,
            again: None,
            seen: now,
            span,
        }
    }

    /// Returns the same message for `listener` only, which can be a handler of another program.
    pub(crate) fn only_for(&self, core: &Core, listener: Listener) -> Self {
        let part = self.listeners(core).position(|here| here.has_what_was_kept_for(&listener));
        Self {
            received: self.received.clone(),
            envelope: self.envelope.clone(),
            admission: self.admission.clone(),
            listener: Some(listener),
            split: Vec::new(),
            part: part.unwrap_or(usize::MAX),
            place: self.place.clone(),
            last_error: self.last_error.clone(),
            span: self.span.beside(),
            ..*self
        }
    }

    /// Returns whether the message was parked and must not be tried now, because an earlier message of its key has failed since it was
    /// taken.
    pub(crate) fn is_void(&self, core: &Core) -> bool {
        self.parked.is_some() && !core.parked().is_current(&self.place, self.run)
    }

    /// Returns whether this process still owns the partition under the same epoch. Only then is the index of parked keys valid for the
    /// message; read the index before this call, because the partition can be lost between the two.
    pub(crate) fn is_ours(&self, core: &Core) -> bool {
        core.parked().epoch(&self.partition()) == Some(self.epoch)
    }

    /// Returns the index of its handler.
    pub(crate) fn handler(&self) -> Option<usize> {
        match self.admission {
            Admission::Handle { handler, .. } => Some(handler),
            _ => None,
        }
    }

    /// Returns the role of its handler in a saga.
    pub(crate) fn role<'c>(&self, core: &'c Core) -> Option<&'c Role> {
        core.handlers[self.handler()?].role()
    }

    /// Returns the saga instance as needed to check the events that the handler publishes.
    pub(crate) fn part<'p>(&'p self, core: &'p Core) -> Option<Part<'p>> {
        Some(Part { saga: &self.role(core)?.saga, id: self.saga_id()? })
    }

    /// Returns the saga instance that its handler takes part in.
    pub(crate) fn instance(&self, core: &Core) -> Option<InstanceKey> {
        Some(InstanceKey { saga: self.role(core)?.saga.name.clone(), id: self.saga_id()?.to_owned() })
    }

    /// Returns the record's key as text, if it is text. It identifies the instance if the message belongs to a saga.
    pub(crate) fn saga_id(&self) -> Option<&str> {
        std::str::from_utf8(self.received.record.key.as_deref()?).ok()
    }

    /// Returns the key for log lines, escaped and shortened.
    pub(crate) fn shown_key(&self) -> String {
        const MOST: usize = 100;
        let key = self.received.record.key.as_deref().unwrap_or_default();
        let cut = if key.len() > MOST { "…" } else { "" };
        format!("{}{cut}", String::from_utf8_lossy(&key[..key.len().min(MOST)]).escape_debug())
    }

    /// Returns whether the message runs in a lane's transaction or detached.
    pub(crate) fn mode(&self, core: &Core) -> Mode {
        match self.handler() {
            Some(handler) if core.handlers[handler].requirements().work => Mode::Detached,
            _ => Mode::InTransaction,
        }
    }

    pub(crate) fn inbox_key(&self) -> InboxKey {
        self.key_of(self.listener.as_ref())
    }

    /// Returns the key under which the inbox knows this message for `listener`.
    pub(crate) fn key_of(&self, listener: Option<&Listener>) -> InboxKey {
        let id = &self.envelope.id;
        let id = listener.map_or_else(|| id.clone(), |listener| listener.known_by(id));
        InboxKey { source: self.envelope.source.clone(), id }
    }

    /// Returns why the message cannot be delivered to any handler, if it belongs to none.
    pub(crate) fn unfit_for_all(&self) -> Option<&Inadmissible> {
        match &self.admission {
            Admission::DeadLetter(unfit) if self.listener.is_none() => Some(unfit),
            _ => None,
        }
    }

    /// Returns the handler that the message is for.
    pub(crate) fn listener(&self) -> Option<&Listener> {
        self.listener.as_ref()
    }

    /// Returns the record as it is stored, with a header that names its handler.
    pub(crate) fn kept(&self) -> Received {
        self.listener.as_ref().map_or_else(|| self.received.clone(), |listener| listener.keep(&self.received))
    }

    /// Adds the header that names its handler to a copy of its record.
    pub(crate) fn write_handler_header(&self, copy: &mut Record) {
        if let Some(listener) = &self.listener {
            listener.write(copy);
        }
    }

    /// Returns the handlers that the message is for, or would be for if it could be delivered.
    pub(crate) fn intended_handlers(&self, core: &Core) -> Vec<usize> {
        match (self.handler(), &self.listener) {
            (Some(handler), _) => vec![handler],
            (None, Some(_)) => self.handlers(core).nth(self.part).into_iter().collect(),
            (None, None) => self.handlers(core).collect(),
        }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim { key: self.inbox_key(), again: self.again }
    }

    /// Returns the partition that decides which process owns the message.
    pub(crate) fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.received.record.topic.clone(), self.owner)
    }

    /// Returns whether `partition` decides which process owns the message.
    pub(crate) fn is_of(&self, partition: &TopicPartition) -> bool {
        self.owner == partition.partition && self.received.record.topic == partition.topic
    }

    /// Returns the event type in the record, which can be a former name. Without one, returns the event that the record is decoded as.
    pub(crate) fn said_type(&self, core: &Core) -> Option<String> {
        self.envelope.event_type.clone().or_else(|| self.event_type(core))
    }

    /// Returns the current name of the event, if it is known.
    pub(crate) fn event_type(&self, core: &Core) -> Option<String> {
        match self.admission {
            Admission::Handle { handler, event } if !core.handlers[handler].accepts()[event].is_any() => {
                Some(core.handlers[handler].accepts()[event].name.to_owned())
            }
            _ => self.envelope.event_type.clone(),
        }
    }

    /// Returns the metadata that its handler receives.
    pub(crate) fn meta(&self, core: &Core, handler: usize, now: Timestamp) -> Meta {
        Meta {
            envelope: self.envelope.clone(),
            service: core.name.clone(),
            handler: core.handlers[handler].options().name,
            topic: Arc::from(self.received.record.topic.as_str()),
            partition: self.received.partition,
            offset: self.received.offset,
            key: self.saga_id().map(Arc::from),
            attempt: self.origin.attempts().saturating_add(1),
            now,
            first_seen: self.seen,
            trace: self.span.context.clone(),
            last_error: self.last_error.clone(),
            step: self.role(core).map(|role| StepName { saga: Arc::from(role.saga.name.as_str()), step: role.step }),
        }
    }

    /// Returns the message as it is parked. The store sets the id.
    pub(crate) fn to_parked(&self, attempts: u32, due: Timestamp, error: String) -> ParkedMessage {
        ParkedMessage { id: 0, received: self.kept(), attempts, due, error, seen: self.seen }
    }
}

/// The identity under which a message is claimed.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) key: InboxKey,
    /// Set in a replay that handles messages again: claims before this time are ignored.
    pub(crate) again: Option<Timestamp>,
}

/// The saga instance that a handler takes part in.
#[derive(Clone, Copy)]
pub(crate) struct Part<'p> {
    pub(crate) saga: &'p Definition,
    pub(crate) id: &'p str,
}

impl Part<'_> {
    /// Returns an error if an event of the saga is published with the key of another instance.
    pub(crate) fn wrong_key_event(self, events: &[(MessageId, Outgoing)]) -> Option<String> {
        let of_saga = events.iter().map(|(_, event)| event).filter(|event| self.saga.has_event(event.name));
        let event = of_saga.into_iter().find(|event| event.key != self.id)?;
        Some(format!(
            "{} is published with the key `{}`, and its instance of {} is `{}`; an event of a saga carries the key of its instance",
            event.name, event.key, self.saga.name, self.id
        ))
    }
}
