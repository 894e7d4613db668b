//! What is to be called once a transaction has committed.
//!
//! A transaction carries its hooks with it: whoever commits it calls them, and whoever drops it drops them. So a hook of a
//! transaction that is rolled back is never called, whatever the reason is.

use std::panic::Location;

/// The hooks of one transaction, in the order in which they were given. Empty, it takes no memory.
#[derive(Debug, Default)]
pub struct AfterCommit(Vec<Hook>);

/// One of them.
pub struct Hook {
    call: Box<dyn FnOnce() + Send>,
    at: &'static Location<'static>,
}

impl AfterCommit {
    /// Adds `call` as the last.
    #[track_caller]
    pub fn push(&mut self, call: impl FnOnce() + Send + 'static) {
        self.0.push(Hook { call: Box::new(call), at: Location::caller() });
    }

    /// Adds `others` behind those that are here.
    pub fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
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
    /// Calls it. It may panic, as the code of others may.
    pub fn call(self) {
        (self.call)();
    }

    /// Where in the source it was given.
    pub fn at(&self) -> &'static Location<'static> {
        self.at
    }
}

impl std::fmt::Debug for Hook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hook").field("at", &self.at).finish_non_exhaustive()
    }
}
