//! Creates the topics of an app: at the start, or later if the app has started while its log was unreachable.
//!
//! An app with [`App::allow_unreachable_log`](super::App::allow_unreachable_log) starts although its log does not answer. Each of its services
//! then has a task that does, as soon as the log answers, what the start has left out: it creates the missing topics and decides which topics
//! of earlier handlers can be read. The consumer joins its group afterwards. The relay waits for nothing: it sends what the log accepts.

use std::{sync::Arc, time::Duration};

use tokio::sync::{OnceCell, watch};

use super::{conditions::Severity, consumer, core::Core, fence::Shutdown, handled_before, log_monitor, start};
use crate::transport::{Subscription, TopicExpectation, Transport, TransportError};

/// The condition that the topics cannot be created although the log answers.
const TOPICS_NOT_READY: &str = "topics_not_ready";
/// How long they must fail to become a condition.
const LASTING: Duration = Duration::from_secs(3);

/// The topics of an app, and whether they were created.
pub(crate) struct TopicSetup {
    topics: Vec<TopicExpectation>,
    created: OnceCell<()>,
    /// Whether the app may start while the log is unreachable.
    can_wait: bool,
}

impl TopicSetup {
    pub(crate) fn new(topics: Vec<TopicExpectation>, can_wait: bool) -> Self {
        Self { topics, created: OnceCell::new(), can_wait }
    }

    /// Creates the topics that are missing, once for all services of the app.
    pub(crate) async fn create(&self, transport: &dyn Transport) -> Result<(), TransportError> {
        let specs = start::specs(&self.topics);
        self.created.get_or_try_init(|| transport.ensure_topics(&specs)).await.map(drop)
    }

    /// Creates the topics, unless there are `problems`: no topic is created if a database has a problem. Then checks them, and adds what is
    /// wrong to `problems`.
    ///
    /// # Errors
    /// If the log is unreachable and the app starts nevertheless.
    pub(crate) async fn start(&self, transport: &dyn Transport, problems: &mut Vec<String>) -> Result<(), TransportError> {
        if problems.is_empty()
            && let Err(error) = self.create(transport).await
        {
            if self.can_wait_after(&error) {
                tracing::warn!(%error, "the log is unreachable; the app starts without it, and handles nothing until it answers");
                return Err(error);
            }
            problems.push(format!("the topics could not be made: {error}"));
        }
        match transport.check_topics(&self.topics).await {
            Ok(findings) => problems.extend(log_monitor::refusals(findings)),
            // The log monitor of each service repeats the check.
            Err(error) => tracing::info!(%error, "the settings of the topics cannot be read now"),
        }
        Ok(())
    }

    /// Returns whether the app starts despite `error`.
    pub(crate) fn can_wait_after(&self, error: &TransportError) -> bool {
        self.can_wait && matches!(error, TransportError::Unavailable(_))
    }

    /// Returns whether the app may start while the log is unreachable.
    pub(crate) fn can_wait(&self) -> bool {
        self.can_wait
    }
}

/// Does what the start has left out, then sets `ready`.
pub(crate) async fn catch_up(core: Arc<Core>, setup: Arc<TopicSetup>, ready: Arc<watch::Sender<bool>>) {
    let (mut failures, mut failing) = (0, None);
    loop {
        let error = match setup.create(&*core.transport).await {
            Ok(()) => match handled_before::join(&core, true).await {
                Ok(true) => break,
                Ok(false) => None,
                Err(error) => Some(error.to_string()),
            },
            // The log monitor reports a log that does not answer.
            Err(TransportError::Unavailable(_)) if core.transport.check().await.is_err() => None,
            Err(error) => Some(error.to_string()),
        };
        let now = core.clock.now();
        match error {
            Some(error) => {
                // While the log comes back, an attempt can fail that began before.
                if now.since(*failing.get_or_insert(now)) >= LASTING {
                    let detail = format!(
                        "the service has started while the log was unreachable; the log answers now, but the topics of the app cannot be set \
                         up: {error}. Until they are, the service publishes, and handles nothing"
                    );
                    core.conditions.raise(TOPICS_NOT_READY, "", Severity::Critical, detail, now);
                }
            }
            None => {
                failing = None;
                core.conditions.clear(TOPICS_NOT_READY, "", now);
            }
        }
        core.clock.sleep(core.outage_backoff(failures)).await;
        failures = failures.saturating_add(1);
    }
    core.conditions.clear(TOPICS_NOT_READY, "", core.clock.now());
    let log = core.transport.about().await.unwrap_or_else(|| "unknown".to_owned());
    tracing::info!(service = &*core.name, log, "the log answers; the service has its topics");
    ready.send_replace(true);
}

/// Consumes as soon as it is decided which topics the service reads.
pub(crate) async fn consume(
    core: Arc<Core>,
    subscription: Option<Box<dyn Subscription>>,
    mut is_ready: watch::Receiver<bool>,
    stopping: watch::Receiver<bool>,
) {
    if !*is_ready.borrow() {
        let stop = Shutdown::new(stopping.clone());
        tokio::select! {
            () = stop.requested() => return,
            ready = is_ready.wait_for(|ready| *ready) => if ready.is_err() { return },
        }
    }
    if !core.topics().is_empty() {
        consumer::run(core, subscription, stopping).await;
    }
}
