//! A client that only asks, on a thread of its own.
//!
//! The questions of librdkafka block, some for longer than they were told to. So they are put to a thread that does nothing else,
//! and whoever asks waits for the answer no longer than he likes.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
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
    settings,
};

/// How long one question may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(4);

/// Questions that may wait.
const WAITING: usize = 64;

/// How often what the client has to say by itself is taken off its hands.
const IDLE: Duration = Duration::from_secs(1);

pub(crate) type Client = BaseConsumer<Quiet>;

type Question = Box<dyn FnOnce(&Client) + Send>;

/// Asks, without a group or for one. Dropping it ends the thread.
pub(crate) struct Observer {
    questions: SyncSender<Question>,
}

impl Observer {
    pub(crate) fn new(config: &KafkaConfig, group: Option<&str>) -> Result<Self, TransportError> {
        Self::of(config, settings::observer(config, group))
    }

    /// One that tries whether partitions of `group` can be fetched.
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
                    // Whoever waits for the answer of one that panics gets none.
                    Ok(question) => drop(catch_unwind(AssertUnwindSafe(|| question(&client)))),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
                hear(&client);
            }
        });
        spawned.map_err(|error| TransportError::Unavailable(format!("no thread for a client that asks: {error}")))?;
        Ok(Self { questions })
    }

    /// Has `question` answered on the thread, when those before it are. `false`: too many wait.
    pub(crate) fn put(&self, question: impl FnOnce(&Client) + Send + 'static) -> bool {
        self.questions.try_send(Box::new(question)).is_ok()
    }

    /// Asks, and waits for the answer for at most a little longer than [`PATIENCE`].
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Client) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        let (answer, answered) = oneshot::channel();
        let put = self.put(move |client| {
            // Whoever has gone away wants no answer.
            if !answer.is_closed() {
                let _ = answer.send(question(client).map_err(|error| reason(client).unwrap_or(error)));
            }
        });
        if put && let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE + IDLE, answered).await {
            return answer;
        }
        Err(TransportError::Unavailable(format!("the log did not answer within {} s", (PATIENCE + IDLE).as_secs())))
    }
}

/// Has the client say what it has to say by itself, all of it: a poll that finds nothing to hand out may have called back.
fn hear(client: &Client) {
    let calls = || client.context().calls.load(Ordering::Relaxed);
    let mut before = calls();
    while client.poll(Duration::ZERO).is_some() || calls() != before {
        before = calls();
    }
}

/// Why nothing can be answered, where waiting does not help. A question itself only runs out of time then.
fn reason(client: &Client) -> Option<TransportError> {
    hear(client);
    client.context().lasting.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Logs, and keeps what somebody has to change.
#[derive(Default)]
pub(crate) struct Quiet {
    lasting: Mutex<Option<TransportError>>,
    /// What the client said of its last error.
    reason: Mutex<String>,
    /// Calls back so far.
    calls: AtomicU64,
}

impl Quiet {
    /// What the client said of the error that it gave last.
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

/// A line of the client's log.
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
