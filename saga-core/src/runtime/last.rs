//! What is done with a message that cannot be run: its dead letter with nothing beside it, and when not even that can be written, it is
//! left alone for a while.

use std::{sync::Arc, time::Duration};

use super::{
    conditions::Severity,
    core::Core,
    effects::{Effects, Written},
    fence::{self, Fate, Stop},
    item::Item,
    panics::{Panics, Task, guarded},
    spans::Commit,
    suspicion::Trouble,
};
use crate::{engine::batch::Origin, store::StoreError};

/// A message that cannot be run, nor given up.
pub(crate) const MESSAGE_STUCK: &str = "message_stuck";

/// Takes note of `trouble` that a transaction came to.
pub(crate) fn failed(core: &Core, trouble: &Trouble) {
    match trouble {
        Trouble::Store(error) => core.store_failed(error),
        Trouble::Panic { .. } => Panics::note(core, "delivery", Task::Helping, &trouble.to_string()),
    }
}

/// How long to wait after `trouble`, the `failures`-th in a row.
pub(crate) fn backoff(core: &Core, trouble: &Trouble, failures: u32) -> Duration {
    match trouble {
        Trouble::Store(error) => core.store_backoff(error, failures),
        Trouble::Panic { .. } => core.outage_backoff(failures),
    }
}

/// Whether `item` has been here for longer than anything is put off.
pub(crate) fn is_overdue(core: &Core, item: &Item) -> bool {
    core.clock.now().since(item.seen) >= core.settings.put_off_limit()
}

/// What is said of a message whose failure `before` could not be written because of `trouble`.
pub(crate) fn told(before: Option<&str>, trouble: &Trouble) -> String {
    let now = trouble.to_string();
    match before {
        Some(before) if !before.contains(&now) => format!("{before}; and what follows from that could not be written: {now}"),
        Some(before) => before.to_owned(),
        None => now,
    }
}

/// What names `item` among conditions.
pub(crate) fn subject(item: &Item) -> String {
    let received = &item.received;
    format!("{}-{}@{}", received.record.topic, received.partition, received.offset)
}

/// Gives `item` up because of `why`, with nothing but its dead letter, which is in the database alone.
pub(crate) async fn bury(core: &Arc<Core>, item: &Item, why: &str, stop: &Stop) -> Result<Fate, StoreError> {
    let now = core.clock.now();
    let mut tx = stop.begin(core).await?;
    if item.origin == Origin::Fresh {
        match guarded(tx.claim(&core.name, &[item.inbox_key()], now)).await {
            Ok(Ok(new)) if new == [true] || item.again.is_some() => {}
            Ok(Ok(_)) => return Ok(Fate::Done),
            Ok(Err(error)) if !Trouble::from(error.clone()).counts() => return Err(error),
            // What cannot be claimed is not known the next time either, and becomes a letter again should it come once more.
            _ => {
                drop(tx);
                tx = stop.begin(core).await?;
            }
        }
    }
    let mut effects = Effects::default();
    effects.done(item);
    effects.bury(core, item, why, now);
    let staged = match effects.write(core, &mut *tx, now).await? {
        Written::Staged(staged) => staged,
        // Somebody else has handled it.
        Written::Gone(_) => {
            drop(tx);
            let mut gone = Effects::default();
            gone.gone(item);
            gone.committed(core, now);
            return Ok(Fate::Done);
        }
    };
    if !fence::hold(core, &mut *tx, std::iter::once(item)).await?.is_empty() {
        return Ok(Fate::Fenced);
    }
    let commit = Commit::begin(core, std::iter::once(item));
    core.commit(tx, staged).await?;
    commit.ended(core, std::iter::once(item));
    effects.committed(core, now);
    Ok(Fate::Done)
}

/// Tells that `item` stays in memory: it can neither be handled nor given up.
pub(crate) fn leave_alone(core: &Core, item: &Item, trouble: &Trouble) {
    let detail = format!(
        "the message at {} can neither be handled nor kept as a dead letter: {trouble}; it and what comes behind it with its key wait in \
         memory and are tried again, other keys go on: mend what the database refuses",
        subject(item)
    );
    core.conditions.raise(MESSAGE_STUCK, &subject(item), Severity::Critical, detail, core.clock.now());
}
