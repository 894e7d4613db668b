//! Queries on the instances that a service tracks, and the operations of an operator on them.

use std::sync::Arc;

use super::{
    super::{
        core::Core,
        spans::{CreateSpans, Kind, Span},
    },
    Tracked, deadlines,
    scope::{Decision, Scope},
    view::InstanceView,
};
use crate::{
    engine::saga::{GivenUp, Instance},
    id::MessageId,
    message::{Context, Outgoing, TraceContext},
    saga::{InstanceKey, InstanceRecord, RetryDeadLetter, StepRecord},
    store::{HistoryEntry, InstanceQuery, StoreError, StoreTx},
};

/// The instances of the sagas that a service tracks. Cheap to clone.
#[derive(Clone)]
pub struct Sagas(pub(crate) Arc<Core>);

impl std::fmt::Debug for Sagas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Sagas").field(&self.0.name).finish()
    }
}

/// Why an operation was refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OperationError {
    /// The service tracks no saga of this name.
    #[error("this service tracks no saga `{0}`")]
    UnknownSaga(String),
    /// The instance does not exist.
    #[error("there is no instance `{id}` of {saga}")]
    UnknownInstance {
        /// The saga.
        saga: String,
        /// The id of the instance.
        id: String,
    },
    /// The saga has no such step.
    #[error("{saga} has no step `{step}`; its steps are {steps}")]
    UnknownStep {
        /// The saga.
        saga: String,
        /// The step that was named.
        step: String,
        /// The steps of the saga.
        steps: String,
    },
    /// The state of the instance does not allow the operation.
    #[error("{0}")]
    Conflict(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Sagas {
    /// Returns one page of the instances that match `query`, and the number of all that match.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn list(&self, query: &InstanceQuery) -> Result<(Vec<InstanceView>, u64), StoreError> {
        let (records, total) = self.0.store().sagas().instances(&self.0.name, query).await?;
        Ok((records.into_iter().map(|record| self.view(record)).collect(), total))
    }

    /// Returns one instance, or `None` if it does not exist.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn find(&self, saga: &str, id: &str) -> Result<Option<InstanceView>, StoreError> {
        let record = self.0.store().sagas().instance(&self.0.name, &key(saga, id)).await?;
        Ok(record.map(|record| self.view(record)))
    }

    /// Returns the history of an instance, in the order in which the tracker recorded it; empty if the instance does not exist.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub async fn history(&self, saga: &str, id: &str) -> Result<Vec<HistoryEntry>, StoreError> {
        self.0.store().sagas().history(&self.0.name, &key(saga, id)).await
    }

    /// Returns the step records of this service for an instance.
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

    /// Retries what has stopped: starts the timers of the instance again, and asks the services concerned to retry the dead letters that
    /// block it.
    ///
    /// # Delivery
    /// One transaction writes the change, the entry in the instance's history and the requests to the other services.
    ///
    /// # Errors
    /// When there is nothing to retry, or the database is unavailable.
    pub async fn retry(&self, saga: &str, id: &str, by: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        let now = self.0.clock.now();
        // A message can be given up after the end of the instance, for example a compensation that the tracker did not expect.
        if instance.ended_at.is_some() && instance.body.stopped.is_empty() {
            return Err(OperationError::Conflict(format!("{saga} {id} has ended: there is nothing to try again")));
        }
        let stopped = instance.rearm(&tracked.definition, now, tracked.deadline);
        deadlines::save(&self.0, &mut *tx, &instance, "operator.retry", &format!("by {by}"), now).await?;
        let began = instance.body.trace.as_ref();
        let trace = self.0.spans.follow(began, &self.0.ids);
        let (telling, parent) = (self.0.spans.begin(&trace), began.map(TraceContext::span_id));
        let (context, mut create_spans) = (Context::root(instance.body.correlation_id.clone(), trace), CreateSpans::default());
        let mut records = Vec::with_capacity(stopped.len());
        for GivenUp { service, dead_letter, .. } in stopped.into_iter().filter(|stopped| !stopped.dead_letter.is_empty()) {
            let event = Outgoing::of(&RetryDeadLetter { id: id.to_owned(), service, dead_letter });
            let event = event.map_err(|fault| StoreError::Refused(fault.to_string()))?;
            records.push(create_spans.record(&self.0, &MessageId::from(self.0.ids.uuid(now)), event, &context, now));
        }
        let staged = self.0.stage(&mut *tx, &records).await?;
        self.0.commit(tx, staged).await?;
        create_spans.committed(&self.0);
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

    /// Declares a step settled by hand: the instance no longer waits for the step or for its compensation.
    ///
    /// # Delivery
    /// As for [`retry`](Self::retry). The step itself is not affected: what it did or still does remains.
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

    /// Aborts the instance: the handler of the abort runs as after a missed deadline, and the steps that are done are undone.
    ///
    /// # Delivery
    /// As for [`retry`](Self::retry). The abort runs at once, in a transaction of its own, and has no effect if the pivot was done first.
    ///
    /// # Errors
    /// When the instance is already decided, the service has no handler for the saga's deadlines, or the database is unavailable.
    pub async fn force_compensate(&self, saga: &str, id: &str, by: &str, reason: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        if instance.is_decided(&tracked.definition) || instance.ended_at.is_some() {
            return Err(OperationError::Conflict(format!("{saga} {id} is decided already: it is {}", instance.state.as_str())));
        }
        if tracked.on_deadline.is_none() {
            return Err(OperationError::Conflict(format!(
                "this service has no handler for Deadline<{saga}>, which aborts the saga: add one to its abort"
            )));
        }
        let now = self.0.clock.now();
        instance.give_up(reason, now);
        deadlines::save(&self.0, &mut *tx, &instance, "operator.compensate", &format!("by {by}: {reason}"), now).await?;
        tx.commit().await?;
        self.0.sagas.plan(Some(now));
        Ok(())
    }

    /// Ends an instance by hand, in the state that was decided. An undecided instance is ended as aborted, and its pivot no longer has an
    /// effect.
    ///
    /// # Delivery
    /// As for [`retry`](Self::retry). Nothing is published: completed steps are not undone.
    ///
    /// # Errors
    /// When the instance has ended and needs no attention, or the database is unavailable.
    pub async fn complete(&self, saga: &str, id: &str, by: &str, reason: &str) -> Result<(), OperationError> {
        let (tracked, mut tx, mut instance) = self.open(saga, id).await?;
        if instance.ended_at.is_some() && instance.attention.is_none() {
            return Err(OperationError::Conflict(format!("{saga} {id} has ended already: it is {}", instance.state.as_str())));
        }
        let (now, mut scope) = (self.0.clock.now(), Scope::default());
        scope.load_instance(&self.0, &mut *tx, &instance.key).await?;
        let (role, cause) = (tracked.abort(), MessageId::new(instance.begun_by(&tracked.definition)));
        if matches!(scope.decide(&role, &instance.key, None, &cause, now), Decision::RunHandler) {
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
