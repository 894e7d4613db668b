//! A message on its way through a service.

use std::sync::Arc;

use bytes::Bytes;

use super::{core::Core, inbox::Claim, judge::Part, spans::Delivery};
use crate::{
    engine::{
        admission::{Admission, Facts, Unfit},
        batch::Origin,
        parking::{Place, RunNumber},
        schedule::Mode,
    },
    extract::{Meta, StepName},
    message::{Envelope, Received, TopicPartition},
    saga::{InstanceKey, Role},
    store::{InboxKey, ParkedId, ParkedMessage, parking_key},
    time::Timestamp,
};

/// A message, with what the service makes of it.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) received: Received,
    /// The partition that it is owned with: its own, unless that is not there any more.
    owner: i32,
    /// Under which that was owned when it was taken.
    pub(crate) epoch: i64,
    pub(crate) envelope: Arc<Envelope>,
    pub(crate) admission: Admission,
    pub(crate) place: Place,
    pub(crate) origin: Origin,
    /// Its place among the parked messages, if that is where it comes from.
    pub(crate) parked: Option<ParkedId>,
    /// Which run of its key it was taken for, if it was parked.
    run: RunNumber,
    pub(crate) last_error: Option<Arc<str>>,
    /// An operator wants it handled again: what was claimed before this does not count.
    pub(crate) again: Option<Timestamp>,
    /// When it was first seen here.
    pub(crate) seen: Timestamp,
    /// Its delivery, in the trace that it is of.
    pub(crate) span: Delivery,
}

impl Item {
    /// A message that came from the log.
    pub(crate) fn fresh(core: &Core, received: Received, epoch: i64) -> Self {
        let owner = received.partition;
        Self::new(core, received, (owner, epoch), Origin::Fresh, None, 0, None)
    }

    /// A message that came from the log, of which something could not be read without a panic.
    pub(crate) fn unreadable(core: &Core, received: Received, epoch: i64, text: String) -> Self {
        let now = core.clock.now();
        let envelope = Arc::new(Envelope::by_position(&received, now));
        let place = Place { topic: received.record.topic.clone(), key: parking_key(&received) };
        Self {
            span: Delivery::new(core, &envelope),
            envelope,
            owner: received.partition,
            epoch,
            admission: Admission::DeadLetter(Unfit::Panicked(text)),
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

    /// A message that was parked, taken for `run`, and is owned with this partition under this epoch.
    pub(crate) fn parked(core: &Core, message: ParkedMessage, owner: (i32, i64), run: RunNumber) -> Self {
        let origin = Origin::Parked { attempts: message.attempts };
        let error = (!message.error.is_empty()).then(|| Arc::from(message.error));
        let seen = message.seen;
        Self { seen, ..Self::new(core, message.received, owner, origin, Some(message.id), run, error) }
    }

    fn new(
        core: &Core,
        received: Received,
        (owner, epoch): (i32, i64),
        origin: Origin,
        parked: Option<ParkedId>,
        run: RunNumber,
        last_error: Option<Arc<str>>,
    ) -> Self {
        let now = core.clock.now();
        let (envelope, bad_header) = match Envelope::of(&received, now) {
            Ok(envelope) => (envelope, None),
            Err(bad) => (Envelope::by_position(&received, now), Some(bad)),
        };
        let envelope = Arc::new(envelope);
        let record = &received.record;
        let admission = core.directory.admit(Facts {
            topic: &record.topic,
            event_type: envelope.event_type.as_deref(),
            version: envelope.version,
            value: record.value.as_ref().map(Bytes::len),
            bad_header: bad_header.as_ref(),
        });
        let place = Place { topic: record.topic.clone(), key: parking_key(&received) };
        let span = Delivery::new(core, &envelope);
        Self { envelope, owner, epoch, admission, place, origin, parked, run, last_error, received, again: None, seen: now, span }
    }

    /// Whether it was parked and is not to be tried now: one of its key before it has failed since it was taken.
    pub(crate) fn is_void(&self, core: &Core) -> bool {
        self.parked.is_some() && !core.lot().is_current(&self.place, self.run)
    }

    /// Whether its partition is ours as it was when it was taken. Only then the index of parked keys, looked at before this was
    /// asked, can say whether its key is parked.
    pub(crate) fn is_ours(&self, core: &Core) -> bool {
        core.lot().epoch(&self.partition()) == Some(self.epoch)
    }

    /// The number of its handler.
    pub(crate) fn handler(&self) -> Option<usize> {
        match self.admission {
            Admission::Handle { handler, .. } => Some(handler),
            _ => None,
        }
    }

    /// What its handler does in a flow.
    pub(crate) fn role<'c>(&self, core: &'c Core) -> Option<&'c Role> {
        core.handlers[self.handler()?].role()
    }

    /// The same, for what its handler publishes.
    pub(crate) fn part<'p>(&'p self, core: &'p Core) -> Option<Part<'p>> {
        Some(Part { saga: &self.role(core)?.saga, id: self.saga_id()? })
    }

    /// The saga instance that its handler has a part in.
    pub(crate) fn instance(&self, core: &Core) -> Option<InstanceKey> {
        Some(InstanceKey { saga: self.role(core)?.saga.name.clone(), id: self.saga_id()?.to_owned() })
    }

    /// The key of the saga instance that it belongs to, if it belongs to one.
    pub(crate) fn saga_id(&self) -> Option<&str> {
        std::str::from_utf8(self.received.record.key.as_deref()?).ok()
    }

    /// Its key, as the log shows it: no more than a line bears.
    pub(crate) fn shown_key(&self) -> String {
        const MOST: usize = 100;
        let key = self.received.record.key.as_deref().unwrap_or_default();
        let cut = if key.len() > MOST { "…" } else { "" };
        format!("{}{cut}", String::from_utf8_lossy(&key[..key.len().min(MOST)]).escape_debug())
    }

    /// In which way it runs.
    pub(crate) fn mode(&self, core: &Core) -> Mode {
        match self.handler() {
            Some(handler) if core.handlers[handler].requirements().work => Mode::Detached,
            _ => Mode::Held,
        }
    }

    pub(crate) fn inbox_key(&self) -> InboxKey {
        InboxKey { source: self.envelope.source.clone(), id: self.envelope.id.clone() }
    }

    pub(crate) fn claim(&self) -> Claim {
        Claim { key: self.inbox_key(), again: self.again }
    }

    /// The partition that it is owned with.
    pub(crate) fn partition(&self) -> TopicPartition {
        TopicPartition::new(self.received.record.topic.clone(), self.owner)
    }

    /// Whether it is owned with `partition`.
    pub(crate) fn is_of(&self, partition: &TopicPartition) -> bool {
        self.owner == partition.partition && self.received.record.topic == partition.topic
    }

    /// The event's name, as far as it is known.
    pub(crate) fn event_type(&self, core: &Core) -> Option<String> {
        match self.admission {
            Admission::Handle { handler, event } => Some(core.handlers[handler].accepts()[event].name.to_owned()),
            _ => self.envelope.event_type.clone(),
        }
    }

    /// What its handler is told of it.
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

    /// As it is parked. The id is given by the store.
    pub(crate) fn to_parked(&self, attempts: u32, due: Timestamp, error: String) -> ParkedMessage {
        ParkedMessage { id: 0, received: self.received.clone(), attempts, due, error, seen: self.seen }
    }
}
