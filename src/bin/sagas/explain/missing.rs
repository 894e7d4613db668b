//! The next steps of an instance, and the services that must do them.

use sagas::port::tracking::{Instance, Outstanding};
use sagas::{
    saga::{Chart, StepState},
    time::Timestamp,
};
use serde::Serialize;

use super::{
    super::{
        letters::Letter,
        places::Services,
        words::{self, counted, segment},
    },
    step::StepView,
};

/// A next step.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Missing {
    /// The step, or the abort.
    pub(super) step: String,
    /// Whether the step must be undone.
    pub(super) undo: bool,
    /// The service that must do it, if it is known.
    pub(super) service: Option<String>,
    /// The event that triggers it.
    pub(super) on: String,
    /// The events that can follow it, of which one is expected.
    pub(super) events: Vec<String>,
    /// Why it has not happened, as far as it is known.
    pub(super) remark: Option<String>,
}

/// The next steps of `instance`, which has these dead letters.
pub(super) fn of(
    services: &Services,
    instance: &Instance,
    chart: &Chart,
    (steps, letters): (&[StepView], &[Letter]),
    now: Timestamp,
) -> Vec<Missing> {
    let missing = |next: Outstanding<'_>| {
        let participants = &chart.participants;
        let by = if next.undo { &participants.undone_by } else { &participants.done_by };
        let service = by.get(next.step).cloned();
        Missing {
            remark: service.as_deref().and_then(|service| {
                given_up(service, &next, (chart, letters), now).or_else(|| remark(services, service, &next, steps, now))
            }),
            step: next.step.to_owned(),
            undo: next.undo,
            service,
            on: next.on.to_owned(),
            events: next.events.iter().map(|event| (*event).to_owned()).collect(),
        }
    };
    instance.expected(&chart.definition).into_iter().map(missing).collect()
}

/// Whether `service` has dead-lettered the message that triggers the step. Then nothing retries it, whatever the step record
/// contains.
fn given_up(service: &str, next: &Outstanding<'_>, (chart, letters): (&Chart, &[Letter]), now: Timestamp) -> Option<String> {
    let is_it = |letter: &Letter| letter.event_of(chart).is_some_and(|event| event.name == next.on);
    let calls = |letter: &&Letter| letter.service == service && letter.is_open() && is_it(letter);
    let letter = letters.iter().find(calls)?;
    Some(format!(
        "{service} gave {} up {} ago, after {}: it is the dead letter {}, and is not tried again before POST /dead-letters/{}/retry at {service}",
        next.on,
        words::span(now.since(letter.at)),
        counted(letter.attempts.into(), "attempt", "attempts"),
        letter.id,
        segment(&letter.id)
    ))
}

/// What `service` has recorded about its step.
fn remark(services: &Services, service: &str, next: &Outstanding<'_>, steps: &[StepView], now: Timestamp) -> Option<String> {
    if services.named(service).next().is_none() {
        return Some(format!(
            "{service} has kept nothing here: it may never have run, or its database is not among those that were read"
        ));
    }
    let record = steps.iter().find(|step| step.service == service && step.step == next.step)?;
    let ago = || words::span(now.since(record.at));
    let on_its_way = |what: &str| {
        Some(format!("{service} has {what} it {} ago: what it published is in its outbox, or not yet read by the tracker", ago()))
    };
    match (record.state, record.until) {
        (StepState::Undone, _) if next.undo => on_its_way("undone"),
        (StepState::Done, None) if !next.undo => on_its_way("done"),
        (StepState::Rejected, _) if !next.undo => on_its_way("refused"),
        (StepState::Barred, _) if !next.undo => {
            Some(format!("{service} must not do it any more: what undoes it came first, {} ago", ago()))
        }
        (_, Some(until)) if until > now => {
            Some(format!("an attempt was begun {} ago and may be running for another {}", ago(), words::span(until.since(now))))
        }
        (_, Some(until)) => Some(format!(
            "an attempt was begun {} ago and did not end within its time, which was over {} ago: {service} tries again when it runs",
            ago(),
            words::span(now.since(until))
        )),
        (StepState::Begun, None) => Some(format!("an attempt ended {} ago without a result; {service} tries again", ago())),
        _ => None,
    }
}

impl Missing {
    /// The step as text.
    pub(super) fn said(&self) -> String {
        let service = self.service.as_deref().unwrap_or("a service that is not known");
        let what = if self.undo { "undo" } else { "do" };
        let events = match self.events.as_slice() {
            [one] => one.clone(),
            several => format!("one of {}", several.join(", ")),
        };
        format!("waiting for {service} to {what} {}, on {}: {events}", self.step, self.on)
    }
}
