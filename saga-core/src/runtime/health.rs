//! Health of a service: named checks that run concurrently, each with a time limit, so that there is always an answer in time.
//!
//! There are three questions. *Live*: does the process still run its tasks? An answer is enough. *Ready*: can the service take work? The
//! required checks decide ([`Health::check`]). *Health*: all checks, including those that are only informative ([`Health::watch`]), such as
//! the lag or the parked keys.
//!
//! Anybody can ask, as often as they like, so a check that queries something runs at most once a second: all callers share its result.
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
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::{
    FutureExt,
    future::{BoxFuture, Shared as SharedFuture, join_all},
};
use serde::Serialize;
use tokio::{task::JoinSet, time::Instant};

/// The time limit of a check. It is below the two seconds in which the whole report is promised.
const CHECK_TIMEOUT: Duration = Duration::from_millis(1_500);

/// How long all callers share the result of a run, from its begin.
const SHARED: Duration = Duration::from_secs(1);

/// The status of a check or of a service, ordered from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = HealthStatus))]
#[serde(rename_all = "UPPERCASE")]
pub enum Status {
    /// Works normally.
    Up,
    /// Works, but needs attention.
    Degraded,
    /// Does not work.
    Down,
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "schema", schema(as = HealthCheck))]
#[non_exhaustive]
pub struct CheckResult {
    /// The status.
    pub status: Status,
    /// The reason, as a sentence. The routes show it to operators only; still it must not contain secrets.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schema(nullable = false))]
    pub detail: Option<String>,
    /// Additional values.
    #[serde(flatten)]
    pub values: BTreeMap<String, serde_json::Value>,
}

impl CheckResult {
    /// Creates a result with [`Status::Up`].
    pub fn up() -> Self {
        Self { status: Status::Up, detail: None, values: BTreeMap::new() }
    }

    /// Creates a result with [`Status::Degraded`] and the reason.
    pub fn degraded(detail: impl Into<String>) -> Self {
        Self { status: Status::Degraded, detail: Some(detail.into()), values: BTreeMap::new() }
    }

    /// Creates a result with [`Status::Down`] and the reason.
    pub fn down(detail: impl Into<String>) -> Self {
        Self { status: Status::Down, detail: Some(detail.into()), values: BTreeMap::new() }
    }

    /// Adds a value. The names `status` and `detail` are reserved.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<serde_json::Value>) -> Self {
        let name = name.into();
        debug_assert!(name != "status" && name != "detail", "`{name}` is a field of every check; use another name");
        self.values.insert(name, value.into());
        self
    }
}

/// The health of a service: its overall status and each check.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "schema", derive(utoipa::ToSchema))]
#[non_exhaustive]
pub struct HealthReport {
    /// The worst status of all checks. A check added with [`Health::watch`] counts as [`Status::Degraded`] at most.
    pub status: Status,
    /// The results, by the name of the check.
    pub checks: BTreeMap<String, CheckResult>,
}

impl HealthReport {
    /// Returns what a caller who is no operator sees: the names of the checks, each with its status.
    #[must_use]
    pub fn without_details(mut self) -> Self {
        for check in self.checks.values_mut() {
            (check.detail, check.values) = (None, BTreeMap::new());
        }
        self
    }
}

#[derive(Clone)]
struct Check {
    needed: bool,
    run: Arc<dyn Fn() -> BoxFuture<'static, CheckResult> + Send + Sync>,
    /// The latest run, with the time at which it began; `None` for a check that runs for each caller.
    latest: Option<Arc<Mutex<Latest>>>,
}

type Latest = Option<(Instant, Run)>;

/// A run of a check. Every caller gets its result.
type Run = SharedFuture<BoxFuture<'static, CheckResult>>;

#[derive(Default)]
struct Shared {
    checks: RwLock<BTreeMap<String, Check>>,
    stopping: AtomicBool,
}

/// The checks of a service. It is cheap to clone, and clones share the checks.
#[derive(Clone, Default)]
pub struct Health(Arc<Shared>);

impl Health {
    /// Creates a health without checks. Its status is [`Status::Up`].
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a required check: while it is [`Status::Down`], the service is not ready. It replaces a check of the same name. A check that
    /// takes longer than 1.5 seconds or panics counts as [`Status::Down`].
    ///
    /// All callers share its result for one second, and it never runs twice at the same time.
    pub fn check<F>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static,
    {
        self.insert(name.into(), Check { needed: true, run: Arc::new(check), latest: Some(Arc::default()) });
    }

    /// Adds an informative check, which does not affect whether the service is ready. It replaces a check of the same name. The time limit
    /// and the sharing are the same.
    pub fn watch<F>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static,
    {
        self.insert(name.into(), Check { needed: false, run: Arc::new(check), latest: Some(Arc::default()) });
    }

    /// Like [`check`](Self::check), for a check that only looks at memory. It runs for each caller.
    pub(crate) fn check_memory<F>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static,
    {
        self.insert(name.into(), Check { needed: true, run: Arc::new(check), latest: None });
    }

    /// Like [`watch`](Self::watch), for a check that only looks at memory. It runs for each caller.
    pub(crate) fn watch_memory<F>(&self, name: impl Into<String>, check: F)
    where
        F: Fn() -> BoxFuture<'static, CheckResult> + Send + Sync + 'static,
    {
        self.insert(name.into(), Check { needed: false, run: Arc::new(check), latest: None });
    }

    /// Returns whether the service is stopping.
    #[cfg(feature = "sql")]
    pub(crate) fn is_stopping(&self) -> bool {
        self.0.stopping.load(Ordering::Acquire)
    }

    /// Marks the service as stopping: from now on it is not ready.
    pub fn set_stopping(&self) {
        self.0.stopping.store(true, Ordering::Release);
    }

    /// Returns the results of the required checks, which decide whether the service can take work. Returns within two seconds.
    pub async fn ready(&self) -> HealthReport {
        self.run(|check| check.needed).await
    }

    /// Returns whether the service can take work: no required check is down. Returns within two seconds.
    pub async fn is_ready(&self) -> bool {
        self.ready().await.status != Status::Down
    }

    /// Returns the results of all checks. Returns within two seconds.
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
            let result = check.result().await;
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

impl Check {
    async fn result(&self) -> CheckResult {
        match &self.latest {
            Some(latest) => {
                let run = self.shared(&mut latest.lock().unwrap_or_else(PoisonError::into_inner));
                run.await
            }
            None => bounded(self.run.clone()).await,
        }
    }

    /// Returns the latest run if it has not ended or is recent enough, else begins one. Its task continues when callers stop waiting, so
    /// that requests that are given up at once do not make it run more often.
    fn shared(&self, latest: &mut Option<(Instant, Run)>) -> Run {
        let now = Instant::now();
        if let Some((began, run)) = latest.as_ref()
            && (run.peek().is_none() || now.duration_since(*began) < SHARED)
        {
            return run.clone();
        }
        let task = tokio::spawn(bounded(self.run.clone()));
        let run = async move { task.await.unwrap_or_else(|_| broken()) }.boxed().shared();
        *latest = Some((now, run.clone()));
        run
    }
}

/// Runs a check as a separate task, so that a panic only fails the check. The task is aborted at the time limit, and when the caller stops
/// waiting.
async fn bounded(run: Arc<dyn Fn() -> BoxFuture<'static, CheckResult> + Send + Sync>) -> CheckResult {
    let mut task = JoinSet::new();
    task.spawn(async move { run().await });
    match tokio::time::timeout(CHECK_TIMEOUT, task.join_next()).await {
        Ok(Some(Ok(result))) => result,
        Ok(_) => broken(),
        Err(_) => CheckResult::down(format!("no answer within {} ms", CHECK_TIMEOUT.as_millis())),
    }
}

fn broken() -> CheckResult {
    CheckResult::down("the check itself failed")
}

#[cfg(test)]
mod tests {
    use std::{future::pending, sync::atomic::AtomicUsize};

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

    /// Adds a check that takes `takes`. Returns how often it ran.
    fn counted(health: &Health, takes: Duration) -> Arc<AtomicUsize> {
        let runs = Arc::new(AtomicUsize::new(0));
        let counter = runs.clone();
        health.check("database", move || {
            counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                tokio::time::sleep(takes).await;
                CheckResult::up()
            })
        });
        runs
    }

    #[tokio::test(start_paused = true)]
    async fn callers_share_a_run_for_a_second() {
        let health = Health::new();
        let runs = counted(&health, Duration::from_millis(300));
        let asked = async |times: usize| {
            let reports = join_all((0..times).map(async |_| health.ready().await)).await;
            assert!(reports.iter().all(|report| report.checks["database"] == CheckResult::up()));
            runs.load(Ordering::SeqCst)
        };
        assert_eq!(asked(300).await, 1, "side by side");
        assert_eq!(asked(300).await, 1, "within the second");
        assert_eq!(health.report().await.status, Status::Up);
        assert_eq!(runs.load(Ordering::SeqCst), 1, "another question");
        tokio::time::advance(SHARED).await;
        assert_eq!(asked(300).await, 2, "after it");
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_go_away_do_not_make_a_check_run_more_often() {
        let health = Health::new();
        // It takes longer than its result is shared.
        let runs = counted(&health, Duration::from_millis(1_400));
        for _ in 0..13 {
            let given_up = tokio::time::timeout(Duration::from_millis(100), health.ready()).await;
            assert!(given_up.is_err());
        }
        assert_eq!(health.ready().await.status, Status::Up);
        assert_eq!(runs.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_in_memory_is_looked_at_each_time() {
        let (health, runs) = (Health::new(), Arc::new(AtomicUsize::new(0)));
        let counter = runs.clone();
        health.check_memory("conditions", move || {
            let run = counter.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move { if run == 0 { CheckResult::up() } else { CheckResult::down("gone") } })
        });
        assert_eq!(health.ready().await.status, Status::Up);
        assert_eq!(health.ready().await.status, Status::Down);
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
