//! Items for `#[handler]`.
//!
//! There is one fn for each number of arguments, and the generated call names each type as the user wrote it. So the compiler reports an
//! argument that is not an extractor, or a type that cannot be returned, once and where it is written. The functions are written out
//! because the compiler shows their bounds to users.

use std::{future::Future, marker::PhantomData};

use crate::{
    extract::{Extract, Kind},
    failure::Failure,
    handler::{Handler, HandlerDef, HandlerOptions, IntoOutcome},
};

/// Creates the handler that calls `function`.
pub fn handler_1<A, Out, Fut>(options: HandlerOptions, function: impl Fn(A) -> Fut + Send + Sync + 'static) -> Handler
where
    A: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_2<A, B, Out, Fut>(options: HandlerOptions, function: impl Fn(A, B) -> Fut + Send + Sync + 'static) -> Handler
where
    A: Extract,
    B: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_3<A, B, C, Out, Fut>(options: HandlerOptions, function: impl Fn(A, B, C) -> Fut + Send + Sync + 'static) -> Handler
where
    A: Extract,
    B: Extract,
    C: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_4<A, B, C, D, Out, Fut>(
    options: HandlerOptions,
    function: impl Fn(A, B, C, D) -> Fut + Send + Sync + 'static,
) -> Handler
where
    A: Extract,
    B: Extract,
    C: Extract,
    D: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_5<A, B, C, D, E, Out, Fut>(
    options: HandlerOptions,
    function: impl Fn(A, B, C, D, E) -> Fut + Send + Sync + 'static,
) -> Handler
where
    A: Extract,
    B: Extract,
    C: Extract,
    D: Extract,
    E: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_6<A, B, C, D, E, G, Out, Fut>(
    options: HandlerOptions,
    function: impl Fn(A, B, C, D, E, G) -> Fut + Send + Sync + 'static,
) -> Handler
where
    A: Extract,
    B: Extract,
    C: Extract,
    D: Extract,
    E: Extract,
    G: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_7<A, B, C, D, E, G, H, Out, Fut>(
    options: HandlerOptions,
    function: impl Fn(A, B, C, D, E, G, H) -> Fut + Send + Sync + 'static,
) -> Handler
where
    A: Extract,
    B: Extract,
    C: Extract,
    D: Extract,
    E: Extract,
    G: Extract,
    H: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Creates the handler that calls `function`.
pub fn handler_8<A, B, C, D, E, G, H, I, Out, Fut>(
    options: HandlerOptions,
    function: impl Fn(A, B, C, D, E, G, H, I) -> Fut + Send + Sync + 'static,
) -> Handler
where
    A: Extract,
    B: Extract,
    C: Extract,
    D: Extract,
    E: Extract,
    G: Extract,
    H: Extract,
    I: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// Represents a fn in `handlers![..]` that has no `#[handler]`.
#[derive(Debug)]
pub struct NoHandler;

/// A fn in `handlers![..]`. `H` is the type with the same name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "this fn has no `#[handler]`",
    note = "put `#[handler]` on the fn; the name that its type ends with is the fn's"
)]
pub trait Listed<H> {
    /// Creates the handler.
    fn handler() -> Handler;
}

#[diagnostic::do_not_recommend]
impl<F, H: HandlerDef> Listed<H> for F {
    fn handler() -> Handler {
        H::handler()
    }
}

/// Creates the handler of a fn, which the type `H` represents.
pub fn listed<H, F: Listed<H>>(_: F) -> Handler {
    F::handler()
}

/// Determines the kind of an argument's type. For an extractor, the inherent constant exists and hides the one of [`NoExtractor`].
#[derive(Debug)]
pub struct Argument<A>(PhantomData<fn() -> A>);

impl<A: Extract> Argument<A> {
    /// The kind of the extractor.
    pub const KIND: Option<Kind> = Some(A::KIND);
}

/// The kind of a type that is not an extractor: none. Another check reports that error.
pub trait NoExtractor {
    /// None.
    const KIND: Option<Kind> = None;
}

impl<A> NoExtractor for Argument<A> {}

/// Determines whether a type of failures names a refusal.
///
/// For the type that does not, the inherent constant exists and hides the one of [`Named`].
#[derive(Debug)]
pub struct Refusal<F>(PhantomData<fn() -> F>);

impl Refusal<Failure> {
    /// The type does not name a refusal.
    pub const IS_NAMED: bool = false;
}

/// Any other type of failures.
pub trait Named {
    /// The type names a refusal.
    const IS_NAMED: bool = true;
}

impl<F> Named for Refusal<F> {}

/// Checks that the return type of a handler that refuses names the refusal.
///
/// # Panics
/// Panics at compile time if it does not.
#[track_caller]
pub const fn check_refusal(is_named: bool) {
    if !is_named {
        panic!(
            "this handler refuses with `Failure::Reject`, and its return type has no refusal: name the event that it refuses with, \
             `Result<.., Failure<ThatEvent>>`"
        );
    }
}

/// Checks the rules about the arguments of a handler and its option `topic`.
///
/// # Panics
/// Panics at compile time if a rule is violated.
#[track_caller]
pub const fn check_arguments(kinds: &[Option<Kind>], names_a_topic: bool) {
    let (mut inputs, mut raw, mut batch, mut meta, mut held, mut detached, mut at) = (0, false, false, false, 0, 0, 0);
    while at < kinds.len() {
        match kinds[at] {
            Some(Kind::Input { raw: is_raw }) => {
                inputs += 1;
                raw = is_raw;
            }
            Some(Kind::Batch { raw: is_raw }) => {
                inputs += 1;
                (raw, batch) = (is_raw, true);
            }
            Some(Kind::Meta) => meta = true,
            Some(Kind::Held) => held += 1,
            Some(Kind::Detached) => detached += 1,
            Some(Kind::Other) => {}
            None => return,
        }
        at += 1;
    }
    if inputs == 0 {
        panic!("a handler takes the event it handles: add `On(event): On<E>`, or `Batch(events): Batch<E>`");
    }
    if inputs > 1 {
        panic!("a handler takes one event: to take several types, put them into an enum with `#[event]` and take `On<ThatEnum>`");
    }
    if raw && !names_a_topic {
        panic!("`Raw` is a record of any form, and the handler names no topic: write `#[handler(topic = \"..\")]`");
    }
    if !raw && names_a_topic {
        panic!("the definition of an event has its topic: remove `topic`, or take the topic's records as they are, `On<Raw>`");
    }
    if batch && meta {
        panic!("each event of a `Batch` comes with its own `Meta`: take it from the pairs in `Batch(events)`");
    }
    if held > 0 && detached > 0 {
        panic!("a handler takes `Tx` or `Work`, not both: where the database has one writer (SQLite) it would wait for itself");
    }
    if held + detached > 1 {
        panic!("a delivery has one transaction: take `Tx`, or `Work`, once");
    }
}
