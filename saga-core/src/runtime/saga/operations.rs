//! What can be asked of the instances that a service keeps, and what an operator can do with them.

use std::sync::Arc;

use super::{
    super::{
        core::Core,
        spans::{Kind, Making, Span},
    },
    Tracked, deadlines,
    scope::{Before, Scope},
    view::InstanceView,
};
use crate::{
    engine::saga::{GivenUp, Instance},
    id::MessageId,
    message::{Context, Outgoing, TraceContext},
    saga::{InstanceKey, InstanceRecord, RetryDeadLetter, StepRecord},
    store::{HistoryEntry, InstanceQuery, StoreError, StoreTx},
};

/// The instances of the flows that a service tracks. Cheap to clone.
#[derive(Clone)]
pub struct Sagas(pub(crate) Arc<Core>);

/// Why an operation was not done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The service tracks no flow of that name.
    #[error("this service tracks no saga `{0}`")]
    UnknownSaga(String),
    /// There is no such instance.
    #[error("there is no instance `{id}` of {saga}")]
    UnknownInstance {
        /// The flow.
        saga: String,
        /// The instance.
        id: String,
    },
    /// The flow has no such step.
    #[error("{saga} has no step `{step}`; its steps are {steps}")]
    UnknownStep {
        /// The flow.
        saga: String,
        /// What was named.
        step: String,
        /// What there is.
        steps: String,
    },
    /// It is too late for that, or there is nothing to do.
    #[error("{0}")]
    Conflict(String),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sagas {
    /// One page of the instances that `query` wants, and how many there are in all.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(&self, query: &InstanceQuery) -> Result<(Vec<InstanceView>, u64), StoreError> {
        let (records, total) = self.0.store().sagas().instances(&self.0.name, query).await?;
        Ok((records.into_iter().map(|record| self.view(record)).collect(), total))
    }

    /// One instance; `None` when it is not there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find(&self, saga: &str, id: &str) -> Result<Option<InstanceView>, StoreError> {
        let record = self.0.store().sagas().instance(&self.0.name, &key(saga, id)).await?;
        Ok(record.map(|record| self.view(record)))
    }

    /// What happened to an instance, in the order in which it was taken in; empty when it is not there.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn history(&self, saga: &str, id: &str) -> Result<Vec<HistoryEntry>, StoreError> {
        self.0.store().sagas().history(&self.0.name, &key(saga, id)).await
    }

    /// What this service itself did at the steps of an instance.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn steps(&self, saga: &str, id: &str) -> Result<Vec<StepRecord>, StoreError> {
        self.0.store().sagas().steps(&self.0.name, &key(saga, id)).await
    }

    fn view(&self, record: InstanceRecord) -> InstanceView {
        let definition = self.0.sagas.tracked(&record.instance.saga).map(|tracked| &*tracked.definition);
        match Instance::read(record.clone()) {
            Ok(instance) => InstanceView::of(&instance, definition),
            Err(error) => InstanceView::unreadable(record, &error),
        }
    }

    /// Tries again what has stopped: lets the timers run anew, and gives the dead letters that are in the way back to their
    /// handlers, in whatever services those are.
    ///
    /// # Delivery
    /// Written down in the instance's history in one transaction with what it does.
    ///
    /// # Errors
    /// When there is nothing to try again, or the database is unavailable.
    pub async fn retry(&self, saga: &str, id: &str, by: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        let now = self.0.clock.now();
        // What was given up after the end, as a compensation of what nobody knows, is to be tried again too.
        if instance.ended_at.is_some() && instance.known.stopped.is_empty() {
            return Err(OperationError::Conflict(format!("{saga} {id} has ended: there is nothing to try again")));
        }
        let stopped = instance.rearm(&tracked.definition, now, tracked.deadline);
        deadlines::save(&self.0, &mut *tx, &instance, "operator.retry", &format!("by {by}"), now).await?;
        let began = instance.known.trace.as_ref();
        let trace = self.0.spans.follow(began, &self.0.ids);
        let (telling, parent) = (self.0.spans.begin(&trace), began.map(TraceContext::span_id));
        let (context, mut making) = (Context::root(instance.known.correlation_id.clone(), trace), Making::default());
        let mut records = Vec::with_capacity(stopped.len());
        for GivenUp { service, dead_letter, .. } in stopped.into_iter().filter(|stopped| !stopped.dead_letter.is_empty()) {
            let event = Outgoing::of(&RetryDeadLetter { id: id.to_owned(), service, dead_letter });
            let event = event.map_err(|fault| StoreError::Refused(fault.to_string()))?;
            records.push(making.record(&self.0, &MessageId::from(self.0.ids.uuid(now)), event, &context, now));
        }
        let staged = self.0.stage(&mut *tx, &records).await?;
        self.0.commit(tx, staged).await?;
        making.committed(&self.0);
        self.0.spans.end(telling, || {
            Span::new(&context.trace, format!("retry {saga}"), Kind::Internal).within_remote(parent).with([
                ("sagas.saga", saga.into()),
                ("sagas.instance", id.into()),
                ("sagas.by", by.into()),
            ])
        });
        self.0.sagas.plan(instance.due());
        Ok(())
    }

    /// Declares a step settled by hand: nobody waits for it, or for its compensation, any more.
    ///
    /// # Delivery
    /// As [`retry`](Self::retry). The step itself is not touched: what it did, or does later, stays.
    ///
    /// # Errors
    /// When there is no such step, or the database is unavailable.
    pub async fn skip(&self, saga: &str, id: &str, step: &str, by: &str, reason: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        let definition = &tracked.definition;
        if definition.step(step).is_none() {
            let steps = definition.steps.iter().map(|step| step.name.as_str()).collect::<Vec<_>>().join(", ");
            return Err(OperationError::UnknownStep { saga: saga.to_owned(), step: step.to_owned(), steps });
        }
        let now = self.0.clock.now();
        instance.skip(definition, step, now, tracked.deadline);
        deadlines::save(&self.0, &mut *tx, &instance, "operator.skip", &format!("{step}, by {by}: {reason}"), now).await?;
        tx.commit().await?;
        self.0.sagas.plan(instance.due());
        Ok(())
    }

    /// Gives the flow up: its abort runs as for a deadline that has passed, and what was done is undone.
    ///
    /// # Delivery
    /// As [`retry`](Self::retry); the abort runs at once, in a transaction of its own, and loses against a pivot that was first.
    ///
    /// # Errors
    /// When the flow is decided, or the database is unavailable.
    pub async fn force_compensate(&self, saga: &str, id: &str, by: &str, reason: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        if instance.is_decided(&tracked.definition) || instance.ended_at.is_some() {
            return Err(OperationError::Conflict(format!("{saga} {id} is decided already: it is {}", instance.state.as_str())));
        }
        if tracked.on_deadline.is_none() {
            return Err(OperationError::Conflict(format!(
                "this service has no handler for Deadline<{saga}>, which is what gives a flow up: add one to its abort"
            )));
        }
        let now = self.0.clock.now();
        instance.give_up(reason, now);
        deadlines::save(&self.0, &mut *tx, &instance, "operator.compensate", &format!("by {by}: {reason}"), now).await?;
        tx.commit().await?;
        self.0.sagas.plan(Some(now));
        Ok(())
    }

    /// Ends an instance by hand, as what it was decided to be: nobody waits for it any more. One that is not decided has come to
    /// nothing, and its pivot has no effect any more.
    ///
    /// # Delivery
    /// As [`retry`](Self::retry). Nothing is published: what participants did is not undone.
    ///
    /// # Errors
    /// When it has ended and nobody has to look at it, or the database is unavailable.
    pub async fn complete(&self, saga: &str, id: &str, by: &str, reason: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        if instance.ended_at.is_some() && instance.attention.is_none() {
            return Err(OperationError::Conflict(format!("{saga} {id} has ended already: it is {}", instance.state.as_str())));
        }
        let (now, mut scope) = (self.0.clock.now(), Scope::default());
        scope.load_instance(&self.0, &mut *tx, &instance.key).await?;
        let (role, cause) = (tracked.abort(), MessageId::new(instance.begun_by(&tracked.definition)));
        if matches!(scope.answer(&role, &instance.key, None, &cause, now), Before::Call) {
            scope.aborted(&role, &instance.key, &cause, now);
            scope.write(&self.0, &mut *tx, now).await?;
        }
        instance.end(&tracked.definition, now);
        deadlines::save(&self.0, &mut *tx, &instance, "operator.complete", &format!("by {by}: {reason}"), now).await?;
        Ok(tx.commit().await?)
    }

    async fn open(&self, saga: &str, id: &str) -> Result<(&Tracked, Box<dyn StoreTx>, Instance), OperationError> {
        let tracked = self.0.sagas.tracked(saga).ok_or_else(|| OperationError::UnknownSaga(saga.to_owned()))?;
        let mut tx = self.0.store().begin().await?;
        let instance = deadlines::load(&self.0, &mut *tx, &key(saga, id)).await.map_err(|error| match error {
            StoreError::Incompatible(error) => OperationError::Conflict(error),
            error => OperationError::Store(error),
        })?;
        let unknown = || OperationError::UnknownInstance { saga: saga.to_owned(), id: id.to_owned() };
        Ok((tracked, tx, instance.ok_or_else(unknown)?))
    }
}

fn key(saga: &str, id: &str) -> InstanceKey {
    InstanceKey { saga: saga.to_owned(), id: id.to_owned() }
}
