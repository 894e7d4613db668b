//! The events of a saga and how they connect the steps: every name resolves, each event has one publisher, and each use of an
//! event fits its meaning.

use super::{
    events::{Published, Publisher},
    model::{Abort, Event, Saga, Step},
};
use crate::shared::Errors;

/// A saga in which all names resolve.
pub(super) struct Graph<'f> {
    pub(super) steps: &'f [Step],
    pub(super) abort: &'f Abort,
    pub(super) aborts: &'f Event,
    pub(super) completes: &'f Event,
    pub(super) pivot: usize,
    pub(super) published: Published<'f>,
}

/// Builds the graph of a saga. Returns `None` if a part is missing or a name does not resolve. Only this first mistake is
/// reported, and not those that follow from it.
pub(super) fn of<'f>(saga: &'f Saga, errors: &mut Errors) -> Option<Graph<'f>> {
    let parts = saga.steps.iter().all(|step| step.on.is_some() && step.emits.is_some());
    let undos = saga.steps.iter().filter_map(|step| step.undo.as_ref()).all(|undo| undo.emits.is_some());
    if !(parts && undos && saga.whole) {
        return None;
    }
    let (starts, completes, aborts) = (saga.starts.as_ref()?, saga.completes.as_ref()?, saga.aborts.as_ref()?);
    let abort = saga.abort.as_ref()?;
    let emits = abort.emits.as_ref()?;
    let mut pivots = saga.steps.iter().enumerate().filter(|(_, step)| step.pivot.is_some()).map(|(place, _)| place);
    let (Some(pivot), None) = (pivots.next(), pivots.next()) else { return None };
    if emits != aborts {
        errors.at(emits, format!("the abort publishes `{emits}`, and the saga `aborts` with `{aborts}`: make them one event"));
        return None;
    }
    let mut sound = true;
    let mut wrong = |at: &Event, message: String| {
        errors.at(at, message);
        sound = false;
    };
    let published = Published::of(starts, &saga.steps, abort, &mut wrong);
    for step in &saga.steps {
        if let Some(on) = &step.on {
            match published.by(on) {
                Some(Publisher::Start | Publisher::Done(_)) => {}
                Some(publisher) => wrong(
                    on,
                    format!(
                        "`{on}` means that {}: a step begins when the saga begins or a step was done; name it in the `on` of an `undo` or of the abort",
                        publisher.means(&saga.steps)
                    ),
                ),
                None => wrong(on, published.unpublished(on)),
            }
        }
        for on in step.undo.iter().flat_map(|undo| &undo.on) {
            match published.by(on) {
                Some(publisher @ (Publisher::Start | Publisher::Done(_))) => wrong(
                    on,
                    format!(
                        "`{on}` means that {}: an undo begins with a refusal, with what another undo publishes, or with the abort",
                        publisher.means(&saga.steps)
                    ),
                ),
                Some(Publisher::Rejected(refused)) if saga.steps[refused].ident == step.ident => {
                    wrong(on, format!("when `{}` is refused, it has done nothing: remove `{on}`", step.ident));
                }
                Some(Publisher::Undone(undone)) if saga.steps[undone].ident == step.ident => {
                    wrong(on, format!("the undo of `{}` cannot begin with what it publishes itself: remove `{on}`", step.ident));
                }
                Some(_) => {}
                None => wrong(on, published.unpublished(on)),
            }
        }
    }
    for on in &abort.on {
        match published.by(on) {
            Some(Publisher::Rejected(_) | Publisher::Undone(_)) => {}
            Some(Publisher::Aborted) => wrong(on, format!("the abort cannot begin with what it publishes itself: remove `{on}`")),
            Some(publisher) => wrong(
                on,
                format!(
                    "`{on}` means that {}: a saga is aborted when a step is refused or undone, on `cancel`, or on `deadline`",
                    publisher.means(&saga.steps)
                ),
            ),
            None => wrong(on, published.unpublished(on)),
        }
    }
    match published.by(completes) {
        Some(Publisher::Done(_)) => {}
        Some(publisher) => wrong(
            completes,
            format!(
                "`{completes}` means that {}: a saga completes with what its pivot or a step after it emits",
                publisher.means(&saga.steps)
            ),
        ),
        None => wrong(completes, published.unpublished(completes)),
    }
    sound.then_some(Graph { steps: &saga.steps, abort, aborts, completes, pivot, published })
}
