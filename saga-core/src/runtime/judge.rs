//! From a handler's outcome to what is written: publish, park, or give up.

use std::sync::Arc;

use super::{
    call::{Called, call, decode, ended},
    core::Core,
    effects::{Effects, outcome_counter},
    item::Item,
    service::ServiceHandle,
    spans::Ids,
};
use crate::{
    engine::batch::{After, Ended, after, bounded},
    engine::parking::HELD,
    failure::Fault,
    handler::{AfterDeadLetter, Invocation, Outcome},
    id::MessageId,
    message::Outgoing,
    runtime::Unavailable,
    saga::Definition,
    store::{AfterCommit, StoreError, StoreTx, Tx, TxSlot, contention, is_unavailable},
    time::Timestamp,
};

/// How long a message waits whose handler met a database that cannot be used, in milliseconds.
const OUTAGE_MS: u64 = 1_000;
/// The same where another transaction was first.
const CONTENTION_MS: u64 = 50;

/// What a call came to.
pub(crate) struct Judged {
    pub(crate) ended: Ended,
    pub(crate) events: Vec<(MessageId, Outgoing)>,
    pub(crate) error: String,
}

/// Weighs `outcome`. `published` was published on the transaction during the call.
///
/// A database that is unavailable is no fault of the message: it is put off, and no attempt is counted.
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
        Outcome::Retry(fault) if no_fault_of_the_message(&fault) => {
            let contended = contention(fault.error()).is_some();
            let ended = Ended::Later { after_ms: if contended { CONTENTION_MS } else { OUTAGE_MS } };
            return Judged { ended, events: Vec::new(), error: fault.to_string() };
        }
        Outcome::Retry(fault) | Outcome::Dead(fault) => (Vec::new(), fault.to_string()),
        Outcome::Later(after) => (Vec::new(), format!("put off by its handler for {after:?}")),
    };
    match oversized(core, &events).or_else(|| part.and_then(|part| part.astray(&events))) {
        Some(error) => Judged { ended: Ended::Dead, events: Vec::new(), error },
        None => Judged { ended, events, error },
    }
}

/// The instance that a handler has a part in.
#[derive(Clone, Copy)]
pub(crate) struct Part<'p> {
    pub(crate) saga: &'p Definition,
    pub(crate) id: &'p str,
}

impl Part<'_> {
    /// What is wrong with an event of the flow that is published under another instance's key.
    pub(crate) fn astray(self, events: &[(MessageId, Outgoing)]) -> Option<String> {
        let of_flow = events.iter().map(|(_, event)| event).filter(|event| self.saga.has_event(event.name));
        let event = of_flow.into_iter().find(|event| event.key != self.id)?;
        Some(format!(
            "{} is published with the key `{}`, and its instance of {} is `{}`; an event of a saga carries the key of its instance",
            event.name, event.key, self.saga.name, self.id
        ))
    }
}

/// Whether the handler only met a database that cannot be used now. That burns no attempt.
fn no_fault_of_the_message(fault: &Fault) -> bool {
    fault.error().downcast_ref().is_some_and(|unavailable: &Unavailable| unavailable.outage) || is_unavailable(fault.error())
}

/// What is wrong with an event too large to be published.
pub(crate) fn oversized(core: &Core, events: &[(MessageId, Outgoing)]) -> Option<String> {
    let limit = core.settings.max_record_bytes;
    let (_, event) = events.iter().find(|(_, event)| event.value.len() > limit)?;
    Some(format!(
        "event {} has {} bytes; at most {limit} are published (setting `max_record_bytes`)",
        event.name,
        event.value.len()
    ))
}

/// Logs that a message waits for another attempt.
macro_rules! say {
    ($level:ident, $core:ident, $item:ident, $handler:ident, $attempt:expr, $due:ident, $error:ident, $what:literal) => {
        tracing::$level!(
            service = &*$core.name,
            handler = $core.handlers[$handler].options().name,
            event = $item.event_type($core),
            topic = $item.received.record.topic,
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

/// A handler's failure that stands: what follows was decided.
#[derive(Debug, Clone)]
pub(crate) struct Failed {
    pub(crate) ended: Ended,
    pub(crate) after: After,
    pub(crate) error: String,
    /// Its `exhausted` fn has failed, in a way that took the transaction down, and is not called again now.
    pub(crate) last_words: Option<String>,
    /// What follows is written without what is kept of flows, and without its `exhausted` fn.
    pub(crate) bare: bool,
}

impl Failed {
    pub(crate) fn new(core: &Core, item: &Item, handler: usize, ended: Ended, error: String) -> Self {
        // From the failure, not from the transaction's beginning: a handler that ran into its timeout has to wait too.
        let now = core.clock.now();
        let policy = &core.handlers[handler].options().retry;
        let (waited, limit) = (now.since(item.seen), core.settings.put_off_limit());
        let (put_off, ended) = (ended, bounded(ended, waited, limit));
        let error = match put_off == ended {
            true => error,
            false => format!(
                "put off for {} s since it was first seen; the limit is {} s (setting `put_off_limit_s`): {error}",
                waited.as_secs(),
                limit.as_secs()
            ),
        };
        let after = after(ended, item.origin.attempts(), policy, now, core.ids.fraction());
        match ended {
            Ended::Later { .. } => item.span.comes_to("put_off"),
            Ended::Dead => item.span.fails("dead", "dead", &error),
            _ => item.span.fails("retry", "retry", &error),
        }
        match (ended, after) {
            // Everyday business, and as often as there are messages: an open breaker, a database that is away.
            (Ended::Later { .. }, After::Park { attempts, due }) => {
                say!(debug, core, item, handler, attempts, due, error, "put off")
            }
            // Once is nothing: another attempt mends most failures.
            (_, After::Park { attempts: 1, due }) => say!(info, core, item, handler, 1, due, error, "delivery failed"),
            (_, After::Park { attempts, due }) => say!(warn, core, item, handler, attempts, due, error, "delivery failed"),
            // The line of the dead letter has the error.
            (_, After::DeadLetter { .. } | After::Publish) => {}
        }
        Self { ended, after, error, last_words: None, bare: false }
    }
}

/// Adds to `effects` what follows from a failure; a message that is given up is first shown to its `exhausted` fn, in `tx`. `Err`
/// says that `tx` is gone with the fn: the caller begins anew and passes this as [`Failed::last_words`].
pub(crate) async fn conclude(
    core: &Arc<Core>,
    tx: Box<dyn StoreTx>,
    item: &Item,
    handler: usize,
    failed: &Failed,
    effects: &mut Effects,
    now: Timestamp,
) -> Result<Result<Box<dyn StoreTx>, String>, StoreError> {
    effects.count(outcome_counter(&core.handler_series[handler], failed.ended));
    // That the event was published is known, whatever its handler makes of it here, and when. What failed before was seen then.
    if item.origin.attempts() == 0 {
        effects.sagas.see_received(core, item, Some(&format!("not handled yet: {}", failed.error)));
    }
    let attempts = match failed.after {
        After::Park { attempts, due } => {
            effects.park(item, attempts, due, &failed.error);
            if matches!(failed.ended, Ended::Later { .. }) {
                effects.put_off(item, &failed.error);
            }
            effects.no_longer_running(core, item, now);
            return Ok(Ok(tx));
        }
        After::Publish => return Ok(Ok(tx)),
        After::DeadLetter { attempts } => attempts,
    };
    let (tx, last_words) = match &failed.last_words {
        _ if failed.bare => (tx, Words::none()),
        Some(error) => (tx, Words::Failed(error.clone())),
        None => match last_words(core, tx, item, handler, failed, now).await? {
            Ok(said) => said,
            Err(error) => return Ok(Err(error)),
        },
    };
    match last_words {
        Words::Failed(error) => {
            // The message is not given up before its `exhausted` fn has done its work.
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
                Ended::Dead => (&core.series.dead_by_handler, "handler"),
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

/// What an `exhausted` fn came to.
enum Words {
    /// It published these; or it can never succeed, for this reason, and the message is given up without it.
    Said { events: Vec<(MessageId, Outgoing)>, error: String, hooks: AfterCommit },
    /// It failed, for this reason.
    Failed(String),
}

impl Words {
    fn none() -> Self {
        Self::without(String::new())
    }

    /// It never says anything, for this reason.
    fn without(error: String) -> Self {
        Self::Said { events: Vec::new(), error, hooks: AfterCommit::default() }
    }
}

/// The transaction after an `exhausted` fn, and what that fn came to.
type LastWords = (Box<dyn StoreTx>, Words);

/// Calls the handler's `exhausted` fn, if it has one. `Err` says why there is no transaction any more.
async fn last_words(
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
    let Some(mut returned) = slot.take() else { return Ok(Err(moved_away(core, handler))) };
    let judged = judge(core, item.part(core), outcome, returned.published, now);
    match judged.ended {
        Ended::Done => {
            let said = Words::Said { events: judged.events, error: String::new(), hooks: returned.after_commit };
            Ok(Ok((returned.tx, said)))
        }
        // It may be in the middle of a statement, which only dropping the transaction breaks off.
        _ if timed_out && returned.touched => Ok(Err(judged.error)),
        _ => {
            if returned.touched {
                returned.tx.undo().await?;
            }
            let error = if judged.error.is_empty() { "it refused".to_owned() } else { judged.error };
            let words = match judged.ended {
                // What can never be said is not waited for: the message would be tried for ever.
                Ended::Dead => Words::without(format!("; and its `exhausted` fn can never succeed: {error}")),
                _ => Words::Failed(error),
            };
            Ok(Ok((returned.tx, words)))
        }
    }
}

/// The message for a handler whose `Tx` did not come back.
pub(crate) fn moved_away(core: &Core, handler: usize) -> String {
    format!(
        "handler `{}` returned while its `Tx` is still in use elsewhere: do not move it into a task",
        core.handlers[handler].options().name
    )
}
