//! The call of a handler fn, with arguments taken from a delivery.

use std::{future::Future, sync::Arc};

use super::{CallFn, IntoOutcome, Outcome};
use crate::{
    extract::{Extract, Requirements},
    failure::Fault,
};

/// An async fn that can be a handler: each argument is an extractor, and it returns an outcome.
#[diagnostic::on_unimplemented(
    message = "this fn cannot be a handler",
    note = "a handler is an `async fn` of at most 8 extractors (`On<E>`, `Batch<E>`, `Tx`, `Work`, `State<T>`, `Meta`) that returns events or `Result<.., Failure>`"
)]
pub trait HandlerFn<Args>: Send + Sync + 'static {
    /// The return type of the fn.
    type Output: IntoOutcome;

    /// Returns what the arguments of the fn need.
    fn requirements() -> Requirements;

    /// Returns the function that extracts the arguments and calls the fn.
    fn into_call(self) -> CallFn;
}

macro_rules! handler_fns {
    ($($arg:ident),+) => {
        #[diagnostic::do_not_recommend]
        impl<F, Fut, $($arg),+> HandlerFn<($($arg,)+)> for F
        where
            F: Fn($($arg),+) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoOutcome> + Send + 'static,
            $($arg: Extract,)+
        {
            type Output = Fut::Output;

            fn requirements() -> Requirements {
                let mut requirements = Requirements::default();
                $($arg::require(&mut requirements);)+
                requirements
            }

            #[allow(non_snake_case)]
            fn into_call(self) -> CallFn {
                Arc::new(move |mut invocation| {
                    let arguments = (|| Ok::<_, Fault>(($($arg::extract(&mut invocation)?,)+)))();
                    match arguments {
                        Ok(($($arg,)+)) => {
                            let call = self($($arg),+);
                            Box::pin(async move { call.await.into_outcome() })
                        }
                        Err(fault) => Box::pin(std::future::ready(Outcome::Dead(fault))),
                    }
                })
            }
        }
    };
}

handler_fns!(A);
handler_fns!(A, B);
handler_fns!(A, B, C);
handler_fns!(A, B, C, D);
handler_fns!(A, B, C, D, E);
handler_fns!(A, B, C, D, E, G);
handler_fns!(A, B, C, D, E, G, H);
handler_fns!(A, B, C, D, E, G, H, I);
