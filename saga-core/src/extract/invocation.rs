//! What a handler's arguments are taken from.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    sync::Arc,
};

use super::{Meta, Work};
use crate::store::Tx;

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
        if self.contains(TypeId::of::<T>()) {
            return Err(self);
        }
        self.set(value);
        Ok(self)
    }

    /// Adds `value`, instead of the value of that type if there is one.
    pub fn set<T: Send + Sync + 'static>(&mut self, value: T) {
        Arc::make_mut(&mut self.0).insert(TypeId::of::<T>(), Arc::new(value));
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

impl Invocation {
    /// Takes the input of a handler of one message, if it is a `T`. The metadata stays, for an argument of type `Meta`.
    pub(super) fn take_input<T: 'static>(&mut self) -> Option<T> {
        let (value, _) = self.messages.last_mut()?;
        let value = std::mem::replace(value, Box::new(()));
        value.downcast().ok().map(|input| *input)
    }
}

impl std::fmt::Debug for Invocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Invocation").field("messages", &self.messages.len()).finish_non_exhaustive()
    }
}
