//! Sagas at run time: the barrier in each delivery, the tracker of the instances, their timers, and the operations for operators.

mod check;
mod deadlines;
mod delivery;
mod history;
mod ignored;
mod operations;
mod participant;
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
pub(crate) use ignored::{Ignored, is_ignored, is_own};
pub(crate) use participant::{Participant, participants};
pub(crate) use retrying::retry_dead_letters;
pub(crate) use scope::{Decision, Scope};
pub(crate) use tracker::stored;
pub(crate) use tracking::stopped;
pub(crate) use unreadable::look_again;

use crate::{
    engine::saga::barrier::NoEffect,
    handler::Handler,
    runtime::{
        Metrics,
        metrics::{Counter, SagaSeries, without_effect},
    },
    saga::{Definition, Role, RoleKind},
    time::Timestamp,
};

/// The sagas of a running service.
pub(crate) struct SagaCore {
    /// The sagas that this service tracks.
    pub(crate) tracked: Vec<Tracked>,
    /// Notified when a timer was set that is due before the one waited for.
    pub(crate) wake: Notify,
    /// When the timer is due that is waited for, in milliseconds; the largest number if there is none.
    pub(crate) planned: AtomicI64,
    /// The longest deadline of the sagas that the service takes part in or tracks. Step records are kept at least this long beyond the
    /// inbox retention.
    pub(crate) longest: Duration,
    /// When this process started the service.
    pub(crate) began: Timestamp,
    /// Counts the messages on the framework's own topics that have no effect.
    pub(crate) ignored: Ignored,
}

/// A saga that this service tracks.
pub(crate) struct Tracked {
    pub(crate) definition: Arc<Definition>,
    pub(crate) deadline: Duration,
    pub(crate) retention: Duration,
    /// The index of the handler for its deadlines.
    pub(crate) on_deadline: Option<usize>,
    pub(crate) series: SagaSeries,
}

impl Tracked {
    /// Returns the role for an abort outside a delivery.
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
        let planned = AtomicI64::new(Timestamp::MAX.as_millis());
        Self { tracked, wake: Notify::new(), planned, longest, began, ignored: Ignored::default() }
    }

    /// Wakes the timers if `earliest` is before the time they wait for.
    pub(crate) fn plan(&self, earliest: Option<Timestamp>) {
        if earliest.is_some_and(|earliest| earliest.as_millis() < self.planned.load(Ordering::SeqCst)) {
            self.wake.notify_one();
        }
    }

    /// Counts a message to which the barrier gave no effect.
    pub(crate) fn without_effect(&self, metrics: &Metrics, role: Option<&Role>, reason: NoEffect, count: impl FnOnce(&Counter)) {
        if let Some(role) = role {
            count(&without_effect(metrics, &role.saga.name, role.step, reason.label()));
        }
    }

    /// Whether the event `name` belongs to a tracked saga.
    pub(crate) fn follow(&self, name: &str) -> bool {
        self.tracked.iter().any(|tracked| tracked.definition.has_event(name))
    }

    /// Returns the tracked saga `name`.
    pub(crate) fn tracked(&self, name: &str) -> Option<&Tracked> {
        self.tracked.iter().find(|tracked| tracked.definition.name == name)
    }
}

/// Shortens the id of an instance for log lines. An id is the key of a record, which can have any length.
fn brief(id: &str) -> &str {
    const MOST: usize = 200;
    &id[..id.floor_char_boundary(MOST)]
}
