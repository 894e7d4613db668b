//! Calls the hooks of a committed transaction. A hook that panics does not undo the commit.

use super::{
    core::Core,
    panics::{Panics, Task, guard},
};
use crate::store::AfterCommit;

/// Calls `hooks` in order. If one panics, the remaining ones are still called.
pub(crate) fn call(core: &Core, hooks: AfterCommit) {
    for hook in hooks {
        let at = hook.at();
        if let Err(text) = guard(|| hook.call()) {
            let text = format!("{text} (in the hook of `Tx::after_commit` given at {at})");
            Panics::note(core, "after_commit", Task::Helping, &text);
        }
    }
}
