//! Whether the log does its part: a service's lookout, which makes conditions of what lasts.
//!
//! Once a second it looks at what the subscription and the commits answer as errors, at partitions that have records
//! and give none, and at what the transport knows; every few minutes at the settings of the topics. What is seen for longer than a
//! moment is a condition of the service, with one line in the log at its beginning and one at its end. Nothing of this is on the way
//! of a message.

mod sight;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use tokio::sync::Mutex;

pub(crate) use self::sight::{Reading, Sight};
use super::{conditions::Severity, core::Core};
use crate::{
    engine::stall::{Look, Stalls},
    time::Timestamp,
    transport::{TopicExpectation, TopicFinding, Weight},
};

/// How often it looks.
const LOOK: Duration = Duration::from_secs(1);
/// What lasts this long is a condition.
const LASTING: Duration = Duration::from_secs(3);
/// A topic of which it cannot be learned for this long which log it is, is told.
const UNKNOWN: Duration = Duration::from_secs(30);
/// A transaction of a producer that is open for this long is told.
const OPEN: Duration = Duration::from_secs(10);
/// How often the settings of topics are looked at.
const SETTINGS: Duration = Duration::from_secs(300);
/// The same, after they could not be read.
const SETTINGS_AGAIN: Duration = Duration::from_secs(30);

/// What is seen at one look.
struct Seen {
    name: &'static str,
    subject: String,
    severity: Severity,
    detail: String,
    /// Since when; `None`: since it was seen first.
    since: Option<Timestamp>,
}

impl Seen {
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

/// What looks after the log for a service.
pub(crate) struct Lookout {
    core: Arc<Core>,
    topics: Vec<TopicExpectation>,
    stalls: Stalls,
    /// Transactions that stay open.
    open: Stalls,
    /// Since when each is seen, of those seen at the last look.
    seen: BTreeMap<(&'static str, String), Timestamp>,
    /// What the transport knew when it could be asked last.
    known: Vec<crate::transport::Condition>,
    /// Since when it cannot be asked.
    unreachable: Option<Timestamp>,
    settings_at: Timestamp,
    findings: Vec<TopicFinding>,
    noted: BTreeSet<(String, String)>,
}

/// The lookout of a service on `topics`.
pub(crate) fn new(core: Arc<Core>, topics: Vec<TopicExpectation>) -> Arc<Mutex<Lookout>> {
    Arc::new(Mutex::new(Lookout {
        topics,
        stalls: Stalls::default(),
        open: Stalls::default(),
        seen: BTreeMap::new(),
        known: Vec::new(),
        unreachable: None,
        settings_at: core.clock.now(),
        findings: Vec::new(),
        noted: BTreeSet::new(),
        core,
    }))
}

/// Looks, for ever. After a panic the next one knows what was seen.
pub(crate) async fn run(lookout: Arc<Mutex<Lookout>>) {
    let mut lookout = lookout.lock().await;
    loop {
        lookout.look().await;
        lookout.core.clock.sleep(LOOK).await;
    }
}

/// Why a service does not start on topics of which this was found.
pub(crate) fn refusals(findings: Vec<TopicFinding>) -> impl Iterator<Item = String> {
    let refused = findings.into_iter().filter(|finding| finding.weight == Weight::Error);
    refused.map(|finding| format!("topic `{}`: {}", finding.topic, finding.detail))
}

impl Lookout {
    async fn look(&mut self) {
        let mut seen = self.answers();
        seen.extend(self.stalled());
        seen.extend(self.behind_transactions());
        seen.extend(self.transport().await);
        seen.extend(self.unidentified());
        seen.extend(self.settings().await);
        self.tell(seen);
    }

    /// What is answered as an error again and again.
    fn answers(&self) -> Vec<Seen> {
        let (core, now) = (&self.core, self.core.clock.now());
        let mut seen = Vec::new();
        if let Some(failing) = core.sight.reading(now) {
            let detail = format!("the log gives no records to the group `{}`: {}", core.name, failing.error);
            seen.push(Seen::critical("log_unreadable", "", detail).since(failing.since));
        }
        if let Some(failing) = core.sight.commits() {
            let detail = format!(
                "the offsets of the group `{}` are not committed: {}; nothing is lost by it, since the database knows how far the \
                 service is, but the lag that the log shows is too large",
                core.name, failing.error
            );
            seen.push(Seen::warning("commits_failing", "", detail).since(failing.since));
        }
        seen
    }

    /// Partitions that have records and give none.
    fn stalled(&mut self) -> Vec<Seen> {
        let (now, patience) = (self.core.clock.now(), self.core.settings.stall_warning());
        let positions = self.core.sight.positions();
        let looks = positions.iter().map(|(lag, reading)| Look {
            partition: lag.partition.clone(),
            next: reading.and_then(|reading| reading.next).map_or(lag.committed, |next| next.max(lag.committed)),
            end: lag.end,
            wanted: reading.is_none_or(|reading| reading.wanted),
        });
        let stalled = self.stalls.look(looks, now, patience);
        let of = |stalled: crate::engine::stall::Stalled| {
            let own = positions.iter().any(|(lag, reading)| lag.partition == stalled.partition && reading.is_some());
            let partition = &stalled.partition;
            let waiting = stalled.end - stalled.next;
            let seconds = now.since(stalled.since).as_secs();
            let detail = match own {
                true => format!(
                    "{partition}: records from {} on wait, {waiting} offsets, and the log has given none of them for {seconds} s; see \
                     the other conditions and the log's own state, and restart the process when they show no cause",
                    stalled.next
                ),
                false => format!(
                    "{partition}: records from {} on wait, {waiting} offsets; the partition is not this process's, and no member of \
                     the group `{}` has committed any of them for {seconds} s: see that the group has no member that is not an \
                     instance of this service, and that its instances are ready",
                    stalled.next, self.core.name
                ),
            };
            // Whether another instance is only slow cannot be seen from here.
            let seen = if own { Seen::critical } else { Seen::warning };
            seen("partition_stalled", partition.to_string(), detail).since(stalled.since)
        };
        stalled.into_iter().map(of).collect()
    }

    /// Partitions whose records wait behind a transaction that stays open.
    fn behind_transactions(&mut self) -> Vec<Seen> {
        let clients = self.core.transport.statistics();
        let own = clients.iter().filter(|client| client.group.as_deref() == Some(&*self.core.name));
        let looks = own.flat_map(|client| &client.partitions).map(|known| Look {
            partition: known.partition.clone(),
            next: known.end,
            end: known.end.saturating_add(i64::try_from(known.blocked).unwrap_or(i64::MAX)),
            wanted: true,
        });
        let standing = self.open.look(looks, self.core.clock.now(), OPEN);
        let of = |standing: crate::engine::stall::Stalled| {
            let partition = &standing.partition;
            let detail = format!(
                "{partition}: {} offsets wait behind a transaction of a producer that has been open since offset {}; they are read when it \
                 commits or aborts, which the broker does at the latest after the producer's `transaction.timeout.ms`: find it with \
                 `kafka-transactions find-hanging`, and end it with `kafka-transactions abort`",
                standing.end - standing.next,
                standing.next
            );
            Seen::warning("open_transaction", partition.to_string(), detail).since(standing.since)
        };
        standing.into_iter().map(of).collect()
    }

    /// What the transport knows.
    async fn transport(&mut self) -> Vec<Seen> {
        let core = self.core.clone();
        let topics: Vec<_> = self.topics.iter().map(|topic| topic.name.clone()).collect();
        let mut seen = Vec::new();
        match core.transport.conditions(&core.name, &topics).await {
            Ok(known) => (self.known, self.unreachable) = (known, None),
            Err(error) => {
                let since = *self.unreachable.get_or_insert(core.clock.now());
                seen.push(Seen::critical("log_unreachable", "", error.to_string()).since(since));
            }
        }
        seen.extend(self.known.iter().map(|known| {
            let seen = Seen::critical(known.name, known.subject.clone(), known.detail.clone());
            Seen { severity: if known.critical { Severity::Critical } else { Severity::Warning }, ..seen }
        }));
        seen
    }

    /// Topics of which it cannot be learned which log they are.
    fn unidentified(&self) -> Vec<Seen> {
        // A log that answers nothing is told already.
        if self.unreachable.is_some() {
            return Vec::new();
        }
        let unknown = self.core.logs.unknown(self.core.clock.now(), UNKNOWN);
        let of = |(topic, since, why): (String, Timestamp, String)| {
            let detail = format!(
                "which log the topic `{topic}` is cannot be learned: {why}. Were it deleted and created again, that would be noticed only                  if it is shorter then than what was read"
            );
            Seen::warning("topic_identity_unknown", topic, detail).since(since)
        };
        unknown.into_iter().map(of).collect()
    }

    /// What the settings of the topics are.
    async fn settings(&mut self) -> Vec<Seen> {
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
            Seen { severity, ..Seen::critical("topic_setting", subject, detail) }.since(lasting)
        });
        seen.collect()
    }

    /// Makes conditions of what lasts, and ends those of what is not seen any more.
    fn tell(&mut self, seen: Vec<Seen>) {
        let (conditions, now) = (&self.core.conditions, self.core.clock.now());
        let mut before = std::mem::take(&mut self.seen);
        for Seen { name, subject, severity, detail, since } in seen {
            let key = (name, subject);
            // What is seen in two ways is one condition.
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
