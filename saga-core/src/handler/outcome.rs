//! The return values of handlers.

use std::time::Duration;

use crate::{
    failure::{Failure, Fault, RefusesNothing},
    message::{Event, EventSet, EventType, Identified, Outgoing},
};

/// The outcome of one call of a handler.
#[derive(Debug)]
pub enum Outcome {
    /// The handler did its work. These events are published.
    Done(Vec<Outgoing>),
    /// The handler refused. Its writes are rolled back, and these events are published.
    Rejected(Vec<Outgoing>),
    /// The handler failed and can be retried.
    Retry(Fault),
    /// Not now: deliver the message again after this duration, without a counted attempt.
    Later(Duration),
    /// The handler can never succeed with this message.
    Dead(Fault),
}

/// The events that a handler publishes by returning them: `()`, an event, an enum of events, an `Option`, a `Vec`, or a tuple of these.
#[diagnostic::on_unimplemented(
    message = "a handler cannot publish `{Self}`",
    label = "not an event",
    note = "a handler publishes by returning `()`, an `#[event]` type, or an `Option`, a `Vec` or a tuple of them"
)]
pub trait IntoPublished {
    /// Returns the event types that the value can contain.
    fn types() -> Vec<EventType>;

    /// Encodes the events, in order, and appends them to `into`.
    ///
    /// # Errors
    /// Returns the error of an event's codec: a technical error of the handler.
    fn encode(&self, into: &mut Vec<Outgoing>) -> Result<(), Fault>;
}

impl IntoPublished for () {
    fn types() -> Vec<EventType> {
        Vec::new()
    }

    fn encode(&self, _: &mut Vec<Outgoing>) -> Result<(), Fault> {
        Ok(())
    }
}

impl IntoPublished for RefusesNothing {
    fn types() -> Vec<EventType> {
        Vec::new()
    }

    fn encode(&self, _: &mut Vec<Outgoing>) -> Result<(), Fault> {
        match *self {}
    }
}

#[diagnostic::do_not_recommend]
impl<E: Event> IntoPublished for E {
    fn types() -> Vec<EventType> {
        <E as EventSet>::types()
    }

    fn encode(&self, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        into.push(Outgoing::of(self)?);
        Ok(())
    }
}

impl<E: Event> IntoPublished for Identified<E> {
    fn types() -> Vec<EventType> {
        <E as EventSet>::types()
    }

    fn encode(&self, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        let mut outgoing = Outgoing::of(&self.event)?;
        outgoing.id = Some(self.id.clone());
        into.push(outgoing);
        Ok(())
    }
}

impl<T: IntoPublished> IntoPublished for Option<T> {
    fn types() -> Vec<EventType> {
        T::types()
    }

    fn encode(&self, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        self.iter().try_for_each(|event| event.encode(into))
    }
}

impl<T: IntoPublished> IntoPublished for Vec<T> {
    fn types() -> Vec<EventType> {
        T::types()
    }

    fn encode(&self, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
        self.iter().try_for_each(|event| event.encode(into))
    }
}

macro_rules! tuples {
    ($($name:ident),+) => {
        #[diagnostic::do_not_recommend]
        impl<$($name: IntoPublished),+> IntoPublished for ($($name,)+) {
            fn types() -> Vec<EventType> {
                let mut types = Vec::new();
                $(types.extend($name::types());)+
                types
            }

            #[allow(non_snake_case)]
            fn encode(&self, into: &mut Vec<Outgoing>) -> Result<(), Fault> {
                let ($($name,)+) = self;
                $($name.encode(into)?;)+
                Ok(())
            }
        }
    };
}

tuples!(A, B);
tuples!(A, B, C);
tuples!(A, B, C, D);

/// A return type of handler fns: the events to publish, or a `Result` with them and a [`Failure`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not an outcome",
    note = "return the events to publish (`()`, an `#[event]` type, or an `Option`, a `Vec` or a tuple of them), or `Result<.., Failure>`, or `Result<.., Failure<Refusal>>` where `Refusal` is an event"
)]
pub trait IntoOutcome {
    /// The events that are published when the work is done.
    type Published: IntoPublished;
    /// The events that are published when the work is refused.
    type Rejected: IntoPublished;

    /// Returns the event types that are published when the work is done.
    fn published() -> Vec<EventType>;
    /// Returns the event types that are published when the work is refused.
    fn rejected() -> Vec<EventType>;
    /// Converts the return value to an outcome.
    fn into_outcome(self) -> Outcome;
}

fn encoded<T: IntoPublished>(events: &T, then: impl FnOnce(Vec<Outgoing>) -> Outcome) -> Outcome {
    let mut outgoing = Vec::new();
    match events.encode(&mut outgoing) {
        Ok(()) => then(outgoing),
        // As when the handler publishes by `tx.publish(&event)?`.
        Err(fault) => Outcome::Retry(fault),
    }
}

#[diagnostic::do_not_recommend]
impl<T: IntoPublished> IntoOutcome for T {
    type Published = T;
    type Rejected = RefusesNothing;

    fn published() -> Vec<EventType> {
        T::types()
    }

    fn rejected() -> Vec<EventType> {
        Vec::new()
    }

    fn into_outcome(self) -> Outcome {
        encoded(&self, Outcome::Done)
    }
}

impl<T: IntoPublished, R: IntoPublished> IntoOutcome for Result<T, Failure<R>> {
    type Published = T;
    type Rejected = R;

    fn published() -> Vec<EventType> {
        T::types()
    }

    fn rejected() -> Vec<EventType> {
        R::types()
    }

    fn into_outcome(self) -> Outcome {
        match self {
            Ok(events) => encoded(&events, Outcome::Done),
            Err(Failure::Reject(refusal)) => encoded(&refusal, Outcome::Rejected),
            Err(Failure::Retry(fault)) => Outcome::Retry(fault),
            Err(Failure::Later(after)) => Outcome::Later(after),
            Err(Failure::Dead(fault)) => Outcome::Dead(fault),
        }
    }
}
