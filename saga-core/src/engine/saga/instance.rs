//! An instance of a saga, as its tracker sees it: the fold of the flow's events, in whatever order they come.
//!
//! Kafka orders one partition of one topic and nothing else, so what an instance is depends on *which* events were seen and not on
//! their order. How far it is ([`InstanceState`]) only ever moves forward.

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

/// An instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Which one.
    pub key: InstanceKey,
    /// The version of the flow in which it began.
    pub version: u32,
    /// How far it is.
    pub state: InstanceState,
    /// Why somebody has to look at it.
    pub attention: Option<String>,
    /// When its tracker saw it begin.
    pub started_at: Timestamp,
    /// When it moved last.
    pub updated_at: Timestamp,
    /// When it ended; `None` while something is outstanding.
    pub ended_at: Option<Timestamp>,
    /// What else is known.
    pub known: Body,
}

/// What is known of an instance besides its columns.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Body {
    /// What the flow is known by elsewhere.
    pub correlation_id: String,
    /// The events that were seen, by name: identity, and when they were published.
    pub seen: BTreeMap<String, Seen>,
    /// Steps that an operator has declared settled.
    pub skipped: Vec<String>,
    /// Whether the race between the pivot and the abort was over when the timers were set last.
    pub decided: bool,
    /// Timers, by what they are for.
    pub timers: BTreeMap<String, Timestamp>,
    /// How often a deadline's handler has failed.
    pub attempts: u32,
    /// How many events came that the flow does not allow.
    pub not_allowed: u32,
    /// How many entries of its history are of what did not move it.
    pub remarks: u32,
    /// An operator gives it up, for this reason, when its timer ends.
    pub given_up: Option<String>,
    /// Whether an operator has ended it: what comes later is noted, and waited for no more.
    pub ended_by_hand: bool,
    /// What participants have given up and is in the way.
    pub stopped: Vec<GivenUp>,
    /// The span that it began in: what timers and operators do goes on with its trace.
    #[serde(deserialize_with = "lenient", skip_serializing_if = "Option::is_none")]
    pub trace: Option<TraceContext>,
}

/// A trace that cannot be read is none: no instance is worth less for it.
fn lenient<'de, D: Deserializer<'de>>(from: D) -> Result<Option<TraceContext>, D::Error> {
    let kept = serde_json::Value::deserialize(from)?;
    Ok(serde_json::from_value(kept).ok())
}

/// An event that was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// Its identity.
    pub id: String,
    /// When it was published, as its sender says; for display.
    pub at: Timestamp,
}

/// An event of the flow, as it comes to the tracker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting<'s> {
    /// Its name.
    pub event: &'s str,
    /// Its identity.
    pub id: &'s str,
    /// When it was published, as its sender says; for display.
    pub at: Timestamp,
}

/// What came of taking an event in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Taken {
    /// It moved the instance.
    Moved,
    /// It is known already, under this identity.
    Known,
    /// The flow does not allow it, for this reason.
    NotAllowed(String),
}

/// What becomes of an entry in the history of an instance that nothing has moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// It is kept.
    Kept,
    /// It is kept, and those after it are not.
    Last,
    /// It is not kept.
    Dropped,
}

/// Entries of one instance's history that are of what did not move it. Those that did are as many as the flow has events, and what
/// operators do is done by hand; these come as often as a stranger sends them.
pub const REMARKS: u32 = 200;

impl Instance {
    /// Counts an entry of what did not move it.
    pub fn remark(&mut self) -> Remark {
        self.known.remarks = self.known.remarks.saturating_add(1);
        match self.known.remarks.cmp(&REMARKS) {
            std::cmp::Ordering::Less => Remark::Kept,
            std::cmp::Ordering::Equal => Remark::Last,
            std::cmp::Ordering::Greater => Remark::Dropped,
        }
    }

    /// A new instance, begun `now`. Its times and timers are by this clock; when its events say that they were published is shown only.
    pub fn begin(
        saga: &Definition,
        id: &str,
        start: Sighting<'_>,
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
            known: Body { correlation_id: correlation_id.to_owned(), ..Body::default() },
        };
        instance.note(start);
        instance.set_timers(saga, now, deadline);
        instance
    }

    /// The instance in `record`.
    ///
    /// # Errors
    /// When the record's body is not what this program writes.
    pub fn read(record: InstanceRecord) -> Result<Self, serde_json::Error> {
        let known = serde_json::from_str(&record.body)?;
        let InstanceRecord { instance, version, state, attention, started_at, updated_at, ended_at, .. } = record;
        Ok(Self { key: instance, version, state, attention, started_at, updated_at, ended_at, known })
    }

    /// The instance as it is kept.
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
            // Maps of text and numbers are always written.
            body: serde_json::to_string(&self.known).unwrap_or_default(),
        }
    }

    /// Takes an event in, `now`. `deadline` is how long the whole flow, or what is left of it once it is decided, may take.
    pub fn take(&mut self, saga: &Definition, event: Sighting<'_>, now: Timestamp, deadline: std::time::Duration) -> Taken {
        if let Some(seen) = self.known.seen.get(event.event) {
            if seen.id == event.id {
                return Taken::Known;
            }
            self.known.not_allowed = self.known.not_allowed.saturating_add(1);
            return Taken::NotAllowed(format!("{} was published before, as {}", event.event, seen.id));
        }
        if let Some(reason) = self.why_not(saga, event.event) {
            self.known.not_allowed = self.known.not_allowed.saturating_add(1);
            return Taken::NotAllowed(reason);
        }
        self.note(event);
        self.updated_at = self.updated_at.max(now);
        self.settle(saga, now, deadline);
        self.clear_the_way(saga);
        Taken::Moved
    }

    fn note(&mut self, event: Sighting<'_>) {
        self.known.seen.insert(event.event.to_owned(), Seen { id: event.id.to_owned(), at: event.at });
    }

    /// Works out how far the instance is, and what its timers are.
    fn settle(&mut self, saga: &Definition, now: Timestamp, deadline: std::time::Duration) {
        let next = self.state_by_events(saga);
        self.state = self.state.max(next);
        let ended = matches!(next, InstanceState::Completed | InstanceState::Aborted) || self.known.ended_by_hand;
        // What commits after the end, having crossed it, is outstanding until it is undone.
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
        self.known.seen.contains_key(event)
    }

    fn is_done(&self, step: &Step) -> bool {
        self.has(&step.emits.name)
    }

    fn is_rejected(&self, step: &Step) -> bool {
        step.rejects.as_ref().is_some_and(|event| self.has(&event.name))
    }

    fn is_skipped(&self, step: &Step) -> bool {
        self.known.skipped.contains(&step.name)
    }

    /// Whether the step was done, can be undone, and was not.
    fn awaits_undo(&self, step: &Step) -> bool {
        let undone = step.undo.as_ref().is_none_or(|undo| self.has(&undo.emits.name));
        self.is_done(step) && !undone && !self.is_skipped(step)
    }

    /// The identity of the event that began it.
    pub fn begun_by(&self, saga: &Definition) -> &str {
        self.known.seen.get(&saga.starts.name).map_or("", |seen| seen.id.as_str())
    }

    /// Whether the race between the pivot and the abort is over.
    pub fn is_decided(&self, saga: &Definition) -> bool {
        self.has(&saga.aborts.name) || self.has(&saga.pivot().emits.name)
    }

    /// Declares `step` settled: nobody waits for it any more.
    pub fn skip(&mut self, saga: &Definition, step: &str, now: Timestamp, deadline: std::time::Duration) {
        if !self.known.skipped.iter().any(|skipped| skipped == step) {
            self.known.skipped.push(step.to_owned());
        }
        self.updated_at = self.updated_at.max(now);
        self.settle(saga, now, deadline);
        self.clear_the_way(saga);
    }

    /// Ends it by hand, as what it was decided to be, for good; an undecided one has come to nothing.
    pub fn end(&mut self, saga: &Definition, now: Timestamp) {
        let end = if self.has(&saga.pivot().emits.name) { InstanceState::Completed } else { InstanceState::Aborted };
        self.state = self.state.max(end);
        self.ended_at = self.ended_at.or(Some(now));
        self.updated_at = self.updated_at.max(now);
        self.attention = None;
        self.known.ended_by_hand = true;
        self.known.stopped.clear();
        self.known.timers.clear();
    }

    /// Says that somebody has to look at it.
    pub fn call_for_attention(&mut self, reason: impl Into<String>, now: Timestamp) {
        self.attention = Some(reason.into());
        self.updated_at = self.updated_at.max(now);
    }
}

#[cfg(test)]
mod tests;
