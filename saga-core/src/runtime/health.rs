//! Health of a service: named checks, run side by side, each with a time limit, so that an answer comes whatever is broken.
//!
//! Three questions are answered apart. *Live*: does the process still run its tasks; asking is the check. *Ready*: can it take
//! work; the needed checks decide ([`Health::check`]). *Health*: everything, with what is only worth knowing
//! ([`Health::watch`]), such as lag or parked keys.
//!
//! ```
//! # use saga_core::runtime::health::{CheckResult, Health, Status};
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! let health = Health::new();
//! health.check("gateway", || Box::pin(async { CheckResult::down("connection refused") }));
//! health.watch("backlog", || Box::pin(async { CheckResult::up().with("orders", 12) }));
//! assert_eq!(health.ready().await.status, Status::Down);
//! assert_eq!(health.report().await.checks["backlog"].status, Status::Up);
//! # });
//! ```

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use serde::Serialize;
use tokio::task::JoinSet;

/// How long a check may take. Short of two seconds, in which the whole answer is promised.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How something is doing. Ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = HealthStatus))]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// As it should.
    Up,
    /// Working, and somebody should look.
    Degraded,
    /// Not working.
    Down,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = HealthCheck))]
#[non_exhaustive]
pub struct CheckResult {
    /// How it is doing.
    pub status: Status,
    /// Why, in a sentence; no secrets, it is shown to whoever asks.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(nullable = false))]
    pub detail: Option<String>,
    /// Numbers and names that belong to it.
    #[serde(flatten)]
    pub values: BTreeMap<String, serde_json::Value>,
}

impl CheckResult {
    /// As it should be.
    pub fn up() -> Self {
        Self { status: Status::Up, detail: None, values: BTreeMap::new() }
    }

    /// Working, and somebody should look, for this reason.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self { status: Status::Degraded, detail: Some(detail.into()), values: BTreeMap::new() }
    }

    /// Not working, for this reason.
    pub fn down(detail: impl Into<String>) -> Self {
        Self { status: Status::Down, detail: Some(detail.into()), values: BTreeMap::new() }
    }

    /// Adds a value that belongs to it. `status` and `detail` are taken.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        let name = name.into();
        debug_assert!(name != "status" && name != "detail", "`{name}` is a field of every check; use another name");
        self.values.insert(name, value.into());
        self
    }
}

/// The answer: the worst of the checks, and each of them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HealthReport {
    /// The worst status of all checks, where a check that is only watched counts as [`Status::Degraded`] at most.
    pub status: Status,
    /// The checks, by name.
    pub checks: BTreeMap<String, CheckResult>,
}

#[derive(Clone)]
struct Check {
    needed: bool,
    run: Arc<dyn Fn() -> BoxFuture<'static, CheckResult> + Send + Sync>,
}

#[derive(Default)]
struct Shared {
    checks: RwLock<BTreeMap<String, Check>>,
    stopping: AtomicBool,
}

/// The checks of a service. Cheap to clone; clones share the checks.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

impl Health {
    /// No checks yet: healthy.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check without which the service cannot take work; replaces the one of the same name. It is given up, and counts
    /// as [`Status::Down`], after 1.5 seconds, and when it panics.
    pub fn check<F>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static,
    {
        self.insert(name.into(), Check { needed: true, run: Arc::new(check) });
    }

    /// Adds something worth knowing, which does not decide whether the service can take work; replaces what has the same name.
    /// The same limits apply.
    pub fn watch<F>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static,
    {
        self.insert(name.into(), Check { needed: false, run: Arc::new(check) });
    }

    /// From now on the service is not ready, because it is stopping.
    pub fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Whether the service can take work: the needed checks. Answers within two seconds.
    pub async fn ready(&self) -> HealthReport {
        self.run(|check| check.needed).await
    }

    /// All checks. Answers within two seconds.
    pub async fn report(&self) -> HealthReport {
        self.run(|_| true).await
    }

    fn insert(&self, name: String, check: Check) {
        self.0.checks.write().unwrap_or_else(PoisonError::into_inner).insert(name, check);
    }

    async fn run(&self, wanted: impl Fn(&Check) -> bool) -> HealthReport {
        let checks: Vec<_> = {
            let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner);
            checks.iter().filter(|(_, check)| wanted(check)).map(|(name, check)| (name.clone(), check.clone())).collect()
        };
        let results = join_all(checks.into_iter().map(async |(name, check)| {
            let result = bounded(&check).await;
            (name, check.needed, result)
        }))
        .await;

        let mut report = HealthReport { status: Status::Up, checks: BTreeMap::new() };
        for (name, needed, result) in results {
            report.status = report.status.max(if needed { result.status } else { result.status.min(Status::Degraded) });
            report.checks.insert(name, result);
        }
        if self.0.stopping.load(Ordering::Acquire) {
            report.status = Status::Down;
            report.checks.insert("running".to_owned(), CheckResult::down("the service is stopping"));
        }
        report
    }
}

impl fmt::Debug for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let checks = self.0.checks.read().unwrap_or_else(PoisonError::into_inner);
        f.debug_set().entries(checks.keys()).finish()
    }
}

/// Runs a check as a task of its own, so that one that panics is only a failed check. The task is aborted when its time is
/// over, and when nobody waits for the answer any more.
async fn bounded(check: &Check) -> CheckResult {
    let run = check.run.clone();
    let mut task = JoinSet::new();
    task.spawn(async move { run().await });
    match tokio::time::timeout(CHECK_TIMEOUT, task.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(_) => CheckResult::down("the check itself failed"),
        Err(_) => CheckResult::down(format!("no answer within {} ms", CHECK_TIMEOUT.as_millis())),
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn found(result: CheckResult) -> impl Fn() -> BoxFuture<'static, CheckResult> {
        move || {
            let result = result.clone();
            Box::pin(async move { result })
        }
    }

    #[tokio::test]
    async fn without_checks_it_is_up() {
        assert_eq!(Health::new().report().await, HealthReport { status: Status::Up, checks: BTreeMap::new() });
    }

    #[tokio::test]
    async fn the_worst_needed_check_decides() {
        for (results, expected) in [
            (vec![CheckResult::up(), CheckResult::up()], Status::Up),
            (vec![CheckResult::up(), CheckResult::degraded("slow")], Status::Degraded),
            (vec![CheckResult::down("gone"), CheckResult::degraded("slow")], Status::Down),
        ] {
            let health = Health::new();
            for (n, result) in results.into_iter().enumerate() {
                health.check(format!("check {n}"), found(result));
            }
            assert_eq!(health.ready().await.status, expected);
        }
    }

    #[tokio::test]
    async fn what_is_watched_degrades_and_never_makes_unready() {
        let health = Health::new();
        health.watch("lag", found(CheckResult::down("far behind")));
        assert_eq!(health.report().await.status, Status::Degraded);
        let ready = health.ready().await;
        assert_eq!((ready.status, ready.checks.len()), (Status::Up, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn checks_that_hang_are_given_up_side_by_side() {
        let health = Health::new();
        for n in 0..10 {
            health.check(format!("check {n}"), || Box::pin(pending()));
        }
        let before = tokio::time::Instant::now();
        let report = tokio::time::timeout(Duration::from_secs(2), health.report()).await.expect("an answer within two seconds");
        assert_eq!(before.elapsed().as_millis() / 100, 15);
        assert_eq!(report.checks["check 7"], CheckResult::down("no answer within 1500 ms"));
    }

    #[tokio::test]
    async fn a_check_that_panics_is_down_and_the_others_answer() {
        let health = Health::new();
        health.check("broken", || Box::pin(async { panic!("a bug in a check") }));
        health.check("sound", found(CheckResult::up()));
        let report = health.report().await;
        assert_eq!(report.checks["broken"], CheckResult::down("the check itself failed"));
        assert_eq!(report.checks["sound"].status, Status::Up);
    }

    #[tokio::test]
    async fn stopping_makes_unready() {
        let health = Health::new();
        health.check("database", found(CheckResult::up()));
        health.clone().set_stopping();
        assert_eq!(health.ready().await.status, Status::Down);
    }

    #[tokio::test]
    async fn the_report_reads_as_json() {
        let health = Health::new();
        health.check("database", found(CheckResult::down("busy").with("waiting", 3)));
        let json = serde_json::to_value(health.report().await).expect("serializes");
        let expected = serde_json::json!({
            "status": "DOWN",
            "checks": {"database": {"status": "DOWN", "detail": "busy", "waiting": 3}},
        });
        assert_eq!(json, expected);
    }
}
