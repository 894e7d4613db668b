//! What `#[handler]` calls.
//!
//! There is one fn for each number of arguments, and the macro names every type in the call as the user wrote it: an argument
//! that cannot be taken, or a type that cannot be returned, is then reported where it is written, and once. They are written
//! out because the compiler shows their bounds to users.

use std::{future::Future, marker::PhantomData};

use crate::{
    extract::{Extract, Kind},
    handler::{Handler, HandlerDef, HandlerOptions, IntoOutcome},
};

/// The handler that calls `function`.
pub fn handler_1<A, Out, Fut>(options: HandlerOptions, function: impl Fn(A) -> Fut + Send + Sync + 'static) -> Handler
where
    A: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// The handler that calls `function`.
pub fn handler_2<A, B, Out, Fut>(options: HandlerOptions, function: impl Fn(A, B) -> Fut + Send + Sync + 'static) -> Handler
where
    A: Extract,
    B: Extract,
    Out: IntoOutcome,
    Fut: Future<Output = Out> + Send + 'static,
{
    Handler::new(options, function)
}

/// The handler that calls `function`.
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

/// The handler that calls `function`.
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

/// The handler that calls `function`.
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

/// The handler that calls `function`.
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

/// The handler that calls `function`.
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

/// The handler that calls `function`.
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

/// What stands for a fn in `handlers![..]` that has no `#[handler]`.
#[derive(Debug)]
pub struct NoHandler;

/// A fn in `handlers![..]`, beside the type of its name.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "this fn has no `#[handler]`",
    note = "put `#[handler]` on the fn; the name that its type ends with is the fn's"
)]
pub trait Listed<H> {
    /// The handler.
    fn handler() -> Handler;
}

#[diagnostic::do_not_recommend]
impl<F, H: HandlerDef> Listed<H> for F {
    fn handler() -> Handler {
        H::handler()
    }
}

/// The handler that the fn is, which `H` stands for.
pub fn listed<H, F: Listed<H>>(_: F) -> Handler {
    F::handler()
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
#[track_caller]
pub const fn check_arguments(kinds: &[Option<Kind>]) {
    let (mut inputs, mut batch, mut meta, mut held, mut detached, mut at) = (0, false, false, 0, 0, 0);
    while at < kinds.len() {
        match kinds[at] {
            Some(Kind::Input) => inputs += 1,
            Some(Kind::Batch) => {
                inputs += 1;
                batch = true;
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
