//! The single producer of a process.
//!
//! It is idempotent: a request that is retried stores no record twice and none out of order. Idempotence does not guarantee that
//! a call stores a *prefix* of its records in each partition: of two records that were buffered one after the other, the first
//! can time out and the second be stored. The client's own timeout is therefore only a safety net. A call waits for up to
//! [`PATIENCE`]. When this time ends, or a record fails before, all records that are still in flight are *purged* at once, so
//! that all those of a partition fail together. Other calls that are in progress at that time return *unavailable*, and the relay
//! sends their records again; this happens in outages only. Idempotence does not protect the first records of a partition either:
//! see [`known`].

mod call;
mod known;
mod reports;
mod rounds;

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
    known::FirstRequest,
    reports::{Reports, refusal},
};
use crate::{KafkaConfig, settings, statistics::StatsRegistry, time::now};

/// How long a call waits for the log. Shorter than the lease of a shard of the outbox.
const PATIENCE: Duration = Duration::from_secs(10);

/// The longest time until purged records are reported.
const PURGED_WITHIN: Duration = Duration::from_secs(2);

/// How long one wait for room in a full buffer is, if no notification comes.
const ROOM: Duration = Duration::from_millis(100);

type Client = ThreadedProducer<Reports>;

/// Publishes records.
pub(crate) struct Producer {
    config: KafkaConfig,
    board: Arc<StatsRegistry>,
    room: Arc<Notify>,
    /// `None` when the producer is closed.
    client: Mutex<Option<Arc<Client>>>,
}

impl Producer {
    pub(crate) fn new(config: &KafkaConfig, board: Arc<StatsRegistry>) -> Result<Self, TransportError> {
        let producer = Self { config: config.clone(), board, room: Arc::default(), client: Mutex::new(None) };
        let client = producer.make()?;
        *producer.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
        Ok(producer)
    }

    fn make(&self) -> Result<Arc<Client>, TransportError> {
        let (board, room) = (Arc::clone(&self.board), Arc::clone(&self.room));
        let reports = Reports { board, room, known: Arc::default() };
        let client = settings::producer(&self.config).create_with_context(reports);
        Ok(Arc::new(client.map_err(|error| self.config.explain(&error))?))
    }

    /// Returns the client. A client that has failed permanently is replaced.
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

    /// Stores records in existing topics; see [`Transport::publish`](saga_core::transport::Transport::publish). `partitions`
    /// returns the number of partitions of a topic, or why nothing can be sent to it.
    pub(crate) async fn publish(
        &self,
        records: &[Record],
        partitions: impl Fn(&str) -> Result<i32, TransportError>,
    ) -> Vec<Result<Position, TransportError>> {
        let client = match self.client() {
            Ok(client) => client,
            Err(error) => return records.iter().map(|_| Err(again(&error))).collect(),
        };
        let deadline = Instant::now() + PATIENCE;
        let call = Call::new(records.len());
        self.rounds(&client, &call, records, partitions, deadline).await;
        if !matches!(timeout_at(deadline, call.settled(false)).await, Ok(true)) {
            client.purge(PurgeConfig::default().queue().inflight().non_blocking());
            let _ = timeout(PURGED_WITHIN, call.settled(true)).await;
        }
        let suspects = call.suspects();
        let mut answers = call.answers(unanswered);
        for index in suspects {
            // The record was in a request with others, so its partition has stored a record before, and it needs no first
            // request.
            answers[index] = self.publish_alone(&client, &records[index]).await;
        }
        answers
    }

    /// Stores a record in a request of its own, which shows whether this record is too large.
    async fn publish_alone(&self, client: &Client, record: &Record) -> Result<Position, TransportError> {
        let deadline = Instant::now() + PATIENCE;
        let call = Call::new(1);
        self.enqueue(client, &call, 0, record, None, deadline).await?;
        let _ = timeout_at(deadline, call.settled(true)).await;
        call.answers(unanswered).pop().unwrap_or_else(|| Err(unanswered()))
    }

    /// Passes a record to the client as soon as the client's buffer has room for it.
    async fn enqueue(
        &self,
        client: &Client,
        call: &Arc<Call>,
        index: usize,
        record: &Record,
        mut introduction: Option<FirstRequest>,
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
            match send(client, call, index, record, &mut introduction) {
                Err(KafkaError::MessageProduction(Code::QueueFull)) if Instant::now() < deadline => {
                    let _ = timeout(ROOM, room).await;
                }
                sent => return sent.map_err(|error| refusal(&error, &record.topic)),
            }
        }
    }

    /// Forgets the partitions of `topic`, which may have been recreated.
    pub(crate) fn forget(&self, topic: &str) {
        if let Ok(client) = self.client() {
            client.client().context().known.forget(topic);
        }
    }

    /// Sends the buffered records and drops the client. Ends a little after `patience` at the latest.
    pub(crate) async fn close(&self, patience: Duration) {
        let client = self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(client) = client else { return };
        let gone = dispose(client, patience);
        let _ = timeout(patience + Duration::from_secs(1), gone).await;
    }
}

fn unanswered() -> TransportError {
    TransportError::Unavailable(format!("the log did not answer within {} s", PATIENCE.as_secs()))
}

/// Does not flush, unlike [`Producer::close`], and does not block the thread that drops the producer.
impl Drop for Producer {
    fn drop(&mut self) {
        if let Some(client) = self.client.lock().unwrap_or_else(PoisonError::into_inner).take() {
            drop(dispose(client, Duration::ZERO));
        }
    }
}

/// Flushes and drops a client on a thread of its own, because both block. The receiver ends when the client is dropped.
fn dispose(client: Arc<Client>, patience: Duration) -> oneshot::Receiver<()> {
    let (gone, ended) = oneshot::channel();
    let disposing = std::thread::Builder::new().name("saga-kafka-flush".into()).spawn(move || {
        if !patience.is_zero() && client.flush(patience).is_err() {
            tracing::warn!("the producer is closed with records that the log has not taken; the outbox keeps them");
        }
        // The remaining records are reported as purged. This ends the calls that still hold the client.
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

fn send(
    client: &Client,
    call: &Arc<Call>,
    index: usize,
    record: &Record,
    introduction: &mut Option<FirstRequest>,
) -> Result<(), KafkaError> {
    let mut message = BaseRecord::with_opaque_to(&record.topic, call.ticket(index, introduction.take()));
    // librdkafka takes zero for the current time; no record is older than 1970.
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
        *introduction = message.delivery_opaque.give_back();
        error
    })
}

/// Copies the error for another record.
fn again(error: &TransportError) -> TransportError {
    match error {
        TransportError::Closed => TransportError::Closed,
        other => TransportError::Unavailable(match other {
            TransportError::Unavailable(text) => text.clone(),
            other => other.to_string(),
        }),
    }
}
