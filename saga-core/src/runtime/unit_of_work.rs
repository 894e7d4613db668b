//! The same transaction outside a delivery: an HTTP handler's, a job's.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{
    core::Core,
    judge::oversized,
    saga::{self, Before, Scope},
    spans::{Kind, Making, Moment, Span},
};
use crate::{
    engine::saga::barrier::Reason,
    id::MessageId,
    message::{Context, EventKey, TraceContext},
    saga::{InstanceKey, Saga},
    store::{StoreError, Tx, TxSlot},
};

/// A transaction in which rows are written and events are published together, outside a delivery.
///
/// It derefs to [`Tx`]: run statements on `&mut *work`, and publish with [`Tx::publish`].
///
/// # Delivery
/// Rows and events commit together or not at all; after the commit the events are sent at once, and, should the process die
/// before, when it is started again. Dropped without [`commit`](UnitOfWork::commit), nothing happened.
#[must_use = "without `commit` nothing happens"]
pub struct UnitOfWork {
    core: Arc<Core>,
    tx: Tx,
    slot: TxSlot,
    context: Context,
    sagas: Scope,
    /// Abort events that are owed, with their instances.
    aborting: Vec<(String, InstanceKey)>,
    /// The span that it is within.
    parent: Option<u64>,
    began: Moment,
}

/// What came of asking for a flow to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborting {
    /// It is given up by this transaction: publish its abort event with it.
    Now,
    /// It was given up before; there is nothing to publish.
    Before,
    /// It is too late: its pivot was first.
    TooLate,
    /// There is no such instance here.
    Unknown,
}

/// The service cannot take work now: its database is unavailable, or its outbox is full. Try again later.
#[derive(Debug, thiserror::Error)]
#[error("the service cannot take work now: {reason}")]
pub struct Unavailable {
    /// Why.
    pub reason: String,
    /// Whether it will pass by itself.
    pub(crate) outage: bool,
}

impl UnitOfWork {
    pub(crate) async fn begin(core: &Arc<Core>) -> Result<Self, Unavailable> {
        if core.outbox_full() {
            let limit = core.settings.outbox_rows;
            return Err(Unavailable {
                reason: format!("{limit} records wait in the outbox for the log (setting `outbox_rows`)"),
                outage: true,
            });
        }
        let patience = core.settings.begin_timeout();
        let open = tokio::select! {
            open = core.store().begin() => open.map_err(|error| Unavailable { reason: error.to_string(), outage: true })?,
            () = core.clock.sleep(patience) => {
                return Err(Unavailable {
                    reason: format!("the database gave no transaction within {patience:?} (setting `begin_timeout_ms`)"),
                    outage: true,
                });
            }
        };
        let now = core.clock.now();
        let slot = TxSlot::default();
        let tx = Tx::lend(open, slot.clone(), false, core.ids.clone(), now);
        let context = Context::root(core.ids.uuid(now).to_string(), core.spans.root(&core.ids));
        let began = core.spans.begin(&context.trace);
        Ok(Self { core: core.clone(), tx, slot, context, sagas: Scope::default(), aborting: Vec::new(), parent: None, began })
    }

    /// Sets what the whole flow is known by; otherwise it is a new UUID. [`commit`](Self::commit) refuses one that could not be read
    /// again: at most [`MAX_ID`](crate::message::headers::MAX_ID) bytes, without control characters.
    pub fn correlate(&mut self, correlation_id: impl Into<String>) {
        self.context.correlation_id = correlation_id.into();
    }

    /// Sets the saga instance that the events belong to; within the bounds of [`correlate`](Self::correlate).
    pub fn saga(&mut self, saga_id: impl Into<String>) {
        self.context.saga_id = Some(saga_id.into());
    }

    /// Goes on with the trace of `parent`, as [`TraceContext::parse`] or, of an HTTP request, `http::RequestTrace` gives it. Without one
    /// it stays in a new trace.
    pub fn trace(&mut self, parent: impl Into<Option<TraceContext>>) {
        if let Some(parent) = parent.into() {
            let core = &self.core;
            self.context.trace = core.spans.follow(Some(&parent), &core.ids);
            self.parent = Some(parent.span_id());
            if !self.began.is_recorded() || !self.context.trace.is_sampled() {
                self.began = core.spans.begin(&self.context.trace);
            }
        }
    }

    /// Gives the instance `key` of the flow `S` up, as a customer who cancels does, unless its pivot or another abort was first:
    /// one commit decides. On [`Aborting::Now`] the caller publishes the flow's abort event in this same unit of work.
    ///
    /// # Delivery
    /// Deliveries of the same instance wait until this transaction has ended, so call it before other statements that those
    /// deliveries could wait for: locks are then taken in one order.
    ///
    /// # Errors
    /// When the database cannot be used, or the flow does not list `cancel` among its abort's triggers, or is not tracked here.
    pub async fn abort<S: Saga>(&mut self, key: &S::Key) -> Result<Aborting, StoreError> {
        let Some(tracked) = self.core.sagas.tracked(S::NAME).filter(|tracked| tracked.definition.abort.cancel) else {
            return Err(StoreError::Refused(format!(
                "{} cannot be cancelled here: add `cancel` to its abort's `on`, and `Tracker::of::<{}>()` to the service",
                S::NAME,
                S::NAME
            )));
        };
        let instance = InstanceKey { saga: S::NAME.to_owned(), id: key.to_text() };
        let (now, definition, role) = (self.tx.now(), tracked.definition.clone(), tracked.abort());
        let core = self.core.clone();
        let open = self.tx.open_mut()?;
        self.sagas.load_instance(&core, open, &instance).await?;
        let Some(known) = saga::load(&core, open, &instance).await? else { return Ok(Aborting::Unknown) };
        let start = known.begun_by(&definition);
        let cause = MessageId::new(start);
        // The instance says it too: its records of the steps are not kept for ever.
        if known.is_decided(&definition) || known.ended_at.is_some() {
            let confirmed = known.known.seen.contains_key(&definition.pivot().emits.name);
            return Ok(if confirmed { Aborting::TooLate } else { Aborting::Before });
        }
        match self.sagas.answer(&role, &instance, None, &cause, now) {
            Before::Call => {}
            Before::Nothing(Reason::Decided) => return Ok(Aborting::TooLate),
            _ => return Ok(Aborting::Before),
        }
        self.sagas.aborted(&role, &instance, &cause, now);
        self.aborting.push((definition.aborts.name.clone(), instance));
        self.context.causation_id.get_or_insert_with(|| start.to_owned());
        Ok(Aborting::Now)
    }

    /// What the whole flow is known by.
    pub fn correlation_id(&self) -> &str {
        &self.context.correlation_id
    }

    /// Commits rows and events. The future may be dropped: what began to commit goes on.
    ///
    /// # Errors
    /// When nothing was committed, or that is not known.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Self { core, tx, slot, context, mut sagas, aborting, parent, began } = self;
        let now = tx.now();
        drop(tx);
        let Some(mut returned) = slot.take() else {
            return Err(StoreError::Refused("the transaction has ended".into()));
        };
        if let Some(error) = oversized(&core, &returned.published) {
            return Err(StoreError::Refused(error));
        }
        if let Some(bad) = context.unreadable().filter(|_| !returned.published.is_empty()) {
            return Err(StoreError::Refused(format!("the events of this unit of work could not be handled by anyone: {bad}")));
        }
        let events = std::mem::take(&mut returned.published);
        let owed =
            |(name, key): &&(String, InstanceKey)| !events.iter().any(|(_, event)| event.name == *name && event.key == key.id);
        if let Some((name, InstanceKey { saga, id })) = aborting.iter().find(owed) {
            return Err(StoreError::Refused(format!(
                "this unit of work gives {saga} {id} up, and publishes no {name} with the key `{id}`: publish it, or commit nothing"
            )));
        }
        sagas.see_published(&core, &events, &context, now);
        sagas.write(&core, &mut *returned.tx, now).await?;
        let mut making = Making::default();
        let records: Vec<_> = events.into_iter().map(|(id, event)| making.record(&core, &id, event, &context, now)).collect();
        let staged = core.stage(&mut *returned.tx, &records).await?.with_hooks(returned.after_commit);
        core.commit(returned.tx, staged).await?;
        sagas.committed(&core);
        making.committed(&core);
        core.spans.end(began, || {
            Span::new(&context.trace, "unit of work".to_owned(), Kind::Internal)
                .within_remote(parent)
                .with([("messaging.message.conversation_id", context.correlation_id.into())])
        });
        Ok(())
    }
}

impl Deref for UnitOfWork {
    type Target = Tx;

    fn deref(&self) -> &Tx {
        &self.tx
    }
}

impl DerefMut for UnitOfWork {
    fn deref_mut(&mut self) -> &mut Tx {
        &mut self.tx
    }
}
