//! What `#[handler]` calls.

use std::{future::Future, marker::PhantomData};

use crate::{
    extract::{Extract, Kind},
    handler::{Handler, HandlerOptions, IntoOutcome},
};

/// A handler fn by its number of arguments. The types are named by the macro as the user wrote them, so that an argument that
/// cannot be taken, or a type that cannot be returned, is reported where it is written, and once.
macro_rules! handlers {
    ($($name:ident($($arg:ident),+);)+) => {
        $(
            /// The handler that calls `function`.
            pub fn $name<$($arg,)+ Out, F, Fut>(options: HandlerOptions, function: F) -> Handler
            where
                $($arg: Extract + 'static,)+
                Out: IntoOutcome,
                F: Fn($($arg),+) -> Fut + Send + Sync + 'static,
                Fut: Future<Output = Out> + Send + 'static,
            {
                Handler::new::<F, ($($arg,)+)>(options, function)
            }
        )+
    };
}

handlers! {
    handler_1(A);
    handler_2(A, B);
    handler_3(A, B, C);
    handler_4(A, B, C, D);
    handler_5(A, B, C, D, E);
    handler_6(A, B, C, D, E, G);
    handler_7(A, B, C, D, E, G, H);
    handler_8(A, B, C, D, E, G, H, I);
}

/// An argument's type, asked for its kind: the inherent constant is there for an extractor, and hides that of [`NoExtractor`].
pub struct Argument<A>(PhantomData<fn() -> A>);

impl<A: Extract> Argument<A> {
    /// The kind.
    pub const KIND: Option<Kind> = Some(A::KIND);
}

/// The kind of what is no extractor: none, for that is reported elsewhere.
pub trait NoExtractor {
    /// No kind.
    const KIND: Option<Kind> = None;
}

impl<A> NoExtractor for Argument<A> {}

/// The rules between the arguments of one handler.
///
/// # Panics
/// While compiling, when a rule is broken.
pub const fn check_arguments(kinds: &[Option<Kind>]) {
    let (mut inputs, mut held, mut detached, mut at) = (0, 0, 0, 0);
    while at < kinds.len() {
        match kinds[at] {
            Some(Kind::Input) => inputs += 1,
            Some(Kind::Held) => held += 1,
            Some(Kind::Detached) => detached += 1,
            Some(Kind::Other) => {}
            None => return,
        }
        at += 1;
    }
    assert!(inputs != 0, "a handler takes the event it handles: add `On(event): On<E>`, or `Batch(events): Batch<E>`");
    assert!(
        inputs == 1,
        "a handler takes one event: to take several types, put them into an enum with `#[event]` and take `On<ThatEnum>`"
    );
    assert!(held <= 1 && detached <= 1, "a delivery has one transaction: take `Tx`, or `Work`, once");
    assert!(
        held + detached <= 1,
        "a handler takes `Tx` or `Work`, not both: where the database has one writer (SQLite) it would wait for itself"
    );
}
