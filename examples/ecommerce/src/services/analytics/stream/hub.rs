//! The readers of the stream in this process, and the task that sends them the changes.
//!
//! One task reads the log of changes for all readers. A transaction in this process that writes to the log wakes the task when it
//! commits. The task also reads the log once a second, because other processes write to it. Without readers, the task waits and
//! reads nothing.
//!
//! A reader that does not keep up delays no other reader. Its connection is closed when too many events wait for it, when it
//! takes none of them for too long, and when the service stops.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use axum::response::sse;
use sagas::{
    Fault,
    http::Connection,
    metrics::{Counter, Gauge},
    prelude::*,
};
use tokio::{
    select,
    sync::{Notify, Semaphore, mpsc},
    time::{Instant, sleep},
};

use super::{
    super::domain,
    StreamLimits,
    id::EventId,
    log::{self, OrderChange},
};

/// The number of changes that are read at once.
pub(super) const PAGE: usize = 200;
/// The number of readers that can read missed changes at the same time.
const CATCHING_UP: usize = 4;
/// How often the log is read for changes that other processes have written.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stop waits for readers to receive the end of their responses.
const STOP: Duration = Duration::from_millis(500);
/// The shortest interval between two events `metrics`.
const NUMBERS: Duration = Duration::from_millis(1_000);

const READERS: &str = "analytics_stream_readers";
const SLOW: &str = "analytics_stream_slow_readers_total";

/// An event that is sent to readers, encoded once for all of them.
#[derive(Debug)]
pub(super) struct Frame {
    name: &'static str,
    id: Option<String>,
    data: String,
}

impl Frame {
    pub(super) fn new<T: serde::Serialize>(name: &'static str, id: Option<String>, data: &T) -> Result<Arc<Self>, Fault> {
        Ok(Arc::new(Self { name, id, data: serde_json::to_string(data)? }))
    }

    pub(super) fn order(log: &str, change: &OrderChange) -> Result<Arc<Self>, Fault> {
        let id = EventId { name: log.to_owned(), position: change.position };
        Self::new("order", Some(id.to_string()), change)
    }

    pub(super) fn event(&self) -> sse::Event {
        let event = sse::Event::default().event(self.name).data(&self.data);
        match &self.id {
            Some(id) => event.id(id),
            None => event,
        }
    }
}

/// The readers of this process.
pub(super) struct Hub {
    pub(super) limits: StreamLimits,
    /// Limits how many readers read missed changes at the same time.
    pub(super) catching_up: Semaphore,
    state: Mutex<State>,
    woken: Notify,
    /// Notified when a reader takes a place.
    placed: Notify,
    /// The name of the log, once it is known.
    name: OnceLock<String>,
    series: OnceLock<(Gauge, Counter)>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// The connections of all readers that have a place: those that are attached, and those that still read missed changes.
    places: BTreeMap<u64, Connection>,
    /// The attached readers.
    readers: BTreeMap<u64, Reader>,
    /// The position up to which the log was sent to the attached readers; `None` while there are none.
    position: Option<i64>,
    /// The key figures as they were last sent.
    numbers: Option<Arc<Frame>>,
    /// Whether the key figures may have changed since.
    stale: bool,
}

struct Reader {
    /// The position up to which the reader knew the log when it was attached.
    from: i64,
    to: mpsc::Sender<Arc<Frame>>,
    /// The number of events that were given to the reader.
    given: usize,
    /// The number of events that the reader had taken at the last check, and the time since which it has taken none although some
    /// wait.
    taken: usize,
    since: Instant,
}

impl Reader {
    /// Returns whether the reader has taken none of its waiting events for `patience`.
    fn has_stalled(&mut self, patience: Duration) -> bool {
        let waiting = self.to.max_capacity() - self.to.capacity();
        let taken = self.given - waiting;
        if waiting == 0 || taken != self.taken {
            (self.taken, self.since) = (taken, Instant::now());
        }
        self.since.elapsed() >= patience
    }
}

impl Hub {
    pub(super) fn new(limits: StreamLimits) -> Self {
        Self {
            limits,
            catching_up: Semaphore::new(CATCHING_UP),
            state: Mutex::default(),
            woken: Notify::new(),
            placed: Notify::new(),
            name: OnceLock::new(),
            series: OnceLock::new(),
        }
    }

    /// Registers the series of readers with the service's metrics.
    pub(super) fn observe(&self, service: &ServiceHandle) {
        let metrics = service.metrics();
        metrics.describe_gauge(READERS, "Readers of the event stream that are connected to this instance.");
        metrics.describe_counter(SLOW, "Readers of the event stream that were disconnected because they read too slowly.");
        let series = (metrics.gauge(READERS, &[]), metrics.counter(SLOW, &[]));
        // Sets both series now, so that they exist before the first reader connects.
        series.0.set_count(0);
        series.1.add(0);
        let _ = self.series.set(series);
    }

    /// Wakes the task that reads the log, after a transaction in this process has committed changes.
    pub(super) fn wake(&self) {
        if self.position().is_some() {
            self.woken.notify_one();
        }
    }

    /// Takes a place for the reader on `connection`; `None` when no place is free.
    pub(super) fn place(self: &Arc<Self>, connection: Connection) -> Option<Place> {
        let mut state = self.state();
        if state.places.len() >= self.limits.readers {
            return None;
        }
        state.next += 1;
        let number = state.next;
        state.places.insert(number, connection);
        self.show(&state);
        self.placed.notify_one();
        Some(Place { hub: self.clone(), number })
    }

    /// Returns the position up to which the log was sent, or `None` without attached readers.
    fn position(&self) -> Option<i64> {
        self.state().position
    }

    /// Sends `changes`, which follow position `from`, to all attached readers.
    fn hand_out(&self, log: &str, from: i64, changes: &[OrderChange]) -> Result<(), Fault> {
        let frames = changes.iter().map(|change| Ok((change.position, Frame::order(log, change)?)));
        let frames: Vec<_> = frames.collect::<Result<_, Fault>>()?;
        let mut state = self.state();
        // While the log was read, all readers may have left and others been attached at another position.
        if state.position != Some(from) {
            return Ok(());
        }
        for (position, frame) in &frames {
            self.give(&mut state, frame, |reader| reader.from < *position);
        }
        state.position = frames.last().map(|(position, _)| *position);
        state.stale = true;
        state.rest_if_nobody_reads();
        Ok(())
    }

    fn hand_out_numbers(&self, numbers: Arc<Frame>) {
        let mut state = self.state();
        let same = state.numbers.as_ref().is_some_and(|sent| sent.data == numbers.data);
        if same || state.position.is_none() {
            return;
        }
        self.give(&mut state, &numbers, |_| true);
        state.numbers = Some(numbers);
        state.rest_if_nobody_reads();
    }

    /// Sends `frame` to the readers that `wants` selects. A reader whose channel is full is disconnected; it reconnects with the
    /// id of the last event that it received.
    fn give(&self, state: &mut State, frame: &Arc<Frame>, wants: impl Fn(&Reader) -> bool) {
        let State { places, readers, .. } = state;
        readers.retain(|number, reader| {
            if !wants(reader) {
                return true;
            }
            match reader.to.try_send(frame.clone()) {
                Ok(()) => {
                    reader.given += 1;
                    true
                }
                Err(mpsc::error::TrySendError::Closed(_)) => false,
                Err(mpsc::error::TrySendError::Full(_)) => self.disconnect(places.get(number)),
            }
        });
    }

    /// Disconnects readers that take none of their waiting events.
    fn disconnect_stalled(&self) {
        let mut state = self.state();
        let State { places, readers, .. } = &mut *state;
        readers.retain(|number, reader| !reader.has_stalled(self.limits.stalled) || self.disconnect(places.get(number)));
        state.rest_if_nobody_reads();
    }

    /// Closes a reader's connection and counts it. Returns false, so that `retain` removes the reader.
    fn disconnect(&self, connection: Option<&Connection>) -> bool {
        if let Some(connection) = connection {
            connection.close();
        }
        if let Some((_, slow)) = self.series.get() {
            slow.increment();
        }
        false
    }

    /// Disconnects all readers. Each reconnects and requests what it has missed.
    fn disconnect_all(&self) {
        let mut state = self.state();
        state.readers.clear();
        state.rest_if_nobody_reads();
    }

    /// Closes the connections of all readers that have a place, even if events still wait for them.
    fn close_all(&self) {
        for connection in self.state().places.values() {
            connection.close();
        }
    }

    fn show(&self, state: &State) {
        if let Some((readers, _)) = self.series.get() {
            readers.set_count(state.places.len() as u64);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rest_if_nobody_reads(&mut self) {
        if self.readers.is_empty() {
            (self.position, self.numbers) = (None, None);
        }
    }
}

/// The place of a reader, from its request to the end of its response.
pub(super) struct Place {
    hub: Arc<Hub>,
    number: u64,
}

impl Place {
    pub(super) fn hub(&self) -> &Hub {
        &self.hub
    }

    /// Attaches the reader, which knows the log up to `position`. Returns `None` when the attached readers were already sent
    /// later changes, which this reader must read first. An attached reader receives the key figures and then every event. The
    /// response must end when the channel does.
    pub(super) fn attach(&self, position: i64) -> Option<mpsc::Receiver<Arc<Frame>>> {
        let mut state = self.hub.state();
        if *state.position.get_or_insert(position) > position {
            return None;
        }
        let (to, frames) = mpsc::channel(self.hub.limits.buffered.max(1));
        let mut given = 0;
        match &state.numbers {
            // The channel is new and has room for one event.
            Some(numbers) => given = usize::from(to.try_send(numbers.clone()).is_ok()),
            None => state.stale = true,
        }
        state.readers.insert(self.number, Reader { from: position, to, given, taken: 0, since: Instant::now() });
        self.hub.woken.notify_one();
        Some(frames)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.hub.state();
        state.places.remove(&self.number);
        state.readers.remove(&self.number);
        state.rest_if_nobody_reads();
        self.hub.show(&state);
    }
}

/// Sends the log to all readers, until the service stops.
pub(super) async fn run(hub: Arc<Hub>, service: ServiceHandle) {
    select! {
        () = hand_out(&hub, &service) => {}
        () = end_with_the_server(&hub) => {}
    }
}

/// Reads the log for all readers.
async fn hand_out(hub: &Hub, service: &ServiceHandle) {
    let (mut numbers_at, mut failing) = (None::<Instant>, false);
    loop {
        let Some(from) = hub.position() else {
            hub.woken.notified().await;
            continue;
        };
        hub.disconnect_stalled();
        let looked = look(hub, service, from).await;
        if matches!(looked, Ok(PAGE)) {
            continue;
        }
        let stale = hub.state().stale;
        let until = numbers_at.map_or(Duration::ZERO, |at| (at + NUMBERS).saturating_duration_since(Instant::now()));
        let sent = if stale && until.is_zero() {
            numbers_at = Some(Instant::now());
            send_numbers(hub, service).await
        } else {
            Ok(())
        };
        match looked.and(sent) {
            Ok(()) if failing => {
                tracing::info!("the stream goes on");
                failing = false;
            }
            Err(error) if !failing => {
                tracing::warn!(%error, "the changes for the stream of events cannot be read; trying again");
                failing = true;
            }
            _ => {}
        }
        let wait = if stale && !until.is_zero() { LOOK.min(until) } else { LOOK };
        select! {
            () = sleep(wait) => {}
            () = hub.woken.notified() => {}
        }
    }
}

/// When the server stops, closes the connections that do not take the end of their responses.
async fn end_with_the_server(hub: &Hub) {
    loop {
        // All connections belong to the same server, so any of them reports its stop.
        let any = hub.state().places.values().next().cloned();
        match any {
            Some(connection) => {
                connection.stopping().await;
                sleep(STOP).await;
                hub.close_all();
            }
            None => hub.placed.notified().await,
        }
    }
}

/// Sends at most one page of the log after `from`, and returns the number of changes.
async fn look(hub: &Hub, service: &ServiceHandle, from: i64) -> Result<usize, Fault> {
    let changes = log::after(service.database(), from, PAGE).await?;
    let Some(first) = changes.first() else { return Ok(0) };
    if first.position != from + 1 {
        tracing::warn!(from, first = first.position, "changes of orders went before they were handed out");
        hub.disconnect_all();
        return Ok(0);
    }
    let name = match hub.name.get() {
        Some(name) => name,
        None => {
            let name = log::head(service).await?.name;
            hub.name.get_or_init(|| name)
        }
    };
    hub.hand_out(name, from, &changes)?;
    Ok(changes.len())
}

async fn send_numbers(hub: &Hub, service: &ServiceHandle) -> Result<(), Fault> {
    // Cleared before the read: a change after this point makes the key figures stale again.
    hub.state().stale = false;
    let numbers = domain::metrics(service.database(), service.clock().now()).await;
    let numbers = numbers.and_then(|numbers| Frame::new("metrics", None, &numbers));
    match numbers {
        Ok(numbers) => hub.hand_out_numbers(numbers),
        Err(error) => {
            hub.state().stale = true;
            return Err(error);
        }
    }
    Ok(())
}
