//! How an async fn becomes a handler: its description and its call.
//!
//! `#[handler]` leaves the fn unchanged and adds a type with the same name that implements [`HandlerDef`]; `handlers![..]` converts such
//! types to [`Handler`]s. The generated code is a description and one call of [`Handler::new`]. All logic is in this crate.

mod call;
mod check;
mod outcome;
mod published;

use std::{fmt, sync::Arc, time::Duration};

use futures_core::future::BoxFuture;

pub use call::HandlerFn;
pub use outcome::{IntoOutcome, IntoPublished, Outcome};
pub use published::PublishedEvent;

use crate::{
    extract::{Invocation, Requirements},
    message::EventType,
    retry::RetryPolicy,
    saga::{Role, StepAt, TriggerOf, UndoAt},
};

/// A type that represents a handler fn. Implemented by `#[handler]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not a handler",
    note = "put `#[handler]` on the fn `{Self}`"
)]
pub trait HandlerDef {
    /// Creates the handler, to be given to a service.
    fn handler() -> Handler;
}

/// What happens to the later messages of a key when one of its messages becomes a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum AfterDeadLetter {
    /// They are handled.
    #[default]
    Release,
    /// They wait until the dead letter is settled.
    Hold,
}

/// The options of `#[handler(..)]`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HandlerOptions {
    /// The name of the fn.
    pub name: &'static str,
    /// The module of the fn.
    pub module: &'static str,
    /// The retry policy for technical errors.
    pub retry: RetryPolicy,
    /// The longest duration of one call. A longer call is a technical error.
    pub timeout: Duration,
    /// What happens to the key of a dead letter.
    pub after_dead_letter: AfterDeadLetter,
    /// The topic of a handler that takes undecoded records.
    pub topic: Option<&'static str>,
}

impl HandlerOptions {
    /// The default timeout of a call: 30 s.
    pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

    /// Creates the default options for the fn `name` in `module`.
    pub const fn new(name: &'static str, module: &'static str) -> Self {
        Self {
            name,
            module,
            retry: RetryPolicy::DEFAULT,
            timeout: Self::DEFAULT_TIMEOUT,
            after_dead_letter: AfterDeadLetter::Release,
            topic: None,
        }
    }

    /// Sets the retry policy.
    pub const fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// Sets the timeout of a call.
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets the topic of the undecoded records that the handler takes.
    pub const fn topic(mut self, topic: &'static str) -> Self {
        self.topic = Some(topic);
        self
    }

    /// Sets what happens to the key of a dead letter.
    pub const fn after_dead_letter(mut self, policy: AfterDeadLetter) -> Self {
        self.after_dead_letter = policy;
        self
    }
}

/// Calls a handler fn with arguments taken from the [`Invocation`].
pub type CallFn = Arc<dyn Fn(Invocation) -> BoxFuture<'static, Outcome> + Send + Sync>;

/// A handler of one event type, of several, or of undecoded records.
#[derive(Clone)]
pub struct Handler {
    options: HandlerOptions,
    requirements: Requirements,
    publishes: Vec<EventType>,
    rejects: Vec<EventType>,
    call: CallFn,
    exhausted: Option<(Requirements, CallFn)>,
    role: Option<Role>,
    of_framework: bool,
}

impl Handler {
    /// Creates a handler that calls `function`.
    pub fn new<F: HandlerFn<Args>, Args: 'static>(options: HandlerOptions, function: F) -> Self {
        let (publishes, rejects) = (F::Output::published(), F::Output::rejected());
        let mut requirements = F::requirements();
        for any in requirements.accepts.iter_mut().filter(|event| event.is_any()) {
            any.topic = options.topic.unwrap_or_default();
        }
        Self {
            options,
            requirements,
            publishes,
            rejects,
            call: function.into_call(),
            exhausted: None,
            role: None,
            of_framework: false,
        }
    }

    /// Calls `function` after the last attempt, in the transaction that writes the dead letter.
    pub fn exhausted<F: HandlerFn<Args>, Args: 'static>(mut self, function: F) -> Self {
        self.publishes.extend(F::Output::published());
        let requirements = F::requirements();
        self.requirements.states.extend(requirements.states.iter().copied());
        self.exhausted = Some((requirements, function.into_call()));
        self
    }

    /// Creates the handler of a tracker. It does nothing with the events in `accepts`: they are delivered so that the tracker sees them.
    pub(crate) fn of_tracker(accepts: Vec<EventType>) -> Self {
        let inputs = vec![(std::any::TypeId::of::<()>(), "the saga's events")];
        Self {
            options: HandlerOptions::new("track", "sagas"),
            requirements: Requirements { accepts, inputs, ..Requirements::default() },
            publishes: Vec::new(),
            rejects: Vec::new(),
            call: Arc::new(|_| Box::pin(std::future::ready(Outcome::Done(Vec::new())))),
            exhausted: None,
            role: None,
            of_framework: true,
        }
    }

    /// Marks the handler as one of the framework.
    pub(crate) fn of_the_framework(self) -> Self {
        Self { of_framework: true, ..self }
    }

    /// Returns whether this is a handler of the framework and not of a user.
    pub(crate) fn is_of_framework(&self) -> bool {
        self.of_framework
    }

    /// Assigns the step at `STEP` of the saga `S` to this handler, with the event, enum of events or deadline that triggers it.
    pub fn step<S: StepAt<STEP>, T: TriggerOf<S, STEP>, const STEP: usize>(mut self) -> Self {
        self.role = Some(Role::step::<S, T, STEP>());
        self
    }

    /// Assigns the compensation of the step at `STEP` of the saga `S` to this handler, and adds the events that trigger it.
    pub fn undo<S: UndoAt<STEP>, const STEP: usize>(mut self) -> Self {
        self.requirements.accepts.extend(S::triggers());
        self.role = Some(Role::undo::<S, STEP>());
        self
    }

    /// Returns the role of the handler in a saga, if any.
    pub fn role(&self) -> Option<&Role> {
        self.role.as_ref()
    }

    /// Returns the options from the attribute.
    pub fn options(&self) -> &HandlerOptions {
        &self.options
    }

    /// Returns `module::name`.
    pub fn path(&self) -> String {
        format!("{}::{}", self.options.module, self.options.name)
    }

    /// Returns what the arguments of the fn need.
    pub fn requirements(&self) -> &Requirements {
        &self.requirements
    }

    /// Returns the event types that the handler takes.
    pub fn accepts(&self) -> &[EventType] {
        &self.requirements.accepts
    }

    /// Returns the event types that the handler or its `exhausted` fn can publish.
    pub fn publishes(&self) -> &[EventType] {
        &self.publishes
    }

    /// Returns the event types of its refusals; empty for a handler that cannot refuse.
    pub fn rejects(&self) -> &[EventType] {
        &self.rejects
    }

    /// Returns the function that calls the handler.
    ///
    /// A missing argument gives [`Outcome::Dead`]; the check at the start of the app prevents it.
    pub fn call_fn(&self) -> &CallFn {
        &self.call
    }

    /// Returns the function to call after the last attempt, if any.
    pub fn exhausted_call(&self) -> Option<&CallFn> {
        self.exhausted.as_ref().map(|(_, call)| call)
    }
}

impl fmt::Debug for Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handler").field("path", &self.path()).field("accepts", &self.accepts()).finish_non_exhaustive()
    }
}
