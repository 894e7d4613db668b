//! The stream of server-sent events for browsers and programs: the changes of all orders, and the key figures.
//!
//! The handler writes each change to a log (`log`) in its own transaction, at a position that is part of the event's id. A reader
//! that reconnects, to any process of the service, sends the last id that it received. It receives the changes after that id,
//! first from the log and then as they are committed. So it misses nothing and receives nothing twice, also when the connection
//! breaks, or when the process that it was connected to ends. An id that is too old, or is not a position of this log, is
//! answered with `reset` and a snapshot.
//!
//! Everything is limited: the changes that are kept, the readers of a process, and the events that wait for each reader. One task
//! reads the log for all readers of the process (`hub`).

pub(super) mod http;
mod hub;
mod id;
mod log;
mod progress;
mod reader;

use std::{sync::Arc, time::Duration};

use sagas::{Fault, extract::Meta, http::Connection, prelude::*};

use self::{
    hub::{Hub, Place},
    id::EventId,
    log::{Heard, Locked},
    progress::Change,
};
use super::handlers::Anything;

/// The limits of the event stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamLimits {
    /// The number of changes that are kept for readers that reconnect. Up to a few hundred more can exist. Default: 10,000.
    pub kept: u32,
    /// The number of concurrent readers of one process. Default: 250.
    pub readers: usize,
    /// The number of events that can wait for one reader before it is disconnected. Default: 1,000.
    pub buffered: usize,
    /// How long a reader can take none of its waiting events before it is disconnected. Default: 20 s, which is less than the
    /// server's limit for a connection that stalls while it writes.
    pub stalled: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { kept: 10_000, readers: 250, buffered: 1_000, stalled: Duration::from_secs(20) }
    }
}

/// The event stream of one process of the service. Cheap to clone.
#[derive(Clone)]
pub struct Stream(Arc<Hub>);

impl Stream {
    /// Creates a stream without readers.
    pub fn new(limits: StreamLimits) -> Self {
        Self(Arc::new(Hub::new(limits)))
    }

    /// Locks the log until the transaction ends. Each call of the handler must take this lock first: see [`log::lock`].
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn lock(&self, tx: &mut Tx, service: &ServiceHandle) -> Result<Locked, Fault> {
        log::lock(tx, EventId::new_name(service.ids().uuid(tx.now()))).await
    }

    /// Adds the changes that `events` make to the locked log, and wakes the task that reads it after the commit.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn write(&self, tx: &mut Tx, log: Locked, events: &[(Anything, Meta)]) -> Result<(), Fault> {
        let heard = events.iter().filter_map(|(event, meta)| {
            let (order_id, change) = Change::of(event)?;
            Some(Heard { order_id, change, event_id: meta.envelope.id.to_string(), at: meta.envelope.time })
        });
        if log::write(tx, log, heard.collect(), self.0.limits.kept).await? {
            let hub = self.0.clone();
            tx.after_commit(move || hub.wake());
        }
        Ok(())
    }

    /// Registers the series of readers with the service's metrics.
    pub(super) fn observe(&self, service: &ServiceHandle) {
        self.0.observe(service);
    }

    /// Sends the log to the readers, until the service stops.
    pub(super) async fn run(self, service: ServiceHandle) {
        hub::run(self.0, service).await;
    }

    fn place(&self, connection: Connection) -> Option<Place> {
        self.0.place(connection)
    }
}
