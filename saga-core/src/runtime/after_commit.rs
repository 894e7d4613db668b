//! Calls the hooks of a transaction that has committed. Whatever they do, the commit stands.

use super::{
    core::Core,
    panics::{Panics, Task, guard},
};
use crate::store::AfterCommit;

/// Calls `hooks`, one after another. One that panics keeps none of the others from being called.
pub(crate) fn call(core: &Core, hooks: AfterCommit) {
    for hook in hooks {
        let at = hook.at();
        if let Err(text) = guard(|| hook.call()) {
            let text = format!("{text} (in the hook of `Tx::after_commit` given at {at})");
            Panics::note(core, "after_commit", Task::Helping, &text);
        }
    }
}
