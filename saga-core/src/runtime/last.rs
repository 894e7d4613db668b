//! The last resorts for a message that cannot be handled: only its dead letter is written, or, if even that fails, the message is retried
//! later.

use std::{sync::Arc, time::Duration};

use super::{
    conditions::Severity,
    core::Core,
    effects::{Effects, Written},
    fence::{self, Disposition, Shutdown},
    inbox,
    item::Item,
    panics::{Panics, Task, guarded},
    poison::CommitFailure,
    spans::Commit,
};
use crate::{engine::batch::Origin, store::StoreError};

/// The condition of a message that can be neither handled nor dead-lettered.
pub(crate) const MESSAGE_STUCK: &str = "message_stuck";

/// Records `failure`, with which a transaction ended.
pub(crate) fn failed(core: &Core, failure: &CommitFailure) {
    match failure {
        CommitFailure::Store(error) => core.store_failed(error),
        CommitFailure::Panic { .. } => Panics::note(core, "delivery", Task::Helping, &failure.to_string()),
    }
}

/// Returns the wait after `failure`, the `failures`-th consecutive one.
pub(crate) fn backoff(core: &Core, failure: &CommitFailure, failures: u32) -> Duration {
    match failure {
        CommitFailure::Store(error) => core.store_backoff(error, failures),
        CommitFailure::Panic { .. } => core.outage_backoff(failures),
    }
}

/// Returns whether the service first saw `item` longer ago than the limit for putting messages off.
pub(crate) fn is_overdue(core: &Core, item: &Item) -> bool {
    core.clock.now().since(item.seen) >= core.settings.put_off_limit()
}

/// Returns the error text of a message that failed with `before`, which could not be written because of `failure`.
pub(crate) fn told(before: Option<&str>, failure: &CommitFailure) -> String {
    let now = failure.to_string();
    match before {
        Some(before) if !before.contains(&now) => format!("{before}; and its effects could not be written: {now}"),
        Some(before) => before.to_owned(),
        None => now,
    }
}

/// Returns the subject of `item` in conditions.
pub(crate) fn subject(core: &Core, item: &Item) -> String {
    let received = &item.received;
    format!("{}-{}@{}", core.name_in_log(&received.record.topic), received.partition, received.offset)
}

/// Makes `item` a dead letter in the database because of `why`, and writes nothing else.
pub(crate) async fn give_up_with_letter_only(
    core: &Arc<Core>,
    item: &Item,
    why: &str,
    stop: &Shutdown,
) -> Result<Disposition, StoreError> {
    let now = core.clock.now();
    let (mut tx, mut others) = (stop.begin(core).await?, Vec::new());
    if item.origin == Origin::Fresh {
        match guarded(tx.claim(&core.name, &[item.inbox_key()], now)).await {
            Ok(Ok(new)) if new == [true] || item.again.is_some() => {}
            Ok(Ok(_)) => {
                if item.unfit_for_all().is_some() {
                    let unheard = inbox::unheard_elsewhere(core, &mut *tx, item, now).await?;
                    others.extend(unheard.into_iter().map(|listener| item.only_for(core, listener)));
                }
                if others.is_empty() {
                    return Ok(Disposition::Done);
                }
            }
            Ok(Err(error)) if !CommitFailure::from(error.clone()).counts_as_attempt() => return Err(error),
            // A message that cannot be claimed is no duplicate if the log delivers it again, and becomes another dead letter then.
            _ => {
                drop(tx);
                tx = stop.begin(core).await?;
            }
        }
    }
    let mut effects = Effects::default();
    effects.done(item);
    let given_up = if others.is_empty() { std::slice::from_ref(item) } else { &others[..] };
    given_up.iter().for_each(|item| effects.insert_dead_letter(core, item, why, now));
    let staged = match effects.write(core, &mut *tx, now).await? {
        Written::Staged(staged) => staged,
        // Another process has handled it.
        Written::Gone(_) => {
            drop(tx);
            let mut gone = Effects::default();
            gone.gone(item);
            gone.committed(core, now);
            return Ok(Disposition::Done);
        }
    };
    if !fence::check_ownership(core, &mut *tx, std::iter::once(item)).await?.is_empty() {
        return Ok(Disposition::Fenced);
    }
    let commit = Commit::begin(core, std::iter::once(item));
    core.commit(tx, staged).await?;
    commit.ended(core, std::iter::once(item));
    effects.committed(core, now);
    Ok(Disposition::Done)
}

/// Raises the condition that `item` stays in memory, because it can be neither handled nor dead-lettered.
pub(crate) fn set_aside(core: &Core, item: &Item, failure: &CommitFailure) {
    let detail = format!(
        "the message at {} can neither be handled nor kept as a dead letter: {failure}; it and the later messages of its key wait in \
         memory and are tried again, other keys continue: fix what the database refuses",
        subject(core, item)
    );
    core.conditions.raise(MESSAGE_STUCK, &subject(core, item), Severity::Critical, detail, core.clock.now());
}
