//! Panics in the tasks of the runtime, in the framework's own code and in user code that it calls outside handlers.
//!
//! A panic does not end the service. A panic while a message is processed is a failure of that message. A panic in a database call is
//! treated as an error of the database. A long-running task is restarted after increasing waits. Each panic is counted and logged with its
//! text, and a condition holds while the task keeps panicking.

use std::{
    any::Any,
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::task::JoinError;

use super::{conditions::Severity, core::Core, fence::Shutdown, metrics::task_panics};
use crate::{
    store::StoreError,
    time::{Timestamp, doubling},
};

/// The condition that a task panics.
const TASK_PANICS: &str = "task_panics";
/// How long a task must run without another panic before its condition ends.
const CALM: Duration = Duration::from_secs(60);
/// The wait before a task is restarted after its first panic, and the longest wait.
const AGAIN: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Returns the message of a panic.
pub(crate) fn text(panic: &(dyn Any + Send)) -> &str {
    panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

/// Returns the result of `work`, or the message of its panic.
pub(crate) async fn guarded<T>(work: impl Future<Output = T>) -> Result<T, String> {
    AssertUnwindSafe(work).catch_unwind().await.map_err(|panic| text(&*panic).to_owned())
}

/// The same as [`guarded`], for a synchronous call.
pub(crate) fn guard<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).map_err(|panic| text(&*panic).to_owned())
}

/// Returns the result of a task that has ended, and propagates its panic.
pub(crate) fn joined<T>(ended: Result<T, JoinError>) -> T {
    match ended {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => panic!("a task was cancelled that is waited for: {error}"),
        },
    }
}

/// The tasks that have panicked recently, with the time of the last panic.
#[derive(Debug, Default)]
pub(crate) struct Panics(Mutex<BTreeMap<&'static str, Timestamp>>);

/// Whether a service can do its work while a task keeps panicking.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    /// It cannot.
    Vital,
    /// It can.
    Helping,
}

impl Panics {
    /// Records that `task` has panicked with the message `text`.
    pub(crate) fn note(core: &Core, task: &'static str, weight: Task, text: &str) {
        let now = core.clock.now();
        task_panics(&core.metrics, task).increment();
        tracing::error!(service = &*core.name, task, panic = text, "a task of the service has panicked; it restarts");
        let last = core.panics.0.lock().unwrap_or_else(PoisonError::into_inner).insert(task, now);
        let again = last.is_some_and(|last| now.since(last) <= CALM);
        let severity = if again && weight == Task::Vital { Severity::Critical } else { Severity::Warning };
        let detail = format!(
            "the task `{task}` of this service has panicked, and has restarted: {text}; this is a mistake in the program: its log shows \
             where; report or fix it"
        );
        core.conditions.raise(TASK_PANICS, task, severity, detail, now);
    }

    /// Ends the conditions of tasks that have not panicked for a while.
    pub(crate) fn calm(core: &Core) {
        let now = core.clock.now();
        let mut last = core.panics.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.retain(|task, at| {
            let lasts = now.since(*at) <= CALM;
            if !lasts {
                core.conditions.clear(TASK_PANICS, task, now);
            }
            lasts
        });
    }
}

/// The waits between the restarts of a task.
#[derive(Debug, Default)]
pub(crate) struct Restarts {
    panics: u32,
    last: Option<Timestamp>,
}

impl Restarts {
    /// Returns the wait after a panic at `now`. It doubles while the task keeps panicking.
    pub(crate) fn wait(&mut self, now: Timestamp) -> Duration {
        if self.last.is_some_and(|last| now.since(last) > CALM) {
            self.panics = 0;
        }
        let wait = doubling(AGAIN.0, AGAIN.1, self.panics);
        (self.panics, self.last) = (self.panics.saturating_add(1), Some(now));
        wait
    }
}

/// Runs `work`, and restarts it after each panic, until it ends or the service stops.
pub(crate) async fn supervise<F, Fut>(core: std::sync::Arc<Core>, task: &'static str, weight: Task, stop: Shutdown, mut work: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = ()>,
{
    let mut restarts = Restarts::default();
    while let Err(text) = guarded(async { work().await }).await {
        Panics::note(&core, task, weight, &text);
        if stop.sleep(&core, restarts.wait(core.clock.now())).await {
            return;
        }
    }
}

/// Returns the result of `work`, a database call. A panic is returned as [`StoreError::Refused`], because a retry would not change it.
pub(crate) async fn asked<T>(
    core: &Core,
    task: &'static str,
    work: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    guarded(work).await.unwrap_or_else(|text| {
        Panics::note(core, task, Task::Helping, &text);
        Err(StoreError::Refused(format!("panic in {task}: {text}")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_while_a_task_panics_again_and_begin_anew_after_a_while() {
        let (mut restarts, mut now) = (Restarts::default(), Timestamp::from_millis(0));
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = restarts.wait(now);
            waits.push(wait.as_millis());
            now = now.after(wait);
        }
        assert_eq!(waits[..5], [100, 200, 400, 800, 1_600]);
        assert_eq!(waits[11], 30_000);
        assert_eq!(restarts.wait(now.after(CALM + Duration::from_secs(31))), AGAIN.0);
    }

    #[tokio::test]
    async fn what_a_panic_says_is_kept() {
        assert_eq!(guarded(async { 1 }).await, Ok(1));
        assert_eq!(guarded(async { panic!("no {}", "way") }).await, Err::<(), _>("no way".to_owned()));
        assert_eq!(guard(|| std::panic::panic_any(7_u8)), Err::<(), _>("no message".to_owned()));
    }
}
