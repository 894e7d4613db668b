//! Conditions: lasting problems of a service, each with a name and a subject.
//!
//! A transient failure is logged where it happens. A lasting one becomes a condition: it is logged once when it begins and once when it
//! ends, it is counted in a metric, and health shows it with its cause and what to do. A critical condition makes the service not ready.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use serde::Serialize;

use super::{
    health::{CheckResult, Status},
    metrics::{Metrics, condition_gauge},
};
use crate::time::Timestamp;

/// Whether a service can do its work while a condition holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Severity {
    /// It can: health is degraded, and the service stays ready.
    Warning,
    /// It cannot: the service is not ready.
    Critical,
}

/// A condition, as health shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Condition {
    /// The condition's name: lower-case words joined by `_`. The documentation lists all names.
    pub(crate) condition: &'static str,
    /// The subject: a topic, a partition, a key or a table. Empty if the condition concerns the whole service.
    pub(crate) subject: String,
    pub(crate) severity: Severity,
    /// What is wrong, where, and how to fix it, as a sentence without secrets.
    pub(crate) detail: String,
    pub(crate) since: Timestamp,
}

/// The conditions of one service.
pub(crate) struct Conditions {
    service: Arc<str>,
    metrics: Metrics,
    present: Mutex<BTreeMap<(&'static str, String), Condition>>,
}

impl Conditions {
    pub(crate) fn new(service: Arc<str>, metrics: Metrics) -> Self {
        Self { service, metrics, present: Mutex::default() }
    }

    fn present(&self) -> MutexGuard<'_, BTreeMap<(&'static str, String), Condition>> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records that the condition `name` holds for `subject`. If it holds already, it keeps its start time and takes the new detail.
    pub(crate) fn raise(&self, name: &'static str, subject: &str, severity: Severity, detail: impl Into<String>, now: Timestamp) {
        let detail = detail.into();
        let mut present = self.present();
        let key = (name, subject.to_owned());
        let known = present.get(&key);
        let worse = known.is_none_or(|known| severity > known.severity);
        let since = known.map_or(now, |known| known.since);
        if worse {
            match severity {
                Severity::Critical => tracing::error!(service = &*self.service, condition = name, subject, "{detail}"),
                Severity::Warning => tracing::warn!(service = &*self.service, condition = name, subject, "{detail}"),
            }
        }
        present.insert(key, Condition { condition: name, subject: subject.to_owned(), severity, detail, since });
        self.count(name, &present);
    }

    /// Records that the condition `name` no longer holds for `subject`.
    pub(crate) fn clear(&self, name: &'static str, subject: &str, now: Timestamp) {
        let mut present = self.present();
        if let Some(over) = present.remove(&(name, subject.to_owned())) {
            let lasted = now.since(over.since).as_secs();
            tracing::info!(service = &*self.service, condition = name, subject, lasted_seconds = lasted, "the condition is over");
            self.count(name, &present);
        }
    }

    /// Returns whether the condition `name` holds for any subject.
    pub(crate) fn has(&self, name: &'static str) -> bool {
        self.count_of(name) > 0
    }

    /// Returns for how many subjects the condition `name` holds.
    pub(crate) fn count_of(&self, name: &'static str) -> usize {
        self.present().keys().filter(|(known, _)| *known == name).count()
    }

    /// Returns the subjects for which the condition `name` holds.
    pub(crate) fn subjects(&self, name: &'static str) -> Vec<String> {
        self.present().keys().filter(|(known, _)| *known == name).map(|(_, subject)| subject.clone()).collect()
    }

    /// Clears the condition `name` for every subject for which `lasts` returns false.
    pub(crate) fn retain(&self, name: &'static str, lasts: impl Fn(&str) -> bool, now: Timestamp) {
        self.subjects(name).iter().filter(|subject| !lasts(subject)).for_each(|subject| self.clear(name, subject, now));
    }

    /// Makes the condition `name` hold for exactly these subjects, each with its severity and detail.
    pub(crate) fn set(&self, name: &'static str, holds: impl IntoIterator<Item = (String, Severity, String)>, now: Timestamp) {
        let mut over = self.subjects(name);
        for (subject, severity, detail) in holds {
            over.retain(|known| *known != subject);
            self.raise(name, &subject, severity, detail, now);
        }
        over.iter().for_each(|subject| self.clear(name, subject, now));
    }

    /// Returns all current conditions, ordered by name and subject.
    pub(crate) fn all(&self) -> Vec<Condition> {
        self.present().values().cloned().collect()
    }

    /// Returns the health check of the conditions.
    pub(crate) fn check(&self) -> CheckResult {
        let all = self.all();
        let worst = all.iter().map(|condition| condition.severity).max();
        let mut result = CheckResult::up();
        result.status = match worst {
            None => Status::Up,
            Some(Severity::Warning) => Status::Degraded,
            Some(Severity::Critical) => Status::Down,
        };
        if !all.is_empty() {
            result.detail = Some(all.iter().map(|condition| condition.detail.as_str()).collect::<Vec<_>>().join("; "));
        }
        result.with("conditions", serde_json::to_value(&all).unwrap_or_default())
    }

    fn count(&self, name: &'static str, present: &BTreeMap<(&'static str, String), Condition>) {
        let count = present.keys().filter(|(known, _)| *known == name).count();
        condition_gauge(&self.metrics, name).set_count(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conditions() -> (Conditions, Metrics) {
        let metrics = Metrics::new("s");
        (Conditions::new("s".into(), metrics.clone()), metrics)
    }

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn the_worst_condition_decides_health() {
        let (conditions, _) = conditions();
        assert_eq!(conditions.check().status, Status::Up);
        conditions.raise("clock_skew", "", Severity::Warning, "the clocks differ", at(1));
        assert_eq!(conditions.check().status, Status::Degraded);
        conditions.raise("log_unreadable", "orders", Severity::Critical, "no rights", at(2));
        let check = conditions.check();
        assert_eq!((check.status, check.detail.as_deref()), (Status::Down, Some("the clocks differ; no rights")));
        conditions.clear("log_unreadable", "orders", at(3));
        assert_eq!(conditions.check().status, Status::Degraded);
    }

    #[test]
    fn a_condition_keeps_its_beginning_and_takes_the_new_detail() {
        let (conditions, _) = conditions();
        conditions.raise("clock_skew", "", Severity::Warning, "2 s", at(1));
        conditions.raise("clock_skew", "", Severity::Warning, "3 s", at(9));
        let all = conditions.all();
        assert_eq!((all.len(), all[0].since, all[0].detail.as_str()), (1, at(1), "3 s"));
    }

    #[test]
    fn those_of_one_name_are_set_together() {
        let (conditions, metrics) = conditions();
        let holds = |subjects: &[&str]| {
            let holds =
                subjects.iter().map(|subject| ((*subject).to_owned(), Severity::Warning, format!("{subject} stands still")));
            holds.collect::<Vec<_>>()
        };
        conditions.set("partition_stalled", holds(&["orders-0", "orders-1"]), at(1));
        conditions.raise("clock_skew", "", Severity::Warning, "2 s", at(1));
        conditions.set("partition_stalled", holds(&["orders-1"]), at(2));
        let names: Vec<_> = conditions.all().into_iter().map(|condition| condition.subject).collect();
        assert_eq!(names, ["", "orders-1"]);
        let text = metrics.render();
        assert!(text.contains(r#"sagas_conditions{service="s",condition="partition_stalled"} 1"#), "{text}");
        conditions.set("partition_stalled", holds(&[]), at(3));
        assert!(metrics.render().contains(r#"sagas_conditions{service="s",condition="partition_stalled"} 0"#));
    }
}
