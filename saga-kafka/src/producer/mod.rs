//! The one producer of a process.
//!
//! It is idempotent, so a request that is repeated stores nothing twice and nothing out of order. What idempotence does not give
//! is that a call stores a *prefix* of each partition: of records that were buffered a moment apart, the earlier one can run out
//! of time and the later one be stored. So the time is not the client's: a call waits up to [`PATIENCE`], and when it ends, or a
//! record fails before, whatever is still on its way is taken back at once (*purged*), all of a partition together. Other calls
//! that were under way then are answered *unavailable* and are sent again from the outbox; it happens in outages only.

mod call;
mod reports;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rdkafka::{
    error::KafkaError,
    message::{Header, OwnedHeaders},
    producer::{BaseRecord, Producer as _, PurgeConfig, ThreadedProducer},
    types::RDKafkaErrorCode as Code,
};
use saga_core::{
    message::Record,
    transport::{Position, TransportError},
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, timeout, timeout_at},
};

use self::{
    call::Call,
    reports::{Reports, refusal},
};
use crate::{KafkaConfig, settings, statistics::Board, time::now};

/// How long a call waits for the log. Shorter than what holds a shard of the outbox.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long it takes at most until records that are taken back are reported.
const PURGED_WITHIN: Duration = Duration::from_secs(2);

/// How long a full buffer is waited for at a time, should nobody say that there is room.
const ROOM: Duration = Duration::from_millis(100);

type Client = ThreadedProducer<Reports>;

/// Publishes records.
pub(crate) struct Producer {
    config: KafkaConfig,
    board: Arc<Board>,
    room: Arc<Notify>,
    /// `None` when it was closed.
    client: Mutex<Option<Arc<Client>>>,
}

impl Producer {
    pub(crate) fn new(config: &KafkaConfig, board: Arc<Board>) -> Result<Self, TransportError> {
        let producer = Self { config: config.clone(), board, room: Arc::default(), client: Mutex::new(None) };
        let client = producer.make()?;
        *producer.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(producer)
    }

    fn make(&self) -> Result<Arc<Client>, TransportError> {
        let reports = Reports { board: Arc::clone(&self.board), room: Arc::clone(&self.room) };
        let client = settings::producer(&self.config).create_with_context(reports);
        Ok(Arc::new(client.map_err(|error| self.config.explain(&error))?))
    }

    /// The client; a new one where the old one has failed for good.
    fn client(&self) -> Result<Arc<Client>, TransportError> {
        let mut slot = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        let client = slot.as_ref().ok_or(TransportError::Closed)?;
        let Some((code, reason)) = client.client().fatal_error() else { return Ok(Arc::clone(client)) };
        tracing::error!(%code, reason, "the producer has failed for good; making another one");
        let made = self.make()?;
        if let Some(failed) = slot.replace(Arc::clone(&made)) {
            dispose(failed, Duration::ZERO);
        }
        Ok(made)
    }

    /// Stores records whose topics are there; see [`Transport::publish`](saga_core::transport::Transport::publish).
    /// `unknown` says of a topic that it is not to be tried, and why.
    pub(crate) async fn publish(
        &self,
        records: &[Record],
        unknown: impl Fn(&str) -> Option<TransportError>,
    ) -> Vec<Result<Position, TransportError>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return records.iter().map(|_| Err(again(&error))).collect(),
        };
        let deadline = Instant::now() + PATIENCE;
        let call = Call::new(records.len());
        for (index, record) in records.iter().enumerate() {
            let taken = match unknown(&record.topic) {
                Some(error) => Err(error),
                None => self.enqueue(&client, &call, index, record, deadline).await,
            };
            match taken {
                Ok(()) => {}
                Err(error @ TransportError::Unavailable(_)) => {
                    // Nothing that comes after it may be stored before it.
                    (index..records.len()).for_each(|index| call.answer(index, Err(again(&error))));
                    break;
                }
                Err(error) => call.answer(index, Err(error)),
            }
        }
        if !matches!(timeout_at(deadline, call.settled(false)).await, Ok(true)) {
            client.purge(PurgeConfig::default().queue().inflight().non_blocking());
            let _ = timeout(PURGED_WITHIN, call.settled(true)).await;
        }
        let suspects = call.suspects();
        let mut answers =
            call.answers(|| TransportError::Unavailable(format!("the log did not answer within {} s", PATIENCE.as_secs())));
        for index in suspects {
            answers[index] = self.publish_alone(&client, &records[index]).await;
        }
        answers
    }

    /// Stores a record in a request of its own, and so finds out whether it is this one that is too large.
    async fn publish_alone(&self, client: &Client, record: &Record) -> Result<Position, TransportError> {
        let deadline = Instant::now() + PATIENCE;
        let call = Call::new(1);
        self.enqueue(client, &call, 0, record, deadline).await?;
        let _ = timeout_at(deadline, call.settled(true)).await;
        let missing = || TransportError::Unavailable(format!("the log did not answer within {} s", PATIENCE.as_secs()));
        call.answers(missing).pop().unwrap_or_else(|| Err(missing()))
    }

    /// Gives a record to the client, when there is room for it.
    async fn enqueue(
        &self,
        client: &Client,
        call: &Arc<Call>,
        index: usize,
        record: &Record,
        deadline: Instant,
    ) -> Result<(), TransportError> {
        if record.topic.contains('\0') {
            return Err(TransportError::UnknownTopic(record.topic.clone()));
        }
        if record.headers.iter().any(|header| header.name.contains('\0')) {
            return Err(TransportError::Refused("the name of a header has a zero byte".into()));
        }
        loop {
            if call.is_broken() {
                return Err(TransportError::Unavailable("a record before it failed".into()));
            }
            let room = self.room.notified();
            match send(client, call, index, record) {
                Err(KafkaError::MessageProduction(Code::QueueFull)) if Instant::now() < deadline => {
                    let _ = timeout(ROOM, room).await;
                }
                sent => return sent.map_err(|error| refusal(&error, &record.topic)),
            }
        }
    }

    /// Sends what is buffered, and gives the client up. Ends within `patience`, more or less.
    pub(crate) async fn close(&self, patience: Duration) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(client) = client else { return };
        let gone = dispose(client, patience);
        let _ = timeout(patience + Duration::from_secs(1), gone).await;
    }
}

/// Without the flush of [`Producer::close`]; also not on the thread of whoever drops it.
impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(dispose(client, Duration::ZERO));
        }
    }
}

/// Flushes and drops a client on a thread of its own, because both block. The receiver ends when it is gone.
fn dispose(client: Arc<Client>, patience: Duration) -> oneshot::Receiver<()> {
    let (gone, ended) = oneshot::channel();
    let disposing = std::thread::Builder::new().name("saga-kafka-flush".into()).spawn(move || {
        if !patience.is_zero() && client.flush(patience).is_err() {
            tracing::warn!("the producer is closed with records that the log has not taken; the outbox keeps them");
        }
        // What is left is reported as taken back, which ends the calls that still hold the client.
        client.purge(PurgeConfig::default().queue().inflight().non_blocking());
        let deadline = now() + PURGED_WITHIN;
        while Arc::strong_count(&client) > 1 && now() < deadline {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        drop(client);
        let _ = gone.send(());
    });
    if let Err(error) = disposing {
        tracing::warn!(%error, "no thread to close the producer on");
    }
    ended
}

fn send(client: &Client, call: &Arc<Call>, index: usize, record: &Record) -> Result<(), KafkaError> {
    let mut message = BaseRecord::with_opaque_to(&record.topic, call.ticket(index));
    // Zero is "now" for librdkafka, and nothing is stored before 1970.
    message = message.timestamp(record.timestamp.as_millis().max(1));
    if let Some(key) = &record.key {
        message = message.key(&key[..]);
    }
    if let Some(value) = &record.value {
        message = message.payload(&value[..]);
    }
    if !record.headers.is_empty() {
        let headers = OwnedHeaders::new_with_capacity(record.headers.len());
        message = message.headers(
            record
                .headers
                .iter()
                .fold(headers, |headers, header| headers.insert(Header { key: &header.name, value: header.value.as_deref() })),
        );
    }
    client.send(message).map_err(|(error, message)| {
        message.delivery_opaque.give_back();
        error
    })
}

/// The same error for another record.
fn again(error: &TransportError) -> TransportError {
    match error {
        TransportError::Closed => TransportError::Closed,
        other => TransportError::Unavailable(match other {
            TransportError::Unavailable(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}
