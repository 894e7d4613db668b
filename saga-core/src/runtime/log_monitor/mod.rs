//! The log monitor of a service: raises conditions for problems of the log that last.
//!
//! Once a second it checks the errors of the subscription and of commits, the partitions that have records but deliver none, and the
//! conditions that the transport reports. Every few minutes it checks the settings of the topics. A problem that lasts longer than a moment
//! becomes a condition of the service, with one log line when it begins and one when it ends. None of this delays a message.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Mutex;

use super::{conditions::Severity, core::Core};
use crate::{
    engine::stall::{PartitionState, StallDetector},
    time::Timestamp,
    transport::{TopicExpectation, TopicFinding, Weight},
};

/// How often the log is checked.
const LOOK: Duration = Duration::from_secs(1);
/// How long a problem must last to become a condition.
const LASTING: Duration = Duration::from_secs(3);
/// How long the identity of a topic must be unknown before it is reported.
const UNKNOWN: Duration = Duration::from_secs(30);
/// How long a transaction of a producer must be open before it is reported.
const OPEN: Duration = Duration::from_secs(10);
/// How often the settings of topics are checked.
const SETTINGS: Duration = Duration::from_secs(300);
/// The same, after they could not be read.
const SETTINGS_AGAIN: Duration = Duration::from_secs(30);

/// A problem that one check has found.
struct Problem {
    name: &'static str,
    subject: String,
    severity: Severity,
    detail: String,
    /// When it began; `None` if that was when it was found first.
    since: Option<Timestamp>,
}

impl Problem {
    fn critical(name: &'static str, subject: impl Into<String>, detail: String) -> Self {
        Self { name, subject: subject.into(), severity: Severity::Critical, detail, since: None }
    }

    fn warning(name: &'static str, subject: impl Into<String>, detail: String) -> Self {
        Self { severity: Severity::Warning, ..Self::critical(name, subject, detail) }
    }

    fn since(mut self, since: Timestamp) -> Self {
        self.since = Some(since);
        self
    }
}

/// The log monitor of a service.
pub(crate) struct LogMonitor {
    core: Arc<Core>,
    topics: Vec<TopicExpectation>,
    stalls: StallDetector,
    /// Detects transactions that stay open.
    open: StallDetector,
    /// When each of the problems of the last check was found first.
    seen: BTreeMap<(&'static str, String), Timestamp>,
    /// The conditions that the transport reported when it last answered.
    known: Vec<crate::transport::Condition>,
    /// Since when the transport does not answer.
    unreachable: Option<Timestamp>,
    settings_at: Timestamp,
    findings: Vec<TopicFinding>,
    noted: BTreeSet<(String, String)>,
}

/// Creates the log monitor of a service that uses `topics`.
pub(crate) fn new(core: Arc<Core>, topics: Vec<TopicExpectation>) -> Arc<Mutex<LogMonitor>> {
    Arc::new(Mutex::new(LogMonitor {
        topics,
        stalls: StallDetector::default(),
        open: StallDetector::default(),
        seen: BTreeMap::new(),
        known: Vec::new(),
        unreachable: None,
        settings_at: core.clock.now(),
        findings: Vec::new(),
        noted: BTreeSet::new(),
        core,
    }))
}

/// Checks the log, forever. The mutex keeps what was found, so that the task continues with it after a panic.
pub(crate) async fn run(log_monitor: Arc<Mutex<LogMonitor>>) {
    let mut log_monitor = log_monitor.lock().await;
    loop {
        log_monitor.check().await;
        log_monitor.core.clock.sleep(LOOK).await;
    }
}

/// Returns the reasons why a service does not start with topics that have these findings.
pub(crate) fn refusals(findings: Vec<TopicFinding>) -> impl Iterator<Item = String> {
    let refused = findings.into_iter().filter(|finding| finding.weight == Weight::Error);
    refused.map(|finding| format!("topic `{}`: {}", finding.topic, finding.detail))
}

impl LogMonitor {
    async fn check(&mut self) {
        let mut seen = self.client_errors();
        seen.extend(self.stalled());
        seen.extend(self.behind_transactions());
        seen.extend(self.transport().await);
        seen.extend(self.unidentified());
        seen.extend(self.settings().await);
        self.update_conditions(seen);
    }

    /// Returns the errors that the subscription and the commits repeat.
    fn client_errors(&self) -> Vec<Problem> {
        let (core, now) = (&self.core, self.core.clock.now());
        let mut seen = Vec::new();
        if let Some(failing) = core.sight.reading(now) {
            let detail = format!("the log gives no records to the group `{}`: {}", core.name, failing.error);
            seen.push(Problem::critical("log_unreadable", "", detail).since(failing.since));
        }
        if let Some(failing) = core.sight.commits() {
            let detail = format!(
                "the offsets of the group `{}` are not committed: {}; nothing is lost, because the database has the applied offsets, but \
                 the lag that the log shows is larger than the real lag",
                core.name, failing.error
            );
            seen.push(Problem::warning("commits_failing", "", detail).since(failing.since));
        }
        seen
    }

    /// Returns the partitions that have records but deliver none.
    fn stalled(&mut self) -> Vec<Problem> {
        let (now, patience) = (self.core.clock.now(), self.core.settings.stall_warning());
        let positions = self.core.sight.positions();
        let looks = positions.iter().map(|(lag, reading)| PartitionState {
            partition: lag.partition.clone(),
            next: reading.and_then(|reading| reading.next).map_or(lag.committed, |next| next.max(lag.committed)),
            end: lag.end,
            wanted: reading.is_none_or(|reading| reading.wanted),
        });
        let stalled = self.stalls.update(looks, now, patience);
        let of = |stalled: crate::engine::stall::Stalled| {
            let own = positions.iter().any(|(lag, reading)| lag.partition == stalled.partition && reading.is_some());
            let partition = self.core.partition_in_log(&stalled.partition);
            let waiting = stalled.end - stalled.next;
            let seconds = now.since(stalled.since).as_secs();
            let detail = match own {
                true => format!(
                    "{partition}: records from offset {} on are not read (lag {waiting}), and the log has given none of them for {seconds} s; see \
                     the other conditions and the log's own state, and restart the process when they show no cause",
                    stalled.next
                ),
                false => format!(
                    "{partition}: records from offset {} on are not read (lag {waiting}); another process owns the partition, and no member of \
                     the group `{}` has committed any of them for {seconds} s: check that every member of the group is a process of \
                     this service, and that each is ready",
                    stalled.next, self.core.name
                ),
            };
            // For a partition of another process, this one cannot distinguish slow from stalled.
            let seen = if own { Problem::critical } else { Problem::warning };
            seen("partition_stalled", partition.to_string(), detail).since(stalled.since)
        };
        stalled.into_iter().map(of).collect()
    }

    /// Returns the partitions whose records wait behind an open transaction.
    fn behind_transactions(&mut self) -> Vec<Problem> {
        let clients = self.core.transport.statistics();
        let own = clients.iter().filter(|client| client.group.as_deref() == Some(&*self.core.name));
        let looks = own.flat_map(|client| &client.partitions).map(|known| PartitionState {
            partition: known.partition.clone(),
            next: known.end,
            end: known.end.saturating_add(i64::try_from(known.blocked).unwrap_or(i64::MAX)),
            wanted: true,
        });
        let standing = self.open.update(looks, self.core.clock.now(), OPEN);
        let of = |standing: crate::engine::stall::Stalled| {
            let partition = self.core.partition_in_log(&standing.partition);
            let detail = format!(
                "{partition}: {} offsets wait behind a transaction of a producer that has been open since offset {}; they are read when it \
                 commits or aborts, which the broker does at the latest after the producer's `transaction.timeout.ms`: find it with \
                 `kafka-transactions find-hanging`, and end it with `kafka-transactions abort`",
                standing.end - standing.next,
                standing.next
            );
            Problem::warning("open_transaction", partition.to_string(), detail).since(standing.since)
        };
        standing.into_iter().map(of).collect()
    }

    /// Returns the conditions that the transport reports.
    async fn transport(&mut self) -> Vec<Problem> {
        let core = self.core.clone();
        let topics: Vec<_> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut seen = Vec::new();
        match core.transport.conditions(&core.name, &topics).await {
            Ok(known) => {
                self.known = known;
                // The settings could not be checked meanwhile.
                if self.unreachable.take().is_some() {
                    self.settings_at = core.clock.now();
                }
            }
            Err(error) => {
                let since = *self.unreachable.get_or_insert(core.clock.now());
                seen.push(Problem::critical("log_unreachable", "", error.to_string()).since(since));
            }
        }
        seen.extend(self.known.iter().map(|known| {
            let seen = Problem::critical(known.name, known.subject.clone(), known.detail.clone());
            Problem { severity: if known.critical { Severity::Critical } else { Severity::Warning }, ..seen }
        }));
        seen
    }

    /// Returns the topics whose identity cannot be determined.
    fn unidentified(&self) -> Vec<Problem> {
        // A log that does not answer is reported already.
        if self.unreachable.is_some() {
            return Vec::new();
        }
        let unknown = self.core.logs.unknown(self.core.clock.now(), UNKNOWN);
        let of = |(topic, since, why): (String, Timestamp, String)| {
            let topic = self.core.name_in_log(&topic).into_owned();
            let detail = format!(
                "the identity of the topic `{topic}` cannot be read: {why}. If the topic is deleted and created again, the service notices \
                 it only if the new topic is shorter than what was read"
            );
            Problem::warning("topic_identity_unknown", topic, detail).since(since)
        };
        unknown.into_iter().map(of).collect()
    }

    /// Returns the findings on the settings of the topics.
    async fn settings(&mut self) -> Vec<Problem> {
        let now = self.core.clock.now();
        if self.settings_at <= now {
            match self.core.transport.check_topics(&self.topics).await {
                Ok(findings) => (self.findings, self.settings_at) = (findings, now.after(SETTINGS)),
                Err(_) => self.settings_at = now.after(SETTINGS_AGAIN),
            }
            for note in self.findings.iter().filter(|finding| finding.weight == Weight::Note) {
                if self.noted.insert((note.topic.clone(), note.setting.clone())) {
                    tracing::info!(service = &*self.core.name, topic = note.topic, setting = note.setting, "{}", note.detail);
                }
            }
        }
        let lasting = Timestamp::from_millis(i64::MIN);
        let seen = self.findings.iter().filter(|finding| finding.weight != Weight::Note).map(|finding| {
            let subject = format!("{} {}", finding.topic, finding.setting);
            let detail = format!("topic `{}`: {}", finding.topic, finding.detail);
            let severity = if finding.weight == Weight::Error { Severity::Critical } else { Severity::Warning };
            Problem { severity, ..Problem::critical("topic_setting", subject, detail) }.since(lasting)
        });
        seen.collect()
    }

    /// Raises conditions for problems that last, and clears those of problems that were not found again.
    fn update_conditions(&mut self, seen: Vec<Problem>) {
        let (conditions, now) = (&self.core.conditions, self.core.clock.now());
        let mut before = std::mem::take(&mut self.seen);
        for Problem { name, subject, severity, detail, since } in seen {
            let key = (name, subject);
            // A problem that is found in two ways is one condition.
            if self.seen.contains_key(&key) {
                continue;
            }
            let first = before.remove(&key);
            let since = since.or(first).unwrap_or(now).min(now);
            if now.since(since) >= LASTING {
                conditions.raise(name, &key.1, severity, detail, now);
            }
            self.seen.insert(key, since);
        }
        for (name, subject) in before.into_keys() {
            conditions.clear(name, &subject, now);
        }
    }
}
