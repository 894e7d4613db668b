//! Hooks that are called after a transaction has committed.
//!
//! A transaction owns its hooks. The code that commits it calls them; if the transaction is dropped or rolled back, its hooks are dropped
//! without a call.

use std::panic::Location;

/// The hooks of one transaction, in the order of their registration. An empty list does not allocate.
#[derive(Debug, Default)]
pub struct AfterCommit(Vec<Hook>);

/// One hook.
pub struct Hook {
    call: Box<dyn FnOnce() + Send>,
    at: &'static Location<'static>,
}

impl AfterCommit {
    /// Adds `call` at the end.
    #[track_caller]
    pub fn push(&mut self, call: impl FnOnce() + Send + 'static) {
        self.0.push(Hook { call: Box::new(call), at: Location::caller() });
    }

    /// Adds `others` at the end.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// The number of hooks.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are no hooks.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl IntoIterator for AfterCommit {
    type Item = Hook;
    type IntoIter = std::vec::IntoIter<Hook>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Hook {
    /// Calls the hook. A hook is user code and can panic.
    pub fn call(self) {
        (self.call)();
    }

    /// Returns where in the source the hook was registered.
    pub fn at(&self) -> &'static Location<'static> {
        self.at
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("at", &self.at).finish_non_exhaustive()
    }
}
