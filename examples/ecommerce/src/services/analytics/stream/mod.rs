//! The stream of events that a browser or a program reads: each change of an order, and the numbers.
//!
//! The handler writes each change into a log (`log`) in its own transaction, at a position, which is in the event's id. A reader that
//! comes back says the last id it has seen, at whichever instance of the service, and is sent what came behind it: first from
//! the log, then as it comes. So nothing is missed and nothing is sent twice, whatever became of the connection, of the process or
//! of the instance that it was connected to. What is too old to be known, or is no position of this log, is answered by `reset` and
//! a snapshot.
//!
//! Everything is bounded: the changes that are kept, the readers of an instance, and what waits for each of them. One task reads
//! the log, for all readers of the instance (`hub`).

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

/// The limits of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct StreamLimits {
    /// Changes that are kept, for readers that come back; a few hundred more may be there. 10,000.
    pub kept: u32,
    /// Readers of one instance at a time. 250.
    pub readers: usize,
    /// Events that wait for one reader before it is disconnected. 1,000.
    pub buffered: usize,
    /// How long events may wait for a reader that takes none of them before it is disconnected. 20 s, which is less than a
    /// connection is let stall in writing.
    pub stalled: Duration,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { kept: 10_000, readers: 250, buffered: 1_000, stalled: Duration::from_secs(20) }
    }
}

/// The stream of one instance of the service. Cheap to clone.
#[derive(Clone)]
pub struct Stream(Arc<Hub>);

impl Stream {
    /// A stream that nobody reads yet.
    pub fn new(limits: StreamLimits) -> Self {
        Self(Arc::new(Hub::new(limits)))
    }

    /// Locks the log until the transaction has ended. Comes first in each call of a handler: see [`log::lock`].
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn lock(&self, tx: &mut Tx, service: &ServiceHandle) -> Result<Locked, Fault> {
        log::lock(tx, EventId::new_name(service.ids().uuid(tx.now()))).await
    }

    /// Adds to the locked log what `events` change, and wakes the task that reads it once that is committed.
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

    /// Shows in the service's metrics who reads.
    pub(super) fn observe(&self, service: &ServiceHandle) {
        self.0.observe(service);
    }

    /// Sends the readers what is written, until the service stops.
    pub(super) async fn run(self, service: ServiceHandle) {
        hub::run(self.0, service).await;
    }

    fn place(&self, connection: Connection) -> Option<Place> {
        self.0.place(connection)
    }
}
