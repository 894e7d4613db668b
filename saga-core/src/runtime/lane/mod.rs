//! One transaction for many messages.
//!
//! A lane runs the messages it was given in one transaction: it claims them all in the inbox, calls the handlers one after
//! the other, writes what they publish, and commits once. A message that fails after having written, without a savepoint,
//! takes the transaction down; it runs again without the message, this time with savepoints, so that it runs at most twice.
//! A database that fails burns no attempt: the lane waits and starts over. Messages of a partition that another has taken over
//! are left out, which shows last before the commit; the others run again without them.

mod transaction;

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::Duration,
};

use self::transaction::Transaction;
use super::{
    core::Core,
    fence::{Fate, Fenced, Stop},
    item::Item,
    judge::Failed,
    last::{backoff, bury, failed, is_overdue, leave_alone, told},
    panics::guarded,
    parked,
    suspicion::{Suspicion, Trouble},
};
use crate::{
    engine::{
        admission::Admission,
        care::{Care, Next},
    },
    store::ParkedId,
};

/// What came of running messages.
pub(crate) struct Ran {
    /// What became of each, in the order given.
    pub(crate) fates: Vec<Fate>,
    /// How long the transaction was held before its commit.
    pub(crate) held: Duration,
}

impl Ran {
    fn given_back(items: &[Item]) -> Self {
        Self { fates: vec![Fate::GivenBack; items.len()], held: Duration::ZERO }
    }
}

/// Runs `items`, in order, and returns when their effects are durable, or will not be here.
pub(crate) async fn run(core: &Arc<Core>, items: &[Item], stop: &Stop) -> Ran {
    let mut knowledge = Knowledge::default();
    let (mut failures, mut suspicion) = (0_u32, Suspicion::default());
    loop {
        let trouble = match once(core, items, &mut knowledge, stop).await {
            Ok(Run::Committed(held)) => {
                if failures > 0 {
                    parked::reconcile(core, items, stop).await;
                }
                return Ran { fates: knowledge.fates(items), held };
            }
            Ok(Run::Again) => continue,
            Err(trouble) => trouble,
        };
        failed(core, &trouble);
        failures = failures.saturating_add(1);
        if stop.is_there() {
            return Ran::given_back(items);
        }
        let suspicious = suspicion.grows(core, &trouble).await;
        if items.len() > 1 && suspicious {
            // Whose fault it is shows when each has a transaction of its own, and the others need not wait for it.
            parked::reconcile_fresh(core, items, stop).await;
            return singly(core, items, stop).await;
        }
        if let [item] = items
            && suspicious
        {
            match knowledge.care.next(trouble.counts() || is_overdue(core, item)) {
                Next::With(care) => knowledge.blame(core, item, care, &trouble),
                Next::LeftAlone => {
                    leave_alone(core, item, &trouble);
                    return Ran { fates: vec![Fate::LeftAlone], held: Duration::ZERO };
                }
            }
            suspicion = Suspicion::default();
            continue;
        }
        if !trouble.is_contention() {
            tracing::warn!(service = &*core.name, error = %trouble, "the database failed; waiting");
        }
        if stop.comes_within(core, backoff(core, &trouble, failures)).await {
            return Ran::given_back(items);
        }
        if knowledge.care == Care::Whole {
            // Nothing has happened: no attempt was burnt.
            knowledge = Knowledge::default();
        }
    }
}

/// One run. What of it panics outside handlers is its trouble.
async fn once(core: &Arc<Core>, items: &[Item], knowledge: &mut Knowledge, stop: &Stop) -> Result<Run, Trouble> {
    if let ([item], Some(why)) = (items, knowledge.last.clone()) {
        let buried = guarded(bury(core, item, &why, stop)).await;
        if buried.map_err(|text| Trouble::Panic { part: "writing its dead letter", text })?? == Fate::Fenced {
            knowledge.fenced.add(vec![(item.partition(), item.epoch)]);
        }
        return Ok(Run::Committed(Duration::ZERO));
    }
    match guarded(Transaction::run(core, items, knowledge, stop)).await {
        Ok(ran) => Ok(ran?),
        Err(text) => Err(Trouble::Panic { part: knowledge.part, text }),
    }
}

/// Runs each of `items` in a transaction of its own.
async fn singly(core: &Arc<Core>, items: &[Item], stop: &Stop) -> Ran {
    let mut all = Ran { fates: Vec::with_capacity(items.len()), held: Duration::ZERO };
    let mut left = HashSet::new();
    for item in items {
        // What comes behind one that is left alone stays behind it.
        if left.contains(&item.place.key) {
            all.fates.push(Fate::LeftAlone);
            continue;
        }
        let ran = Box::pin(run(core, std::slice::from_ref(item), stop)).await;
        all.held += ran.held;
        all.fates.extend(ran.fates);
        match all.fates.last() {
            Some(Fate::GivenBack) => {
                all.fates.resize(items.len(), Fate::GivenBack);
                break;
            }
            Some(Fate::LeftAlone) => {
                left.insert(&item.place.key);
            }
            _ => {}
        }
    }
    all
}

/// What earlier runs of the same messages have shown.
#[derive(Default)]
struct Knowledge {
    /// Set a savepoint before the first statement of every handler.
    careful: bool,
    /// Call batch handlers with one message at a time.
    singly: bool,
    /// Messages, by their index, whose handlers have failed.
    failed: HashMap<usize, Failed>,
    /// Parked messages that somebody else has handled.
    gone: HashSet<ParkedId>,
    /// With how much of the framework's own part the only message is run.
    care: Care,
    /// Why nothing but its dead letter is written.
    last: Option<String>,
    /// What is being done, for the case that it panics.
    part: &'static str,
    /// Partitions that others have taken over.
    fenced: Fenced,
}

impl Knowledge {
    /// What became of `items`, once all that may be committed is.
    fn fates(&self, items: &[Item]) -> Vec<Fate> {
        items.iter().map(|item| if self.fenced.has(item) { Fate::Fenced } else { Fate::Done }).collect()
    }

    /// Takes `trouble`, which a transaction of `item` alone came to, as the failure of its handler; from now on it is run with `care`.
    fn blame(&mut self, core: &Core, item: &Item, care: Care, trouble: &Trouble) {
        self.care = care;
        let known = self.failed.remove(&0);
        let unfit = match &item.admission {
            Admission::DeadLetter(unfit) => Some(unfit.to_string()),
            _ => None,
        };
        let before = known.as_ref().filter(|_| care > Care::Blamed).map(|failed| failed.error.as_str());
        let error = told(before.or(unfit.as_deref()), trouble);
        match item.handler() {
            _ if care == Care::Last => self.last = Some(error),
            Some(handler) => {
                let failed = match known.filter(|_| care > Care::Blamed) {
                    Some(failed) => Failed { error, ..failed },
                    None => Failed::new(core, item, handler, trouble.ended(), error),
                };
                self.failed.insert(0, Failed { bare: care == Care::Bare, ..failed });
            }
            None => {}
        }
    }
}

enum Run {
    /// After the transaction was held for this long.
    Committed(Duration),
    Again,
}
