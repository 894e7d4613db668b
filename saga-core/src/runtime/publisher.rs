//! PublicationGuard in a transaction that user code has begun.

use std::sync::Arc;

use super::{
    core::Core,
    joined::PublicationGuard,
    publishing,
    saga::Scope,
    spans::{CreateSpans, Kind, Span},
    unit_of_work::full,
};
use crate::{
    id::MessageId,
    message::{Context, Event, Outgoing, TraceContext},
    runtime::Correlation,
    store::{IntoSqlConnection, StoreError},
};

/// Publishes events in transactions that user code has begun, on its own connection pool.
///
/// [`ServiceHandle::publisher`](super::ServiceHandle::publisher) returns one. It is cheap to clone, so it can be part of the state of an
/// axum router.
///
#[cfg_attr(feature = "postgres", doc = "```no_run")]
#[cfg_attr(not(feature = "postgres"), doc = "```ignore")]
/// # use saga_core::{message::Event, runtime::Publisher};
/// # async fn example<E: Event>(pool: sqlx::PgPool, publisher: Publisher, placed: E) -> Result<(), Box<dyn std::error::Error>> {
/// let mut tx = pool.begin().await?;
/// sqlx::query("UPDATE orders SET status = 'placed' WHERE id = $1").bind(7).execute(&mut *tx).await?;
/// publisher.publish_in(&mut tx, &placed).await?;
/// tx.commit().await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Publisher {
    core: Arc<Core>,
    correlation_id: Option<String>,
    saga_id: Option<String>,
    parent: Option<TraceContext>,
}

impl Publisher {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self { core: core.clone(), correlation_id: None, saga_id: None, parent: None }
    }

    /// Sets the correlation id of the events. The default is a new UUID for each event. The limits of
    /// [`UnitOfWork::correlate`](super::UnitOfWork::correlate) apply.
    #[must_use]
    pub fn correlate(mut self, correlation_id: impl Into<String>) -> Self {
        self.correlation_id = Some(correlation_id.into());
        self
    }

    /// Sets the saga instance that the events belong to.
    #[must_use]
    pub fn saga(mut self, saga_id: impl Into<String>) -> Self {
        self.saga_id = Some(saga_id.into());
        self
    }

    /// Continues the trace of `parent`, as [`UnitOfWork::trace`](super::UnitOfWork::trace) does.
    #[must_use]
    pub fn trace(mut self, parent: impl Into<Option<TraceContext>>) -> Self {
        self.parent = parent.into();
        self
    }

    /// Returns a publisher whose events carry the correlation id and the trace of `request`: a [`Correlation`], or what a crate with a
    /// server has for its requests.
    #[must_use]
    pub fn for_request(&self, request: impl Into<Correlation>) -> Self {
        let Correlation { id, trace } = request.into();
        let publisher = self.clone().trace(trace);
        match id {
            Some(id) => publisher.correlate(id),
            None => publisher,
        }
    }

    /// Publishes `event` in the transaction that is open on `connection`, a connection to the service's database. Returns the message id.
    /// If the service tracks the event's saga, the instance is updated in the same transaction.
    ///
    /// On PostgreSQL, `connection` is a `&mut PgConnection` or a `&mut Transaction`, of any pool, user and `search_path`. The user needs
    /// the rights to use the schema of the framework's tables, and to read and write them. On SQLite, it is a connection to the service's
    /// file, with a transaction that was begun with `BEGIN IMMEDIATE`.
    ///
    /// # Delivery
    /// The relay sends the event as soon as the transaction commits; if this process dies first, another process or the next start sends
    /// it. The events of one key are sent in the order of the calls. So before the call, lock the entity that the key identifies, by
    /// updating its row. If the transaction is rolled back or never committed, the event is not published.
    ///
    /// On PostgreSQL, the transaction notifies the service with `pg_notify`, so transactions that publish in this way commit one after
    /// another.
    ///
    /// Deliveries of the same instance of a tracked saga wait until the transaction has ended.
    ///
    /// # Errors
    /// If no transaction is open on `connection`, or it is in another database. If the outbox is full ([`StoreError::Unavailable`]). If the
    /// event is too large or cannot be serialized. If a statement fails; then the transaction can only be rolled back.
    pub async fn publish_in<'c, E: Event>(
        &self,
        connection: impl IntoSqlConnection<'c>,
        event: &E,
    ) -> Result<MessageId, StoreError> {
        let core = &self.core;
        if let Some(reason) = full(core) {
            return Err(StoreError::Unavailable(reason));
        }
        let now = core.clock.now();
        let id = MessageId::from(core.ids.uuid(now));
        let outgoing = Outgoing::of(event).map_err(|fault| StoreError::Refused(fault.to_string()))?;
        let context = self.context();
        let began = core.spans.begin(&context.trace);
        let (mut sagas, mut create_spans) = (Scope::default(), CreateSpans::default());
        let mut tx = core.store().join(connection.into_sql_connection()).await?;
        let publishing = PublicationGuard::begin(core);
        let events = vec![(id.clone(), outgoing)];
        let staged = publishing::write(core, &mut *tx, &mut sagas, events, &context, &mut create_spans, now).await?;
        drop(tx);
        if let Some(publishing) = publishing {
            publishing.end(staged, sagas);
        }
        // If the database reports the commit, the rows are not kept in memory: a scan finds them, as it finds the rows of other processes.
        create_spans.committed(core);
        core.spans.end(began, || {
            Span::new(&context.trace, "publish in a transaction".to_owned(), Kind::Internal)
                .within_remote(self.parent.as_ref().map(TraceContext::span_id))
                .with([("messaging.message.conversation_id", context.correlation_id.as_str().into())])
        });
        Ok(id)
    }

    fn context(&self) -> Context {
        let (core, now) = (&self.core, self.core.clock.now());
        let trace = match &self.parent {
            Some(parent) => core.spans.follow(Some(parent), &core.ids),
            None => core.spans.root(&core.ids),
        };
        let correlation_id = self.correlation_id.clone().unwrap_or_else(|| core.ids.uuid(now).to_string());
        Context { saga_id: self.saga_id.clone(), ..Context::root(correlation_id, trace) }
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Publisher").field(&self.core.name).finish()
    }
}
