//! What a handler returns, and what it means.

use std::time::Duration;

use crate::{
    failure::{Failure, Fault, RefusesNothing},
    message::{Event, EventSet, EventType, Identified, Outgoing},
};

/// What a handler's call came to.
#[derive(Debug)]
pub enum Outcome {
    /// It did its work and publishes these.
    Done(Vec<Outgoing>),
    /// It refused and publishes these.
    Rejected(Vec<Outgoing>),
    /// It failed and may be tried again.
    Retry(Fault),
    /// Not now: again after this long, without counting an attempt.
    Later(Duration),
    /// It can never succeed.
    Dead(Fault),
}

/// Events, none, one or several, as a handler returns them: `()`, an event, an enum of events, an `Option`, a `Vec`, or a
/// tuple of these.
#[diagnostic::on_unimplemented(
    message = "a handler cannot publish `{Self}`",
    label = "not an event",
    note = "a handler publishes by returning `()`, an `#[event]` type, or an `Option`, a `Vec` or a tuple of them"
)]
pub trait IntoPublished {
    /// The event types that can be in it.
    fn types() -> Vec<EventType>;

    /// Encodes the events, in order, to the end of `into`.
    ///
    /// # Errors
    /// When an event's `Serialize` fails.
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

/// What a handler fn may return: what it publishes, or a `Result` of that and a [`Failure`].
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "not an outcome",
    note = "return the events to publish (`()`, an `#[event]` type, or an `Option`, a `Vec` or a tuple of them), or `Result<.., Failure>`, or `Result<.., Failure<Refusal>>` where `Refusal` is an event"
)]
pub trait IntoOutcome {
    /// What is published when the work was done.
    type Published: IntoPublished;
    /// What is published when it was refused.
    type Rejected: IntoPublished;

    /// The event types published when the work was done.
    fn published() -> Vec<EventType>;
    /// The event types published when it was refused.
    fn rejected() -> Vec<EventType>;
    /// What the value means.
    fn into_outcome(self) -> Outcome;
}

fn encoded<T: IntoPublished>(events: &T, then: impl FnOnce(Vec<Outgoing>) -> Outcome) -> Outcome {
    let mut outgoing = Vec::new();
    match events.encode(&mut outgoing) {
        Ok(()) => then(outgoing),
        Err(fault) => Outcome::Dead(fault),
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
