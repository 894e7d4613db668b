//! A running app, and how it is stopped.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use super::Running;
use crate::{
    engine::parking::TopicKey,
    runtime::{ServiceHandle, core::Core, handled_before, relay},
    transport::{GroupLag, Transport},
};

/// The longest time that a stop waits for the trace collector. It is an eighth of the stop timeout if that is less.
const FLUSH: std::time::Duration = std::time::Duration::from_secs(2);

/// A running app.
///
/// If it is dropped without [`stop`](Handle::stop), the services end as if the process had been killed: no data is lost, and unfinished
/// work is done after the next start.
pub struct Handle {
    pub(super) running: BTreeMap<String, Running>,
    pub(super) transport: Arc<dyn Transport>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").field("services", &self.running.keys()).finish_non_exhaustive()
    }
}

impl Handle {
    /// Returns the running service called `name`.
    pub fn service(&self, name: &str) -> Option<&ServiceHandle> {
        self.running.get(name).map(|running| &running.service)
    }

    /// Returns the running services, ordered by name.
    pub fn services(&self) -> impl Iterator<Item = &ServiceHandle> {
        self.running.values().map(|running| &running.service)
    }

    /// Returns the address at which clients reach the service called `name`: that of its first [`Server`](crate::runtime::Server) with a
    /// listener.
    pub fn address(&self, name: &str) -> Option<SocketAddr> {
        self.running.get(name)?.address
    }

    /// Waits until there is nothing left to do except work that is due later: every published record is handled, every outbox is empty, and
    /// no parked message is due.
    pub async fn quiet(&self) {
        let cores = self.cores();
        let mut moves: Vec<_> = cores.iter().map(|core| core.activity.subscribe()).collect();
        loop {
            let before: Vec<u64> = moves.iter_mut().map(|moves| *moves.borrow_and_update()).collect();
            let mut quiet = self.unrest(&cores).await.is_none();
            quiet &= moves.iter().zip(&before).all(|(moves, before)| *moves.borrow() == *before);
            if quiet {
                return;
            }
            let changes = moves.iter_mut().map(|moves| Box::pin(moves.changed()));
            if futures_util::future::select_all(changes).await.0.is_err() {
                return;
            }
        }
    }

    /// Returns when the next parked message or timer of an instance is due, if any waits.
    #[cfg(feature = "test-util")]
    pub(crate) async fn next_due(&self) -> Option<crate::time::Timestamp> {
        let mut next = None;
        for core in self.cores() {
            let parked = core.parked().next_due();
            let timer = core.store().sagas().next_due(&core.name).await.ok().flatten();
            next = [next, parked, timer].into_iter().flatten().min();
        }
        next
    }

    /// Returns a description of the work that is left, if any.
    #[cfg(feature = "test-util")]
    pub(crate) async fn busy_with(&self) -> Option<String> {
        let cores = self.cores();
        self.unrest(&cores).await
    }

    /// Returns a description of the work that is left, if any.
    async fn unrest(&self, cores: &[Arc<Core>]) -> Option<String> {
        for core in cores {
            if let Some(what) = self.unrest_of(core).await {
                return Some(format!("service `{}`: {what}", core.name));
            }
        }
        None
    }

    /// Returns the state of each service. It outlives the handle.
    pub(super) fn cores(&self) -> Vec<Arc<Core>> {
        self.running.values().map(|running| running.service.core().clone()).collect()
    }

    async fn unrest_of(&self, core: &Core) -> Option<String> {
        let rows = core.ledger().len();
        if rows > 0 {
            return Some(format!("{rows} rows of the outbox are not sent and removed"));
        }
        if core.parked().is_active(core.clock.now()) {
            return Some("parked messages are due, or run".into());
        }
        // The ledger does not contain the rows of other processes, or of processes that were killed.
        if core.store().sharing().is_some() {
            match core.store().outbox(&core.name, 0, 1).await {
                Ok(rows) if rows.is_empty() => {}
                Ok(_) => return Some("the outbox has rows in the database".into()),
                Err(error) => return Some(error.to_string()),
            }
        }
        match self.transport.lag(&core.name, &core.topics()).await {
            Ok(lags) => {
                if let Some(GroupLag { partition, committed, end, .. }) = lags.into_iter().find(|lag| lag.committed < lag.end) {
                    return Some(format!("{partition} is committed up to {committed}, and ends at {end}"));
                }
            }
            Err(error) => return Some(error.to_string()),
        }
        // The index in memory is incomplete until a service that has just started has acquired its partitions, so ask the database.
        match core.store().parked_keys(&core.name).await {
            Ok(mut keys) => {
                let (parked, now) = (core.parked(), core.clock.now());
                keys.retain(|key| {
                    key.due <= now && !parked.is_put_off(&TopicKey { topic: key.topic.clone(), key: key.key.clone() }, now)
                });
                if let Some(key) = keys.first() {
                    return Some(format!("the key {:?} of `{}` is parked, and due", key.key, key.topic));
                }
            }
            Err(error) => return Some(error.to_string()),
        }
        match core.store().sagas().next_due(&core.name).await {
            Ok(due) => due.filter(|due| *due <= core.clock.now()).map(|due| format!("the deadline of an instance was at {due}")),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Stops the services: takes no new work, finishes running work, sends the rows of the outboxes, commits offsets, and leaves the
    /// consumer groups.
    ///
    /// The time limit is [`stop_timeout_ms`](crate::settings::Settings::stop_timeout_ms), the longest of all services. Work that has not
    /// finished by then is aborted, which loses nothing, and done after the next start; a log line at level `WARN` names it. Returns whether
    /// everything ended in time. A program that passes this on in its exit code lets its supervisor see stops that were too short.
    pub async fn stop(self) -> bool {
        self.end(true).await
    }

    /// Starts the consumers, after every service has started and has recorded in its database which events it handles. Returns the problems
    /// found.
    pub(super) async fn consume(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (service, running) in &self.running {
            if let Err(error) = handled_before::note(running.service.core()).await {
                problems.push(format!("service `{service}`: {error}"));
            }
        }
        if problems.is_empty() {
            self.running.values_mut().for_each(Running::consume);
        }
        problems
    }

    /// Stops the services, and closes the databases if `close` is true.
    pub(super) async fn end(mut self, close: bool) -> bool {
        let limit = self.running.values().map(|running| running.service.core().settings.stop_timeout()).max().unwrap_or_default();
        for running in self.running.values() {
            running.service.core().health.set_stopping();
            running.service.metrics().set_ready(false);
            running.stop_intake.send_replace(true);
        }
        let ending = async {
            for running in self.running.values_mut() {
                running.end_intake().await;
            }
            for running in self.running.values_mut() {
                running.background.shutdown().await;
                running.stop_relay.send_replace(true);
                if let Some(Err(error)) = running.relay.join_next().await {
                    tracing::error!(%error, "the relay has ended too early");
                }
            }
        };
        let began = tokio::time::Instant::now();
        // The last fifth of the time is for aborting the tasks that did not end, and for closing.
        let in_time = tokio::time::timeout_at(began + limit * 4 / 5, ending).await.is_ok();
        let left: Vec<_> = self.running.values_mut().map(Running::left).collect();
        for running in self.running.values_mut() {
            running.intake.shutdown().await;
            running.background.shutdown().await;
            running.relay.shutdown().await;
        }
        let flush = FLUSH.min(limit / 8);
        let told = futures_util::future::join_all(self.running.values().map(|running| running.service.core().spans.close(flush)));
        let closing = async {
            for running in self.running.values() {
                relay::leave(running.service.core()).await;
            }
            for running in self.running.values().filter(|_| close) {
                running.service.database().store().close().await;
            }
        };
        // With the timeout, because closing a database waits for a transaction that user code never ends.
        let closing = futures_util::future::join(told, closing);
        let closed = tokio::time::timeout_at(began + limit, closing).await.is_ok();
        for (service, left) in self.running.keys().zip(left) {
            let took_ms = began.elapsed().as_millis();
            // What keeps one service from ending does not make another one unfinished.
            match closed && (in_time || left.is_none()) {
                true => tracing::info!(service, took_ms, "the service has stopped"),
                false => tracing::warn!(
                    service,
                    took_ms,
                    left = left.as_deref().unwrap_or("the database is not closed, or the last spans are not sent"),
                    "the service has stopped before it had finished; what is left is done after its next start"
                ),
            }
        }
        in_time && closed
    }
}
