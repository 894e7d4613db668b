//! Messages on the framework's own topics that no participant or tracker can have sent. They have no effect; the service counts them and
//! logs at most one line a minute.
//!
//! A program that can write to these topics can send any content in any amount. So nothing of it is stored: a dead letter or an inbox row
//! for each record would let it fill the databases of all services that take part in sagas. A message that a participant or a tracker can
//! have sent is handled in a transaction and leaves an inbox row for the inbox retention.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use super::super::{core::Core, item::Item};
use crate::{
    engine::admission::Admission,
    message::Event,
    saga::{Definition, RetryDeadLetter, StepGivenUp},
    time::Timestamp,
};

/// The shortest time between two log lines.
const LINE: Duration = Duration::from_secs(60);
/// The longest name of a service or id of a dead letter, in bytes.
const LONGEST_NAME: usize = 200;
/// The longest error text, in bytes: longer than those that participants send.
const LONGEST_ERROR: usize = 8_192;

/// Whether `topic` is one of the framework's own topics.
pub(crate) fn is_own(topic: &str) -> bool {
    [StepGivenUp::TOPIC, RetryDeadLetter::TOPIC].contains(&topic)
}

/// The time of the last log line, and the number of messages ignored since.
#[derive(Debug, Default)]
pub(crate) struct Ignored(Mutex<(Option<Timestamp>, u64)>);

impl Ignored {
    /// Records that a message on `topic` has no effect because of `why`.
    pub(crate) fn note(&self, core: &Core, topic: &str, why: &str) {
        core.series.signals_ignored.increment();
        let now = core.clock.now();
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, count) = &mut *state;
        *count += 1;
        // A clock that was set back does not delay the line.
        if at.is_none_or(|at| now.since(at) >= LINE || at > now) {
            let why = &why[..why.floor_char_boundary(LONGEST_NAME)];
            tracing::warn!(
                service = &*core.name,
                topic = &*core.name_in_log(topic),
                why,
                messages = *count,
                "a message on the framework's own topic has no effect; check which users may write to the topic"
            );
            (*at, *count) = (Some(now), 0);
        }
    }
}

/// Whether `item` came on a topic of the framework and has no effect here, as far as that can be decided without the database. It is then
/// done.
pub(crate) fn is_ignored(core: &Core, item: &Item) -> bool {
    let topic = &*item.received.record.topic;
    if !is_own(topic) {
        return false;
    }
    let value = item.received.record.value.as_deref().unwrap_or_default();
    let why = match &item.admission {
        Admission::Skip => return false,
        Admission::DeadLetter(unfit) => Some(unfit.to_string()),
        Admission::Handle { .. } if topic == StepGivenUp::TOPIC => match serde_json::from_slice::<StepGivenUp>(value) {
            Err(error) => Some(error.to_string()),
            Ok(given_up) => {
                let tracked = core.sagas.tracked.iter().find(|tracked| tracked.definition.name == given_up.saga);
                let Some(tracked) = tracked else { return true };
                step_given_up_error(&given_up, &tracked.definition, item.saga_id()).map(str::to_owned)
            }
        },
        Admission::Handle { .. } => match serde_json::from_slice::<RetryDeadLetter>(value) {
            Err(error) => Some(error.to_string()),
            Ok(wanted) if wanted.service != *core.name => return true,
            Ok(wanted) => retry_dead_letter_error(&wanted).map(str::to_owned),
        },
    };
    if let Some(why) = &why {
        core.sagas.ignored.note(core, topic, why);
    }
    why.is_some()
}

/// Returns why no participant can have sent `given_up`, about an instance of `saga`, in a record with this key.
pub(super) fn step_given_up_error(given_up: &StepGivenUp, saga: &Definition, key: Option<&str>) -> Option<&'static str> {
    let StepGivenUp { id, step, service, dead_letter, error, event, .. } = given_up;
    if key != Some(id) {
        return Some("it names another instance than its key does");
    }
    if !step.is_empty() && *step != saga.abort.name && saga.step(step).is_none() {
        return Some("its saga has no such step");
    }
    if event.as_ref().is_some_and(|event| !saga.has_event(event) && *event != *RetryDeadLetter::NAME) {
        return Some("its saga has no such event");
    }
    let too_long = service.len().max(dead_letter.len()) > LONGEST_NAME || error.len() > LONGEST_ERROR;
    too_long.then_some("it is longer than what a participant sends")
}

/// Returns why no tracker can have sent `wanted`, judged by its content alone.
pub(super) fn retry_dead_letter_error(wanted: &RetryDeadLetter) -> Option<&'static str> {
    let too_long = wanted.service.len().max(wanted.dead_letter.len()) > LONGEST_NAME;
    too_long.then_some("it is longer than what a tracker sends")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::saga::samples;

    #[test]
    fn a_step_given_up_must_fit_its_saga_and_the_size_limits() {
        let saga = samples::place_order();
        let given_up = StepGivenUp {
            saga: saga.name.clone(),
            id: "7".into(),
            step: saga.steps[0].name.clone(),
            undo: true,
            service: "payment".into(),
            dead_letter: "0196".into(),
            error: "no answer".into(),
            attempts: 3,
            event: Some(saga.steps[0].emits.name.clone()),
        };
        let error_of = |given_up: StepGivenUp| step_given_up_error(&given_up, &saga, Some("7"));
        assert_eq!(error_of(given_up.clone()), None);
        assert_eq!(error_of(StepGivenUp { step: saga.abort.name.clone(), event: None, ..given_up.clone() }), None);
        assert_eq!(error_of(StepGivenUp { step: String::new(), ..given_up.clone() }), None);
        for (wrong, why) in [
            (StepGivenUp { id: "8".into(), ..given_up.clone() }, "another instance"),
            (StepGivenUp { step: "Other".into(), ..given_up.clone() }, "no such step"),
            (StepGivenUp { event: Some("Other".into()), ..given_up.clone() }, "no such event"),
            (StepGivenUp { service: "x".repeat(201), ..given_up.clone() }, "longer"),
            (StepGivenUp { dead_letter: "x".repeat(201), ..given_up.clone() }, "longer"),
            (StepGivenUp { error: "x".repeat(9_000), ..given_up.clone() }, "longer"),
        ] {
            assert!(error_of(wrong.clone()).is_some_and(|given_up| given_up.contains(why)), "{wrong:?}");
        }
    }
}
