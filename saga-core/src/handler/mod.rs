//! How an async fn becomes a consumer: its description, and the call.
//!
//! `#[handler]` leaves the fn as it is and adds a type of the same name that implements [`HandlerDef`]; `handlers![..]` turns
//! such names into [`Handler`]s. What is generated is a description and one call of [`Handler::new`]; everything that runs is
//! in this crate.

mod call;
mod check;
mod outcome;

use std::{fmt, sync::Arc, time::Duration};

use futures_core::future::BoxFuture;

pub use call::{HandlerFn, Invocation, StateMap};
pub use outcome::{IntoOutcome, IntoPublished, Outcome};

use crate::{
    extract::Requirements,
    message::EventType,
    retry::RetryPolicy,
    saga::{Role, StepAt, TriggerOf, UndoAt},
};

/// A type that stands for a handler fn. Implemented by `#[handler]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "put `#[handler]` on the fn `{Self}`"
)]
pub trait HandlerDef {
    /// The handler, ready to be given to a service.
    fn handler() -> Handler;
}

/// What happens to the messages behind one that was dead-lettered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterDeadLetter {
    /// They go on.
    #[default]
    Release,
    /// They wait until the dead letter is retried or discarded.
    Hold,
}

/// What the macro reads off `#[handler(..)]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// The fn's name.
    pub name: &'static str,
    /// The fn's module.
    pub module: &'static str,
    /// How technical errors are tried again.
    pub retry: RetryPolicy,
    /// How long one call may take.
    pub timeout: Duration,
    /// What happens to the key of a dead letter.
    pub after_dead_letter: AfterDeadLetter,
}

impl HandlerOptions {
    /// How long a call may take when the handler does not say it.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// The defaults, for the fn `name` in `module`.
    pub const fn new(name: &'static str, module: &'static str) -> Self {
        Self {
            name,
            module,
            retry: RetryPolicy::DEFAULT,
            timeout: Self::DEFAULT_TIMEOUT,
            after_dead_letter: AfterDeadLetter::Release,
        }
    }

    /// With this retry policy.
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// With this timeout.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// With this policy for the key of a dead letter.
    pub const fn after_dead_letter(mut self, policy: AfterDeadLetter) -> Self {
        self.after_dead_letter = policy;
        self
    }
}

/// One call of a handler fn, with its arguments taken out of the [`Invocation`].
pub type CallFn = Arc<dyn Fn(Invocation) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A consumer of one event type, or of several.
#[derive(Clone)]
pub struct Handler {
    options: HandlerOptions,
    requirements: Requirements,
    publishes: Vec<EventType>,
    rejects: Vec<EventType>,
    call: CallFn,
    exhausted: Option<(Requirements, CallFn)>,
    role: Option<Role>,
}

impl Handler {
    /// The handler that calls `function`.
    pub fn new<F: HandlerFn<Args>, Args: 'static>(options: HandlerOptions, function: F) -> Self {
        let (publishes, rejects) = (F::Output::published(), F::Output::rejected());
        Self {
            options,
            requirements: F::requirements(),
            publishes,
            rejects,
            call: function.into_call(),
            exhausted: None,
            role: None,
        }
    }

    /// Calls `function`, in the transaction that dead-letters, when the attempts have ended.
    pub fn exhausted<F: HandlerFn<Args>, Args: 'static>(mut self, function: F) -> Self {
        self.publishes.extend(F::Output::published());
        let requirements = F::requirements();
        self.requirements.states.extend(requirements.states.iter().copied());
        self.exhausted = Some((requirements, function.into_call()));
        self
    }

    /// The handler that does nothing with `accepts`, so that they are delivered, and tracked.
    pub(crate) fn of_tracker(accepts: Vec<EventType>) -> Self {
        let inputs = vec![(std::any::TypeId::of::<()>(), "the flow's events")];
        Self {
            options: HandlerOptions::new("track", "sagas"),
            requirements: Requirements { accepts, inputs, ..Requirements::default() },
            publishes: Vec::new(),
            rejects: Vec::new(),
            call: Arc::new(|_| Box::pin(std::future::ready(Outcome::Done(Vec::new())))),
            exhausted: None,
            role: None,
        }
    }

    /// Claims the step at `STEP` of the flow `S`, with the event, enum of events or deadline that it takes.
    pub fn step<S: StepAt<STEP>, T: TriggerOf<S, STEP>, const STEP: usize>(mut self) -> Self {
        self.role = Some(Role::step::<S, T, STEP>());
        self
    }

    /// Claims what undoes the step at `STEP` of the flow `S`, and takes the events that call for it.
    pub fn undo<S: UndoAt<STEP>, const STEP: usize>(mut self) -> Self {
        self.requirements.accepts.extend(S::triggers());
        self.role = Some(Role::undo::<S, STEP>());
        self
    }

    /// What it does in a flow, if anything.
    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// What the attribute said.
    pub fn options(&self) -> &HandlerOptions {
        &self.options
    }

    /// `module::name`.
    pub fn path(&self) -> String {
        format!("{}::{}", self.options.module, self.options.name)
    }

    /// What its arguments need.
    pub fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// The event types it takes.
    pub fn accepts(&self) -> &[EventType] {
        &self.requirements.accepts
    }

    /// The event types it may publish when it does its work, or when its attempts have ended.
    pub fn publishes(&self) -> &[EventType] {
        &self.publishes
    }

    /// The event types that say its *no*; empty for a handler that cannot refuse.
    pub fn rejects(&self) -> &[EventType] {
        &self.rejects
    }

    /// The call. A missing argument is an [`Outcome::Dead`]: the app's check at start excludes it.
    pub fn call_fn(&self) -> &CallFn {
        &self.call
    }

    /// What is to be called when the attempts have ended.
    pub fn exhausted_call(&self) -> Option<&CallFn> {
        self.exhausted.as_ref().map(|(_, call)| call)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("path", &self.path()).field("accepts", &self.accepts()).finish_non_exhaustive()
    }
}
