//! Wakes the poll thread: for a record or an event of the client, or for a command of the runtime.
//!
//! The client's callback rings when its queue is no longer empty, and so does each command. The thread therefore waits here only,
//! and polls the client without waiting. A missed ring delays the thread by a tenth of a second.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

#[derive(Debug, Default)]
pub(super) struct Waker {
    rung: Mutex<bool>,
    heard: Condvar,
}

impl Waker {
    pub(super) fn ring(&self) {
        *self.rung.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.heard.notify_one();
    }

    /// Waits for a ring since the last wait, at most for `at_most`.
    pub(super) fn wait(&self, at_most: Duration) {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.heard.wait_timeout_while(rung, at_most, |rung| !*rung);
        *waited.unwrap_or_else(PoisonError::into_inner).0 = false;
    }
}
