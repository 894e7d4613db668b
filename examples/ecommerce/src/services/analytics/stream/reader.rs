//! One reader of the stream: it receives missed changes from the log, and then new events.

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use axum::response::sse::Event;
use futures_util::{Stream, stream};
use sagas::{Fault, prelude::*};
use serde::Serialize;
use tokio::sync::mpsc;

use super::{
    hub::{Frame, PAGE, Place},
    id::EventId,
    log::{self, Head, OrderChange},
};

/// How long a reader is asked to wait before it reconnects.
const RETRY: Duration = Duration::from_secs(2);
/// The number of latest changes from which a snapshot is built.
const SNAPSHOT: usize = 500;
/// The maximum number of orders in a snapshot.
const ORDERS: usize = 100;

/// Why a reader does not receive the changes after the id that it sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
enum Reset {
    /// The next change is no longer kept.
    TooOld,
    /// The id belongs to another log.
    Unknown,
    /// The id belongs to this log, but is beyond its end: the database was restored to an earlier state.
    Ahead,
}

impl Reset {
    /// Returns why the reader that has received `id` must begin with a snapshot, or `None` if it can continue.
    fn of(id: &EventId, head: &Head) -> Option<Self> {
        match () {
            () if id.name != head.name => Some(Self::Unknown),
            () if id.position > head.last => Some(Self::Ahead),
            () if id.position + 1 < head.oldest => Some(Self::TooOld),
            () => None,
        }
    }

    const fn detail(self) -> &'static str {
        match self {
            Self::TooOld => "the changes after this id are no longer kept; the snapshot has the latest orders",
            Self::Unknown => "this id is of another stream; the snapshot has the latest orders",
            Self::Ahead => "this stream has no such id yet; the snapshot has the latest orders",
        }
    }
}

/// The orders that changed last, the latest first.
#[derive(Serialize)]
struct Snapshot {
    orders: Vec<OrderChange>,
}

/// One reader of the stream.
pub(super) struct Reader {
    place: Place,
    service: ServiceHandle,
    log: String,
    /// The position up to which the reader knows the log, once `ready` is sent.
    position: i64,
    ready: VecDeque<Event>,
    /// The channel of new events, once the reader has received all earlier ones.
    frames: Option<mpsc::Receiver<Arc<Frame>>>,
}

impl Reader {
    /// Creates a reader that has received the event `seen`, or none.
    ///
    /// # Errors
    /// When the database cannot be used.
    pub(super) async fn new(place: Place, service: ServiceHandle, seen: Option<EventId>) -> Result<Self, Fault> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            reason: Reset,
            detail: &'static str,
            last_event_id: String,
        }

        let head = log::head(&service).await?;
        let mut ready = VecDeque::from([Event::default().retry(RETRY)]);
        let reset = seen.as_ref().and_then(|seen| Reset::of(seen, &head));
        let position = match (&seen, reset) {
            (Some(seen), None) => seen.position,
            _ => {
                if let (Some(seen), Some(reason)) = (&seen, reset) {
                    let body = Body { reason, detail: reason.detail(), last_event_id: seen.to_string() };
                    ready.push_back(Frame::new("reset", None, &body)?.event());
                }
                let id = EventId { name: head.name.clone(), position: head.last };
                let snapshot = snapshot(service.database(), head.last).await?;
                ready.push_back(Frame::new("snapshot", Some(id.to_string()), &snapshot)?.event());
                head.last
            }
        };
        Ok(Self { place, service, log: head.name, position, ready, frames: None })
    }

    /// Returns the events. The stream ends when the service stops, when the reader is too slow, or when the log cannot be read;
    /// the reader then reconnects.
    pub(super) fn events(self) -> impl Stream<Item = Event> + Send {
        stream::unfold(self, async |mut reader| {
            let event = reader.next().await?;
            Some((event, reader))
        })
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some(event);
            }
            if let Some(frames) = &mut self.frames {
                return frames.recv().await.map(|frame| frame.event());
            }
            if let Err(error) = self.catch_up().await {
                tracing::warn!(%error, "the changes that a reader has missed cannot be read; the reader is disconnected, and connects again");
                return None;
            }
        }
    }

    /// Reads one page of missed changes, and attaches the reader after the last page.
    async fn catch_up(&mut self) -> Result<(), Fault> {
        let _turn = self.place.hub().catching_up.acquire().await?;
        let changes = log::after(self.service.database(), self.position, PAGE).await?;
        if changes.first().is_some_and(|first| first.position != self.position + 1) {
            return Err(Fault::new(format!("the changes after position {} are no longer kept", self.position)));
        }
        for change in &changes {
            self.ready.push_back(Frame::order(&self.log, change)?.event());
        }
        if let Some(last) = changes.last() {
            self.position = last.position;
        }
        if changes.len() < PAGE {
            self.frames = self.place.attach(self.position);
        }
        Ok(())
    }
}

/// Returns the orders that changed last, up to `position`.
async fn snapshot(db: &Database, position: i64) -> Result<Snapshot, Fault> {
    let mut known = HashSet::new();
    let changes = log::before(db, position, SNAPSHOT).await?;
    let latest = changes.into_iter().filter(|change| known.insert(change.order_id.clone()));
    Ok(Snapshot { orders: latest.take(ORDERS).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_gone_on_from_if_what_came_next_is_known() {
        let head = Head { name: "a".to_owned(), last: 20, oldest: 11 };
        for (name, position, reset) in [
            ("a", 20, None),
            ("a", 15, None),
            ("a", 11, None),
            ("a", 10, None),
            ("a", 9, Some(Reset::TooOld)),
            ("a", 0, Some(Reset::TooOld)),
            ("a", 21, Some(Reset::Ahead)),
            ("b", 15, Some(Reset::Unknown)),
        ] {
            let id = EventId { name: name.to_owned(), position };
            assert_eq!(Reset::of(&id, &head), reset, "{id}");
        }
        let empty = Head { name: "a".to_owned(), last: 0, oldest: 1 };
        assert_eq!(Reset::of(&EventId { name: "a".to_owned(), position: 0 }, &empty), None);
    }
}
