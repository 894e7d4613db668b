//! Calling a handler fn with arguments taken from a delivery.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    future::Future,
    sync::Arc,
};

use super::{CallFn, IntoOutcome, Outcome};
use crate::{
    extract::{Extract, Meta, Requirements, Work},
    failure::Fault,
    store::Tx,
};

/// The values that a service's handlers share, by type.
#[derive(Clone, Default)]
pub struct StateMap(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl StateMap {
    /// The map with `value` added.
    ///
    /// # Errors
    /// The map as it was, when it has a value of that type already.
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Result<Self, Self> {
        let id = TypeId::of::<T>();
        if self.contains(id) {
            return Err(self);
        }
        let mut values = Arc::try_unwrap(std::mem::take(&mut self.0)).unwrap_or_else(|shared| (*shared).clone());
        values.insert(id, Arc::new(value));
        Ok(Self(Arc::new(values)))
    }

    /// The value of type `T`.
    pub fn value<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Whether there is a value of the type with this id.
    pub fn contains(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }
}

/// What a call takes its arguments from.
pub struct Invocation {
    /// The decoded messages, each a boxed value of the handler's event set, with what is known of them. One, but for a handler
    /// that takes a `Batch`.
    pub messages: Vec<(Box<dyn Any + Send>, Meta)>,
    /// The open transaction, for a handler that takes one.
    pub tx: Option<Tx>,
    /// The transaction to begin later, for a handler that takes one.
    pub work: Option<Work>,
    /// The service's shared values.
    pub state: StateMap,
    /// The running service, for an extractor that the runtime brings along.
    pub service: Option<Box<dyn Any + Send>>,
}

/// An async fn that can be a handler: every argument is an extractor, and what it returns is an outcome.
#[diagnostic::on_unimplemented(
    message = "this fn cannot be a handler",
    note = "a handler is an `async fn` of at most 8 extractors (`On<E>`, `Batch<E>`, `Tx`, `Work`, `State<T>`, `Meta`) that returns events or `Result<.., Failure>`"
)]
pub trait HandlerFn<Args>: Send + Sync + 'static {
    /// What it returns.
    type Output: IntoOutcome;

    /// What its arguments need.
    fn requirements() -> Requirements;

    /// The call.
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
