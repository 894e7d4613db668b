//! Lanes: one transaction for many messages.
//!
//! A lane runs its messages in one transaction: it claims them all in the inbox, calls the handlers one after another, writes the events
//! that they publish, and commits once.
//!
//! - If a message fails after its handler has written, without a savepoint, the transaction is rolled back. It runs again without that
//!   message and with savepoints, so that each message runs at most twice.
//! - If the database fails, no attempt is counted: the lane waits and starts again.
//! - Messages of partitions that another process has acquired are omitted, and the others run again. This is checked as the last step
//!   before the commit.

mod transaction;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use self::transaction::Transaction;
use super::{
    core::Core,
    fence::{Disposition, Fenced, Shutdown},
    item::Item,
    judge::Failed,
    last::{backoff, failed, give_up_with_letter_only, is_overdue, set_aside, told},
    panics::guarded,
    parked,
    poison::{CommitFailure, PoisonDetector},
};
use crate::{
    engine::{
        admission::Admission,
        fallback::{Fallback, NextFallback},
    },
    store::ParkedId,
};

/// The result of running messages.
pub(crate) struct LaneResult {
    /// The disposition of each message, in the given order.
    pub(crate) dispositions: Vec<Disposition>,
    /// How long the transaction was open before its commit.
    pub(crate) held: Duration,
}

impl LaneResult {
    fn given_back(items: &[Item]) -> Self {
        Self { dispositions: vec![Disposition::GivenBack; items.len()], held: Duration::ZERO }
    }
}

/// Runs `items` in order. Returns when their effects are durable, or when it is certain that this process does not commit them.
pub(crate) async fn run(core: &Arc<Core>, items: &[Item], stop: &Shutdown) -> LaneResult {
    let mut retry_state = RetryState::default();
    let (mut failures, mut poison) = (0_u32, PoisonDetector::default());
    loop {
        let failure = match once(core, items, &mut retry_state, stop).await {
            Ok(Run::Committed(held)) => {
                if failures > 0 {
                    parked::reconcile(core, items, stop).await;
                }
                return LaneResult { dispositions: retry_state.dispositions(items), held };
            }
            Ok(Run::Again) => continue,
            Err(failure) => failure,
        };
        failed(core, &failure);
        failures = failures.saturating_add(1);
        if stop.is_requested() {
            return LaneResult::given_back(items);
        }
        let suspicious = poison.record(core, &failure).await;
        if items.len() > 1 && suspicious {
            // With a transaction for each message, the message at fault shows, and the others need not wait for it.
            parked::reconcile_fresh(core, items, stop).await;
            return one_by_one(core, items, stop).await;
        }
        if let [item] = items
            && suspicious
        {
            match retry_state.fallback.next(failure.counts_as_attempt() || is_overdue(core, item)) {
                NextFallback::With(fallback) => retry_state.blame(core, item, fallback, &failure),
                NextFallback::SetAside => {
                    set_aside(core, item, &failure);
                    return LaneResult { dispositions: vec![Disposition::SetAside], held: Duration::ZERO };
                }
            }
            poison = PoisonDetector::default();
            continue;
        }
        if !failure.is_contention() {
            tracing::warn!(service = &*core.name, error = %failure, "the database failed; waiting");
        }
        if stop.sleep(core, backoff(core, &failure, failures)).await {
            return LaneResult::given_back(items);
        }
        if retry_state.fallback == Fallback::Full {
            // Nothing was committed, so no attempt is counted.
            retry_state = RetryState::default();
        }
    }
}

/// Runs the messages once. A panic outside the handlers is returned as a failure.
async fn once(core: &Arc<Core>, items: &[Item], retry_state: &mut RetryState, stop: &Shutdown) -> Result<Run, CommitFailure> {
    if let ([item], Some(why)) = (items, retry_state.last.clone()) {
        let buried = guarded(give_up_with_letter_only(core, item, &why, stop)).await;
        if buried.map_err(|text| CommitFailure::Panic { part: "writing its dead letter", text })?? == Disposition::Fenced {
            retry_state.fenced.add(vec![(item.partition(), item.epoch)]);
        }
        return Ok(Run::Committed(Duration::ZERO));
    }
    match guarded(Transaction::run(core, items, retry_state, stop)).await {
        Ok(ran) => Ok(ran?),
        Err(text) => Err(CommitFailure::Panic { part: retry_state.part, text }),
    }
}

/// Runs each of `items` in a separate transaction.
async fn one_by_one(core: &Arc<Core>, items: &[Item], stop: &Shutdown) -> LaneResult {
    let mut all = LaneResult { dispositions: Vec::with_capacity(items.len()), held: Duration::ZERO };
    let mut left = HashSet::new();
    for item in items {
        // Messages behind one that was set aside must stay behind it.
        if left.contains(&item.place.key) {
            all.dispositions.push(Disposition::SetAside);
            continue;
        }
        let ran = Box::pin(run(core, std::slice::from_ref(item), stop)).await;
        all.held += ran.held;
        all.dispositions.extend(ran.dispositions);
        match all.dispositions.last() {
            Some(Disposition::GivenBack) => {
                all.dispositions.resize(items.len(), Disposition::GivenBack);
                break;
            }
            Some(Disposition::SetAside) => {
                left.insert(&item.place.key);
            }
            _ => {}
        }
    }
    all
}

/// The results of earlier runs of the same messages.
#[derive(Default)]
struct RetryState {
    /// Whether every handler runs under a savepoint, which is set before its first statement.
    use_savepoints: bool,
    /// Whether batch handlers are called with one message at a time.
    one_by_one: bool,
    /// The failures of handlers, by the index of the message.
    failed: HashMap<usize, Failed>,
    /// Parked messages that another process has handled.
    gone: HashSet<ParkedId>,
    /// How much of the framework's own part runs, if there is only one message.
    fallback: Fallback,
    /// The reason why only the dead letter of the message is written.
    last: Option<String>,
    /// The current part of the work, to be reported if it panics.
    part: &'static str,
    /// The partitions that other processes have acquired.
    fenced: Fenced,
}

impl RetryState {
    /// Returns the dispositions of `items`, after everything that can be committed is committed.
    fn dispositions(&self, items: &[Item]) -> Vec<Disposition> {
        items.iter().map(|item| if self.fenced.has(item) { Disposition::Fenced } else { Disposition::Done }).collect()
    }

    /// Records `failure`, with which a transaction of `item` alone ended, as the failure of its handler. From now on, the message runs with
    /// `fallback`.
    fn blame(&mut self, core: &Core, item: &Item, fallback: Fallback, failure: &CommitFailure) {
        self.fallback = fallback;
        let known = self.failed.remove(&0);
        let unfit = match &item.admission {
            Admission::DeadLetter(unfit) => Some(unfit.to_string()),
            _ => None,
        };
        let before = known.as_ref().filter(|_| fallback > Fallback::WithoutHandler).map(|failed| failed.error.as_str());
        let error = told(before.or(unfit.as_deref()), failure);
        match item.handler() {
            _ if fallback == Fallback::DeadLetterOnly => self.last = Some(error),
            Some(handler) => {
                let failed = match known.filter(|_| fallback > Fallback::WithoutHandler) {
                    Some(failed) => Failed { error, ..failed },
                    None => Failed::new(core, item, handler, failure.outcome_kind(), error),
                };
                self.failed.insert(0, Failed { bare: fallback == Fallback::WithoutSagas, ..failed });
            }
            None => {}
        }
    }
}

enum Run {
    /// Committed, after the transaction was open for this long.
    Committed(Duration),
    Again,
}
