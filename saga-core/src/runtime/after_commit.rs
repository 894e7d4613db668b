//! Calls the hooks of a transaction that has committed. Whatever they do, the commit stands.

use super::{
    core::Core,
    panics::{Panics, Task, guard},
};
use crate::store::AfterCommit;

/// What the metrics and conditions of panics name it by.
const TASK: &str = "after_commit";

/// Calls `hooks`, one after another. One that panics keeps none of the others from being called.
pub(crate) fn call(core: &Core, hooks: AfterCommit) {
    for hook in hooks {
        let at = hook.at();
        if let Err(text) = guard(|| hook.call()) {
            Panics::note(core, TASK, Task::Helping, &format!("{text} (in the hook of `Tx::after_commit` given at {at})"));
        }
    }
}
