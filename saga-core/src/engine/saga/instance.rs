//! An instance of a saga, as its tracker sees it: a fold of the saga's events, in any order.
//!
//! Kafka guarantees order only within one partition of one topic. So the state of an instance depends on *which* events were seen, and not
//! on their order. The state ([`InstanceState`]) only moves forward.

mod allowed;
mod given_up;
mod outlook;
mod timers;

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{
    message::TraceContext,
    saga::{Definition, InstanceKey, InstanceRecord, InstanceState, Step},
    time::Timestamp,
};

pub use given_up::{GivenUp, Unsent};
pub use outlook::Outstanding;
pub use timers::Firing;

/// An instance of a saga, as its tracker sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// The identity of the instance.
    pub key: InstanceKey,
    /// The version of the saga in which it started.
    pub version: u32,
    /// The state of the instance.
    pub state: InstanceState,
    /// The reason why the instance cannot continue without an operator, if any.
    pub attention: Option<String>,
    /// When the tracker saw the instance start.
    pub started_at: Timestamp,
    /// When the instance last changed.
    pub updated_at: Timestamp,
    /// When the instance ended; `None` while something is outstanding.
    pub ended_at: Option<Timestamp>,
    /// The remaining state.
    pub body: Body,
}

/// The part of an instance's state that is stored as JSON and not in columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Body {
    /// The correlation id of the instance's messages.
    pub correlation_id: String,
    /// The events that were seen, by name: message id, and when they were published.
    pub seen: BTreeMap<String, Seen>,
    /// The steps that an operator has declared settled.
    pub skipped: Vec<String>,
    /// Whether the race between the pivot and the abort was decided when the timers were last set.
    pub decided: bool,
    /// When each timer is due: by step, or by the empty name for the deadline of the instance.
    pub timers: BTreeMap<String, Timestamp>,
    /// The number of failed attempts of the deadline's handler.
    pub attempts: u32,
    /// The number of events that the saga does not allow.
    pub not_allowed: u32,
    /// The number of history entries for events that did not change the instance.
    pub remarks: u32,
    /// The reason of an operator who gave the instance up. It is aborted when its timer is due.
    pub given_up: Option<String>,
    /// Whether an operator has ended the instance: later events are recorded, and nothing more is expected.
    pub ended_by_hand: bool,
    /// What participants have given up and the instance still needs.
    pub stopped: Vec<GivenUp>,
    /// The span in which the instance started. Timers and operations continue its trace.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// Reads an unreadable trace context as none: it must not make the whole instance unreadable.
fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TraceContext>, D::Error> {
    let kept = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(kept).ok())
}

/// An event that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its message id.
    pub id: String,
    /// When it was published, as its sender states; for display.
    pub at: Timestamp,
}

/// An event of the saga that the tracker receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventSeen<'s> {
    /// Its name.
    pub event: &'s str,
    /// Its message id.
    pub id: &'s str,
    /// When it was published, as its sender states; for display.
    pub at: Timestamp,
}

/// The result of observing an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Observation {
    /// It changed the instance.
    Moved,
    /// The same message was seen before.
    Known,
    /// The saga does not allow it, for this reason.
    NotAllowed(String),
}

/// What happens to a history entry for an event that did not change the instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// It is stored.
    Kept,
    /// It is stored, as the last one.
    Last,
    /// It is not stored.
    Dropped,
}

/// The most history entries of one instance for events that did not change it.
///
/// Entries for other events are limited by the number of the saga's events, and entries for operations are made by hand. These, however,
/// are as many as any producer sends.
pub const REMARKS: u32 = 200;

impl Instance {
    /// Counts an event that did not change the instance, and returns what happens to its history entry.
    pub fn remark(&mut self) -> Remark {
        self.body.remarks = self.body.remarks.saturating_add(1);
        match self.body.remarks.cmp(&REMARKS) {
            std::cmp::Ordering::Less => Remark::Kept,
            std::cmp::Ordering::Equal => Remark::Last,
            std::cmp::Ordering::Greater => Remark::Dropped,
        }
    }

    /// Creates an instance that starts at `now`. Its times and timers use this clock; the times in events are only for display.
    pub fn begin(
        saga: &Definition,
        id: &str,
        start: EventSeen<'_>,
        correlation_id: &str,
        now: Timestamp,
        deadline: std::time::Duration,
    ) -> Self {
        let mut instance = Self {
            key: InstanceKey { saga: saga.name.clone(), id: id.to_owned() },
            version: saga.version,
            state: InstanceState::Running,
            attention: None,
            started_at: now,
            updated_at: now,
            ended_at: None,
            body: Body { correlation_id: correlation_id.to_owned(), ..Body::default() },
        };
        instance.note(start);
        instance.set_timers(saga, now, deadline);
        instance
    }

    /// Creates the instance from its stored form.
    ///
    /// # Errors
    /// Returns an error if this program cannot decode the body of the record.
    pub fn read(record: InstanceRecord) -> Result<Self, serde_json::Error> {
        let known = serde_json::from_str(&record.body)?;
        let InstanceRecord { instance, version, state, attention, started_at, updated_at, ended_at, .. } = record;
        Ok(Self { key: instance, version, state, attention, started_at, updated_at, ended_at, body: known })
    }

    /// Returns the instance in its stored form.
    pub fn record(&self) -> InstanceRecord {
        InstanceRecord {
            instance: self.key.clone(),
            version: self.version,
            state: self.state,
            attention: self.attention.clone(),
            due: self.due(),
            started_at: self.started_at,
            updated_at: self.updated_at,
            ended_at: self.ended_at,
            // Maps with text keys always serialize.
            body: serde_json::to_string(&self.body).unwrap_or_default(),
        }
    }

    /// Observes an event at `now`. `deadline` is the time limit of the whole instance or, once it is decided, of its remaining steps.
    pub fn observe(
        &mut self,
        saga: &Definition,
        event: EventSeen<'_>,
        now: Timestamp,
        deadline: std::time::Duration,
    ) -> Observation {
        if let Some(seen) = self.body.seen.get(event.event) {
            if seen.id == event.id {
                return Observation::Known;
            }
            self.body.not_allowed = self.body.not_allowed.saturating_add(1);
            return Observation::NotAllowed(format!("{} was published before, as {}", event.event, seen.id));
        }
        if let Some(reason) = self.why_not(saga, event.event) {
            self.body.not_allowed = self.body.not_allowed.saturating_add(1);
            return Observation::NotAllowed(reason);
        }
        self.note(event);
        self.updated_at = self.updated_at.max(now);
        self.settle(saga, now, deadline);
        self.drop_unneeded(saga);
        Observation::Moved
    }

    fn note(&mut self, event: EventSeen<'_>) {
        self.body.seen.insert(event.event.to_owned(), Seen { id: event.id.to_owned(), at: event.at });
    }

    /// Recomputes the state and the timers.
    fn settle(&mut self, saga: &Definition, now: Timestamp, deadline: std::time::Duration) {
        let next = self.state_by_events(saga);
        self.state = self.state.max(next);
        let ended = matches!(next, InstanceState::Completed | InstanceState::Aborted) || self.body.ended_by_hand;
        // A step that commits after the end, in a race with the abort, is outstanding until it is undone.
        self.ended_at = if ended { self.ended_at.or(Some(now)) } else { None };
        self.set_timers(saga, now, deadline);
    }

    fn state_by_events(&self, saga: &Definition) -> InstanceState {
        if self.has(&saga.aborts.name) {
            let done = !saga.steps.iter().any(|step| self.awaits_undo(step));
            return if done { InstanceState::Aborted } else { InstanceState::Compensating };
        }
        if self.has(&saga.pivot().emits.name) {
            let done = saga.steps.iter().all(|step| self.is_done(step) || self.is_skipped(step));
            return if done { InstanceState::Completed } else { InstanceState::Completing };
        }
        InstanceState::Running
    }

    pub(super) fn has(&self, event: &str) -> bool {
        self.body.seen.contains_key(event)
    }

    fn is_done(&self, step: &Step) -> bool {
        self.has(&step.emits.name)
    }

    fn is_rejected(&self, step: &Step) -> bool {
        step.rejects.as_ref().is_some_and(|event| self.has(&event.name))
    }

    fn is_skipped(&self, step: &Step) -> bool {
        self.body.skipped.contains(&step.name)
    }

    /// Returns whether the step was done, has a compensation, and is not yet undone.
    fn awaits_undo(&self, step: &Step) -> bool {
        let undone = step.undo.as_ref().is_none_or(|undo| self.has(&undo.emits.name));
        self.is_done(step) && !undone && !self.is_skipped(step)
    }

    /// Returns the id of the message that started the instance.
    pub fn begun_by(&self, saga: &Definition) -> &str {
        self.body.seen.get(&saga.starts.name).map_or("", |seen| seen.id.as_str())
    }

    /// Returns whether the race between the pivot and the abort is decided.
    pub fn is_decided(&self, saga: &Definition) -> bool {
        self.has(&saga.aborts.name) || self.has(&saga.pivot().emits.name)
    }

    /// Declares `step` settled, so that nothing waits for it any longer.
    pub fn skip(&mut self, saga: &Definition, step: &str, now: Timestamp, deadline: std::time::Duration) {
        if !self.body.skipped.iter().any(|skipped| skipped == step) {
            self.body.skipped.push(step.to_owned());
        }
        self.updated_at = self.updated_at.max(now);
        self.settle(saga, now, deadline);
        self.drop_unneeded(saga);
    }

    /// Ends the instance permanently at the request of an operator: as completed if the pivot is done, otherwise as aborted.
    pub fn end(&mut self, saga: &Definition, now: Timestamp) {
        let end = if self.has(&saga.pivot().emits.name) { InstanceState::Completed } else { InstanceState::Aborted };
        self.state = self.state.max(end);
        self.ended_at = self.ended_at.or(Some(now));
        self.updated_at = self.updated_at.max(now);
        self.attention = None;
        self.body.ended_by_hand = true;
        self.body.stopped.clear();
        self.body.timers.clear();
    }

    /// Sets the reason why the instance needs an operator.
    pub fn set_attention(&mut self, reason: impl Into<String>, now: Timestamp) {
        self.attention = Some(reason.into());
        self.updated_at = self.updated_at.max(now);
    }
}

#[cfg(test)]
mod tests;
