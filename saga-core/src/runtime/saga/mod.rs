//! Sagas at run time: the barrier in each delivery, the tracker of the instances, their timers, and what an operator can do.

mod check;
mod deadlines;
mod delivery;
mod operations;
mod remote;
mod retrying;
mod scope;
mod tracker;
mod tracking;
mod unreadable;
pub(crate) mod unsent;
mod view;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

pub use operations::{OperationError, Sagas};
pub use remote::Remote;
pub use tracker::Tracker;
pub use view::{InstanceView, StepView};

pub(crate) use check::{open_versions, problems};
pub(crate) use deadlines::{load, watch};
pub(crate) use delivery::{IN_PROGRESS, given_up, left_behind, wait};
pub(crate) use retrying::retry_dead_letters;
pub(crate) use scope::{Before, Scope};
pub(crate) use tracker::{Participant, participants, stored};
pub(crate) use tracking::stopped;
pub(crate) use unreadable::look_again;

use crate::{
    engine::saga::barrier::Reason,
    handler::Handler,
    runtime::{
        Metrics,
        metrics::{Counter, SagaSeries, without_effect},
    },
    saga::{Definition, Role, RoleKind},
    time::Timestamp,
};

/// What the flows of a service come to, when it runs.
pub(crate) struct SagaCore {
    /// The flows whose instances are kept here.
    pub(crate) tracked: Vec<Tracked>,
    /// A timer was set that ends before the one that is waited for.
    pub(crate) wake: Notify,
    /// When the timer ends that is waited for, in milliseconds; the largest number while none is.
    pub(crate) planned: AtomicI64,
    /// How long step records are kept at least, beyond the inbox: the longest deadline of the flows that are taken part in.
    pub(crate) longest: Duration,
    /// When this process began with the service.
    pub(crate) began: Timestamp,
}

/// A flow whose instances are kept here.
pub(crate) struct Tracked {
    pub(crate) definition: Arc<Definition>,
    pub(crate) deadline: Duration,
    pub(crate) retention: Duration,
    /// The handler of its deadlines.
    pub(crate) on_deadline: Option<usize>,
    pub(crate) series: SagaSeries,
}

impl Tracked {
    /// The part of whoever gives the flow up outside a handler.
    pub(crate) fn abort(&self) -> Role {
        Role { step: "", kind: RoleKind::Abort, saga: self.definition.clone(), deadline: false, make_deadline: None }
    }
}

impl SagaCore {
    pub(crate) fn new(trackers: &[Tracker], handlers: &[Handler], metrics: &Metrics, began: Timestamp) -> Self {
        let tracked = trackers.iter().map(|tracker| {
            let of_abort =
                |role: &Role| role.kind == RoleKind::Abort && role.deadline && role.saga.name == tracker.definition.name;
            Tracked {
                deadline: tracker.deadline.unwrap_or(tracker.definition.deadline),
                retention: tracker.retention,
                on_deadline: handlers.iter().position(|handler| handler.role().is_some_and(of_abort)),
                series: SagaSeries::new(metrics, &tracker.definition.name),
                definition: tracker.definition.clone(),
            }
        });
        let tracked: Vec<_> = tracked.collect();
        let roles = handlers.iter().filter_map(Handler::role).map(|role| role.saga.deadline);
        let longest = roles.chain(tracked.iter().map(|tracked| tracked.deadline)).max().unwrap_or_default();
        Self { tracked, wake: Notify::new(), planned: AtomicI64::new(Timestamp::MAX.as_millis()), longest, began }
    }

    /// Lets the timers be looked at again if `earliest` ends before the one that is waited for.
    pub(crate) fn plan(&self, earliest: Option<Timestamp>) {
        if earliest.is_some_and(|earliest| earliest.as_millis() < self.planned.load(Ordering::SeqCst)) {
            self.wake.notify_one();
        }
    }

    /// Counts a message that the barrier let have no effect.
    pub(crate) fn without_effect(&self, metrics: &Metrics, role: Option<&Role>, reason: Reason, count: impl FnOnce(&Counter)) {
        if let Some(role) = role {
            count(&without_effect(metrics, &role.saga.name, role.step, reason.label()));
        }
    }

    /// Whether the event called `name` moves instances that are kept here.
    pub(crate) fn follow(&self, name: &str) -> bool {
        self.tracked.iter().any(|tracked| tracked.definition.has_event(name))
    }

    /// The tracked flow called `name`.
    pub(crate) fn tracked(&self, name: &str) -> Option<&Tracked> {
        self.tracked.iter().find(|tracked| tracked.definition.name == name)
    }
}

/// What the log shows of an instance's id: that is the key of a record, which has any length.
fn brief(id: &str) -> &str {
    const MOST: usize = 200;
    &id[..id.floor_char_boundary(MOST)]
}
