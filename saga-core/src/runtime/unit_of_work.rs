//! Units of work: transactions outside a delivery, for example of an HTTP handler or a job.

use std::{
    ops::{Deref, DerefMut},
    sync::Arc,
};

use super::{
    core::Core,
    publishing,
    saga::{self, Decision, Scope},
    spans::{CreateSpans, Kind, Moment, Span},
};
use crate::{
    engine::saga::barrier::NoEffect,
    id::MessageId,
    message::{Context, EventKey, TraceContext},
    saga::{InstanceKey, Saga},
    store::{StoreError, Tx, TxSlot},
};

/// A transaction outside a delivery that writes rows and publishes events together.
///
/// Run statements on `&mut work`. It derefs to [`Tx`]: publish with [`Tx::publish`], and pass `&mut work` to a fn that takes `&mut Tx`.
///
/// # Delivery
/// Rows and events commit together or not at all. The relay sends the events after the commit, or after the next start if the process dies
/// first. If it is dropped without [`commit`](UnitOfWork::commit), the transaction is rolled back.
#[must_use = "without `commit` nothing happens"]
pub struct UnitOfWork {
    core: Arc<Core>,
    tx: Tx,
    slot: TxSlot,
    context: Context,
    sagas: Scope,
    /// The abort events that this unit of work must publish before its commit: the event's name and the instance.
    aborting: Vec<(String, InstanceKey)>,
    /// The span id of the caller's span, if there is one.
    parent: Option<u64>,
    began: Moment,
}

impl std::fmt::Debug for UnitOfWork {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UnitOfWork").field("service", &self.core.name).finish_non_exhaustive()
    }
}

/// The result of [`UnitOfWork::abort`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aborting {
    /// This transaction aborts the instance. Publish the saga's abort event in it.
    Now,
    /// The instance was aborted earlier. There is nothing to publish.
    Before,
    /// The instance cannot be aborted, because its pivot is done.
    TooLate,
    /// This service has no such instance.
    Unknown,
}

/// The service cannot begin a transaction now, because its database is unavailable or its outbox is full. Try again later.
#[derive(Debug, thiserror::Error)]
#[error("the service cannot take work now: {reason}")]
pub struct Unavailable {
    /// The reason.
    pub reason: String,
    /// Whether the cause is an outage, so that a later attempt can succeed.
    pub(crate) outage: bool,
}

/// Returns the reason why no events can be published now, if the outbox is full.
pub(super) fn full(core: &Core) -> Option<String> {
    let limit = core.settings.outbox_rows;
    core.outbox_full().then(|| format!("{limit} records wait in the outbox for the log (setting `outbox_rows`)"))
}

impl UnitOfWork {
    pub(crate) async fn begin(core: &Arc<Core>) -> Result<Self, Unavailable> {
        if let Some(reason) = full(core) {
            return Err(Unavailable { reason, outage: true });
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

    /// Sets the correlation id of the events. The default is a new UUID.
    ///
    /// [`commit`](Self::commit) refuses an id that a consumer could not read: it must have at most
    /// [`MAX_ID`](crate::message::headers::MAX_ID) bytes and no control characters.
    pub fn correlate(&mut self, correlation_id: impl Into<String>) {
        self.context.correlation_id = correlation_id.into();
    }

    /// Sets the saga instance that the events belong to. The limits of [`correlate`](Self::correlate) apply.
    pub fn saga(&mut self, saga_id: impl Into<String>) {
        self.context.saga_id = Some(saga_id.into());
    }

    /// Continues the trace of `parent`, from [`TraceContext::parse`] or from what a server has for its requests. Without a parent,
    /// the unit of work keeps its new trace.
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

    /// Aborts the instance `key` of the saga `S`, for example when a customer cancels, unless its pivot or another abort committed first.
    ///
    /// After [`Aborting::Now`], the caller must publish the saga's abort event in the same unit of work; otherwise [`commit`](Self::commit)
    /// fails.
    ///
    /// # Delivery
    /// This locks the instance: its deliveries wait until this transaction has ended. Call it before statements that lock rows which those
    /// deliveries also use, so that all transactions take their locks in the same order and cannot deadlock.
    ///
    /// # Errors
    /// If the database is unavailable, if the saga does not list `cancel` in the `on` of its abort, or if the service does not track the
    /// saga.
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
        // Check the instance as well, because the step records are removed after their retention.
        if known.is_decided(&definition) || known.ended_at.is_some() {
            let confirmed = known.body.seen.contains_key(&definition.pivot().emits.name);
            return Ok(if confirmed { Aborting::TooLate } else { Aborting::Before });
        }
        match self.sagas.decide(&role, &instance, None, &cause, now) {
            Decision::RunHandler => {}
            Decision::Nothing(NoEffect::Decided) => return Ok(Aborting::TooLate),
            _ => return Ok(Aborting::Before),
        }
        self.sagas.aborted(&role, &instance, &cause, now);
        self.aborting.push((definition.aborts.name.clone(), instance));
        self.context.causation_id.get_or_insert_with(|| start.to_owned());
        Ok(Aborting::Now)
    }

    /// Returns the correlation id.
    pub fn correlation_id(&self) -> &str {
        &self.context.correlation_id
    }

    /// Commits the rows and the events. Once the commit has begun, it continues even if this future is dropped.
    ///
    /// # Errors
    /// If nothing was committed, or if it is unknown whether the commit succeeded.
    pub async fn commit(self) -> Result<(), StoreError> {
        let Self { core, tx, slot, context, mut sagas, aborting, parent, began } = self;
        let now = tx.now();
        drop(tx);
        let Some(mut returned) = slot.take() else {
            return Err(StoreError::Refused("the transaction has ended".into()));
        };
        let events = std::mem::take(&mut returned.published);
        let owed =
            |(name, key): &&(String, InstanceKey)| !events.iter().any(|(_, event)| event.name == *name && event.key == key.id);
        if let Some((name, InstanceKey { saga, id })) = aborting.iter().find(owed) {
            return Err(StoreError::Refused(format!(
                "this unit of work aborts {saga} {id}, and publishes no {name} with the key `{id}`: publish it, or commit nothing"
            )));
        }
        let mut create_spans = CreateSpans::default();
        let staged = publishing::write(&core, &mut *returned.tx, &mut sagas, events, &context, &mut create_spans, now).await?;
        core.commit(returned.tx, staged.with_hooks(returned.after_commit)).await?;
        sagas.committed(&core);
        create_spans.committed(&core);
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
