//! The call of a handler fn, with arguments taken from a delivery.

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

/// The values that the handlers of a service share, by type.
#[derive(Clone, Default)]
pub struct StateMap(Arc<HashMap<TypeId, Arc<dyn Any + Send + Sync>>>);

impl std::fmt::Debug for StateMap {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StateMap").field("values", &self.0.len()).finish_non_exhaustive()
    }
}

impl StateMap {
    /// Adds `value`.
    ///
    /// # Errors
    /// Returns the unchanged map if it already has a value of that type.
    pub fn with<T: Send + Sync + 'static>(mut self, value: T) -> Result<Self, Self> {
        let id = TypeId::of::<T>();
        if self.contains(id) {
            return Err(self);
        }
        let mut values = Arc::try_unwrap(std::mem::take(&mut self.0)).unwrap_or_else(|shared| (*shared).clone());
        values.insert(id, Arc::new(value));
        Ok(Self(Arc::new(values)))
    }

    /// Returns the value of type `T`.
    pub fn value<T: 'static>(&self) -> Option<&T> {
        self.0.get(&TypeId::of::<T>())?.downcast_ref()
    }

    /// Returns whether there is a value of the type with this id.
    pub fn contains(&self, id: TypeId) -> bool {
        self.0.contains_key(&id)
    }
}

/// The source of a call's arguments.
pub struct Invocation {
    /// The decoded messages, each a boxed value of the handler's event set, with its metadata.
    ///
    /// There is more than one only for a handler that takes a `Batch`.
    pub messages: Vec<(Box<dyn Any + Send>, Meta)>,
    /// The open transaction, for a handler that takes `Tx`.
    pub tx: Option<Tx>,
    /// The right to begin the transaction, for a handler that takes `Work`.
    pub work: Option<Work>,
    /// The shared values of the service.
    pub state: StateMap,
    /// The running service, for the extractor `ServiceHandle`, which the runtime defines.
    pub service: Option<Box<dyn Any + Send>>,
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}

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
