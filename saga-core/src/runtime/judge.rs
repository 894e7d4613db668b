//! Decides what the outcome of a handler leads to: events, another attempt, or a dead letter.

use std::sync::Arc;

use super::{
    call::{Called, call, decode, ended},
    core::Core,
    effects::{Effects, outcome_counter},
    item::{Item, Part},
    publishing::oversized,
    service::ServiceHandle,
    spans::Ids,
};
use crate::{
    engine::batch::{AfterHandler, OutcomeKind, after_handler, limit_postponement},
    engine::parking::HELD,
    extract::Invocation,
    failure::Fault,
    handler::{AfterDeadLetter, Outcome},
    id::MessageId,
    message::Outgoing,
    runtime::Unavailable,
    store::{AfterCommit, StoreError, StoreTx, Tx, TxSlot, contention, is_unavailable},
    time::Timestamp,
};

/// How long a message is put off when its handler could not use a database, in milliseconds.
const OUTAGE_MS: u64 = 1_000;
/// The same, when the transaction lost a conflict with another one.
const CONTENTION_MS: u64 = 50;

/// The evaluated result of a call.
pub(crate) struct Judged {
    pub(crate) ended: OutcomeKind,
    pub(crate) events: Vec<(MessageId, Outgoing)>,
    pub(crate) error: String,
}

/// Evaluates `outcome`. `published` are the events that were published in the transaction during the call.
///
/// An unavailable database is not a failure of the message: the message is put off, and no attempt is counted.
pub(crate) fn judge(
    core: &Core,
    part: Option<Part<'_>>,
    outcome: Outcome,
    published: Vec<(MessageId, Outgoing)>,
    now: Timestamp,
) -> Judged {
    let ended = ended(&outcome);
    let named = |events: Vec<Outgoing>| {
        let new = || MessageId::from(core.ids.uuid(now));
        events.into_iter().map(move |mut event| (event.id.take().unwrap_or_else(new), event))
    };
    let (events, error) = match outcome {
        Outcome::Done(returned) => (published.into_iter().chain(named(returned)).collect(), String::new()),
        Outcome::Rejected(refusal) => (named(refusal).collect(), String::new()),
        Outcome::Retry(fault) if is_outage(&fault) => {
            let contended = contention(fault.error()).is_some();
            let ended = OutcomeKind::Later { after_ms: if contended { CONTENTION_MS } else { OUTAGE_MS } };
            return Judged { ended, events: Vec::new(), error: fault.to_string() };
        }
        Outcome::Retry(fault) | Outcome::Dead(fault) => (Vec::new(), fault.to_string()),
        Outcome::Later(after) => (Vec::new(), format!("put off by its handler for {after:?}")),
    };
    match oversized(core, &events).or_else(|| part.and_then(|part| part.wrong_key_event(&events))) {
        Some(error) => Judged { ended: OutcomeKind::Dead, events: Vec::new(), error },
        None => Judged { ended, events, error },
    }
}

/// Returns whether the handler failed only because a database cannot be used now. Such a failure counts no attempt.
fn is_outage(fault: &Fault) -> bool {
    fault.error().downcast_ref().is_some_and(|unavailable: &Unavailable| unavailable.outage) || is_unavailable(fault.error())
}

/// Logs that a message waits for another attempt.
macro_rules! say {
    ($level:ident, $core:ident, $item:ident, $handler:ident, $attempt:expr, $due:ident, $error:ident, $what:literal) => {
        tracing::$level!(
            service = &*$core.name,
            handler = $core.handlers[$handler].options().name,
            event = $item.said_type($core),
            topic = &*$core.name_in_log(&$item.received.record.topic),
            partition = $item.received.partition,
            offset = $item.received.offset,
            key = %$item.shown_key(),
            message_id = $item.envelope.id.as_str(),
            correlation_id = $item.envelope.correlation_id,
            causation_id = $item.envelope.causation_id.as_deref().unwrap_or_default(),
            trace_id = %Ids(&$item.span.context).trace(),
            span_id = %Ids(&$item.span.context).span(),
            attempt = $attempt,
            next_attempt = %$due,
            error = $error,
            $what
        )
    };
}

/// The failure of a delivery, and the decision about what follows.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) ended: OutcomeKind,
    pub(crate) after: AfterHandler,
    pub(crate) error: String,
    /// The error of its `exhausted` fn, which failed and lost the transaction. It is not called again in this delivery.
    pub(crate) last_words: Option<String>,
    /// Whether the consequences are written without the rows of sagas, and without a call of the `exhausted` fn.
    pub(crate) bare: bool,
}

impl Failed {
    pub(crate) fn new(core: &Core, item: &Item, handler: usize, ended: OutcomeKind, error: String) -> Self {
        // The next attempt is counted from the failure, not from the start of the transaction, so that a handler that timed out waits as
        // well.
        let now = core.clock.now();
        let policy = &core.handlers[handler].options().retry;
        let (waited, limit) = (now.since(item.seen), core.settings.put_off_limit());
        let (put_off, ended) = (ended, limit_postponement(ended, waited, limit));
        let error = match put_off == ended {
            true => error,
            false => format!(
                "put off for {} s since it was first seen; the limit is {} s (setting `put_off_limit_s`): {error}",
                waited.as_secs(),
                limit.as_secs()
            ),
        };
        let after = after_handler(ended, item.origin.attempts(), policy, now, core.ids.fraction());
        match ended {
            OutcomeKind::Later { .. } => item.span.comes_to("put_off"),
            OutcomeKind::Dead => item.span.fails("dead", "dead", &error),
            _ => item.span.fails("retry", "retry", &error),
        }
        match (ended, after) {
            // DEBUG, because this is normal and can happen for every message, for example while a circuit breaker is open or a database is
            // down.
            (OutcomeKind::Later { .. }, AfterHandler::Park { attempts, due }) => {
                say!(debug, core, item, handler, attempts, due, error, "put off")
            }
            // INFO, because the second attempt usually succeeds.
            (_, AfterHandler::Park { attempts: 1, due }) => say!(info, core, item, handler, 1, due, error, "delivery failed"),
            (_, AfterHandler::Park { attempts, due }) => say!(warn, core, item, handler, attempts, due, error, "delivery failed"),
            // The error is in the log line of the dead letter.
            (_, AfterHandler::DeadLetter { .. } | AfterHandler::Publish) => {}
        }
        Self { ended, after, error, last_words: None, bare: false }
    }
}

/// Adds the consequences of a failure to `effects`. Before a message becomes a dead letter, its `exhausted` fn is called in `tx`.
///
/// Returns the inner `Err` if that call lost the transaction. The caller then begins another one and passes the error as
/// [`Failed::last_words`].
pub(crate) async fn apply_failure(
    core: &Arc<Core>,
    tx: Box<dyn StoreTx>,
    item: &Item,
    handler: usize,
    failed: &Failed,
    effects: &mut Effects,
    now: Timestamp,
) -> Result<Result<Box<dyn StoreTx>, String>, StoreError> {
    effects.count(outcome_counter(&core.handler_series[handler], failed.ended));
    // The event was published, whether or not this service can handle it, so the tracker records it at the first attempt.
    if item.origin.attempts() == 0 {
        effects.sagas.tracking.see_received(core, item, Some(&format!("not handled yet: {}", failed.error)));
    }
    let attempts = match failed.after {
        AfterHandler::Park { attempts, due } => {
            effects.park(item, attempts, due, &failed.error);
            if matches!(failed.ended, OutcomeKind::Later { .. }) {
                effects.put_off(item, &failed.error);
            }
            effects.no_longer_running(core, item, now);
            return Ok(Ok(tx));
        }
        AfterHandler::Publish => return Ok(Ok(tx)),
        AfterHandler::DeadLetter { attempts } => attempts,
    };
    let (tx, last_words) = match &failed.last_words {
        _ if failed.bare => (tx, Words::none()),
        Some(error) => (tx, Words::Failed(error.clone())),
        None => match run_exhausted(core, tx, item, handler, failed, now).await? {
            Ok(said) => said,
            Err(error) => return Ok(Err(error)),
        },
    };
    match last_words {
        Words::Failed(error) => {
            // The message does not become a dead letter before its `exhausted` fn has succeeded.
            let policy = &core.handlers[handler].options().retry;
            let error = format!("{}; then its `exhausted` fn failed: {error}", failed.error);
            let due = core.clock.now().after(policy.longest);
            say!(warn, core, item, handler, attempts, due, error, "delivery failed");
            effects.park(item, attempts.saturating_sub(1), due, &error);
        }
        Words::Said { events, error, hooks } => {
            effects.call(hooks);
            effects.no_longer_running(core, item, now);
            let (series, reason) = match failed.ended {
                OutcomeKind::Dead => (&core.series.dead_by_handler, "handler"),
                _ => (&core.series.dead_exhausted, "exhausted"),
            };
            effects.count(series);
            effects.dead_letter(core, item, attempts, reason, &format!("{}{error}", failed.error), now);
            match core.handlers[handler].options().after_dead_letter {
                AfterDeadLetter::Release => {
                    effects.done(item);
                    effects.publish_only(core, item, events, now);
                }
                AfterDeadLetter::Hold => {
                    effects.publish_only(core, item, events, now);
                    effects.park(item, attempts, HELD, &failed.error);
                }
            }
        }
    }
    Ok(Ok(tx))
}

/// The result of an `exhausted` fn.
enum Words {
    /// It published these events. Or it can never succeed, for this reason, and the message becomes a dead letter without its events.
    Said { events: Vec<(MessageId, Outgoing)>, error: String, hooks: AfterCommit },
    /// It failed, for this reason.
    Failed(String),
}

impl Words {
    fn none() -> Self {
        Self::without(String::new())
    }

    /// The `exhausted` fn publishes nothing, for this reason.
    fn without(error: String) -> Self {
        Self::Said { events: Vec::new(), error, hooks: AfterCommit::default() }
    }
}

/// The transaction after an `exhausted` fn, and the result of the fn.
type LastWords = (Box<dyn StoreTx>, Words);

/// Calls the handler's `exhausted` fn, if it has one. Returns the inner `Err`, with the reason, if the transaction is lost.
async fn run_exhausted(
    core: &Arc<Core>,
    tx: Box<dyn StoreTx>,
    item: &Item,
    handler: usize,
    failed: &Failed,
    now: Timestamp,
) -> Result<Result<LastWords, String>, StoreError> {
    let Some(function) = core.handlers[handler].exhausted_call() else { return Ok(Ok((tx, Words::none()))) };
    let Ok(value) = decode(core, item) else { return Ok(Ok((tx, Words::none()))) };
    let slot = TxSlot::default();
    let mut meta = item.meta(core, handler, now);
    meta.last_error = Some(Arc::from(failed.error.as_str()));
    let invocation = Invocation {
        messages: vec![(value, meta)],
        tx: Some(Tx::lend(tx, slot.clone(), true, core.ids.clone(), now)),
        work: None,
        state: core.state.clone(),
        service: Some(Box::new(ServiceHandle::within_a_transaction(core))),
    };
    let Called { outcome, timed_out, .. } = call(core, item, &[], handler, function, invocation).await;
    let Some(mut returned) = slot.take() else { return Ok(Err(tx_not_returned(core, handler))) };
    let judged = judge(core, item.part(core), outcome, returned.published, now);
    match judged.ended {
        OutcomeKind::Done => {
            let said = Words::Said { events: judged.events, error: String::new(), hooks: returned.after_commit };
            Ok(Ok((returned.tx, said)))
        }
        // The call may be in the middle of a statement, and only dropping the transaction cancels that.
        _ if timed_out && returned.touched => Ok(Err(judged.error)),
        _ => {
            if returned.touched {
                returned.tx.undo().await?;
            }
            let error = if judged.error.is_empty() { "it refused".to_owned() } else { judged.error };
            let words = match judged.ended {
                // Do not wait for a fn that can never succeed: the message would be retried forever.
                OutcomeKind::Dead => Words::without(format!("; and its `exhausted` fn can never succeed: {error}")),
                _ => Words::Failed(error),
            };
            Ok(Ok((returned.tx, words)))
        }
    }
}

/// Returns the error of a handler that did not return its `Tx`.
pub(crate) fn tx_not_returned(core: &Core, handler: usize) -> String {
    format!(
        "handler `{}` returned while its `Tx` is still in use elsewhere: do not move it into a task",
        core.handlers[handler].options().name
    )
}
