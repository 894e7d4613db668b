//! A client that only makes requests, on a thread of its own.
//!
//! librdkafka's requests block, and some for longer than their timeout. They run on a thread that does nothing else, so that a
//! caller can stop waiting at any time.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, SyncSender, sync_channel},
    },
    time::Duration,
};

use rdkafka::{
    ClientConfig, ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer as _, ConsumerContext},
    error::KafkaError,
};
use saga_core::transport::TransportError;
use tokio::sync::oneshot;

use crate::{
    KafkaConfig,
    error::{self, unavailable_by},
    net, settings,
};

/// The timeout of one request.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// The number of requests that can be queued.
const WAITING: usize = 64;

/// How often the thread serves the client's callbacks while there are no requests.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) type Client = BaseConsumer<Quiet>;

type Question = Box<dyn FnOnce(&Client) + Send>;

/// Makes requests, with or without a group. Dropping it ends the thread.
pub(crate) struct Observer {
    questions: SyncSender<Question>,
    /// The addresses of the brokers that it asks first.
    bootstrap: Vec<String>,
}

impl Observer {
    pub(crate) fn new(config: &KafkaConfig, group: Option<&str>) -> Result<Self, TransportError> {
        Self::of(config, settings::observer(config, group))
    }

    /// Creates an observer that also sees records of open transactions.
    pub(crate) fn uncommitted(config: &KafkaConfig) -> Result<Self, TransportError> {
        Self::of(config, settings::uncommitted(config))
    }

    /// Creates an observer that tests whether partitions of `group` can be fetched.
    pub(crate) fn probing(config: &KafkaConfig, group: &str) -> Result<Self, TransportError> {
        Self::of(config, settings::probe(config, group))
    }

    fn of(config: &KafkaConfig, client: ClientConfig) -> Result<Self, TransportError> {
        let client: Client = client.create_with_context(Quiet::default()).map_err(|error| config.explain(&error))?;
        let (questions, waiting) = sync_channel::<Question>(WAITING);
        let thread = std::thread::Builder::new().name("saga-kafka-asks".into());
        let spawned = thread.spawn(move || {
            loop {
                match waiting.recv_timeout(IDLE) {
                    // The caller notices a panic, because its channel is dropped without an answer.
                    Ok(question) => net::held("a question to the log", || question(&client)),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                net::held("an event of the client for questions", || hear(&client));
            }
        });
        spawned.map_err(|error| TransportError::Unavailable(format!("no thread for a client that asks: {error}")))?;
        Ok(Self { questions, bootstrap: config.bootstrap.clone() })
    }

    /// Queues `question` for the thread. Returns `false` if the queue is full.
    pub(crate) fn put(&self, question: impl FnOnce(&Client) + Send + 'static) -> bool {
        self.questions.try_send(Box::new(question)).is_ok()
    }

    /// Makes a request, and waits for its answer, at most a little longer than [`PATIENCE`].
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        let (answer, answered) = oneshot::channel();
        let put = self.put(move |client| {
            // A caller that has gone away needs no answer.
            if !answer.is_closed() {
                let _ = answer.send(question(client).map_err(|error| reason(client).unwrap_or(error)));
            }
        });
        if !put {
            return Err(TransportError::Unavailable("too many questions wait for the log".into()));
        }
        match tokio::time::timeout(PATIENCE + IDLE, answered).await {
            Ok(Ok(answer)) => answer.map_err(|error| error::with_addresses(error, &self.bootstrap)),
            Ok(Err(_)) => {
                Err(TransportError::Unavailable("a question to the log ended by a panic, which the program's log has".into()))
            }
            Err(_) => {
                let (seconds, at) = ((PATIENCE + IDLE).as_secs(), self.bootstrap.join(", "));
                Err(TransportError::Unavailable(format!("the log at {at} did not answer within {seconds} s")))
            }
        }
    }
}

/// Serves all pending callbacks of the client. A poll that returns nothing may have called back, so the calls are counted.
fn hear(client: &Client) {
    let calls = || client.context().calls.load(Ordering::Relaxed);
    let mut before = calls();
    while client.poll(Duration::ZERO).is_some() || calls() != before {
        before = calls();
    }
}

/// A lasting error that the client has reported. With such an error a request only times out, which hides the cause.
fn reason(client: &Client) -> Option<TransportError> {
    hear(client);
    client.context().lasting.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Forwards the client's log, and keeps lasting errors.
#[derive(Default)]
pub(crate) struct Quiet {
    lasting: Mutex<Option<TransportError>>,
    /// The client's description of its last error.
    reason: Mutex<String>,
    /// The number of callbacks so far.
    calls: AtomicU64,
}

impl Quiet {
    /// Takes the client's description of its last error.
    pub(crate) fn reason(&self) -> String {
        std::mem::take(&mut *self.reason.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl ClientContext for Quiet {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        tracing::debug!(target: "librdkafka", %error, reason);
        reason.clone_into(&mut self.reason.lock().unwrap_or_else(PoisonError::into_inner));
        if let Some(code) = error::code(&error).filter(|code| error::is_lasting(*code)) {
            let problem = unavailable_by("asking the cluster", code, reason);
            *self.lasting.lock().unwrap_or_else(PoisonError::into_inner) = Some(problem);
        }
    }
}

impl ConsumerContext for Quiet {}

/// Forwards a line of the client's log.
pub(crate) fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
            tracing::error!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
        RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_that_panics_is_told_and_the_next_is_answered() {
        let observer = Observer::new(&KafkaConfig::new("127.0.0.1:1"), None).expect("a client");
        let asked = crate::time::now();
        let answer = observer.ask(|_| -> Result<(), _> { panic!("a name that is no text") }).await;
        assert!(matches!(&answer, Err(TransportError::Unavailable(reason)) if reason.contains("panic")), "{answer:?}");
        assert!(asked.elapsed() < PATIENCE, "told at once");
        assert_eq!(observer.ask(|_| Ok(1)).await.expect("an answer"), 1);
    }
}
