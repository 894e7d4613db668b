//! The events of a saga and how they connect the steps: every name resolves, each event has one publisher, and each use of an
//! event fits its meaning.

use super::{
    events::{Published, Publisher},
    model::{Abort, Event, Flow, Step},
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
pub(super) fn of<'f>(flow: &'f Flow, errors: &mut Errors) -> Option<Graph<'f>> {
    let parts = flow.steps.iter().all(|step| step.on.is_some() && step.emits.is_some());
    let undos = flow.steps.iter().filter_map(|step| step.undo.as_ref()).all(|undo| undo.emits.is_some());
    if !(parts && undos && flow.whole) {
        return None;
    }
    let (starts, completes, aborts) = (flow.starts.as_ref()?, flow.completes.as_ref()?, flow.aborts.as_ref()?);
    let abort = flow.abort.as_ref()?;
    let emits = abort.emits.as_ref()?;
    let mut pivots = flow.steps.iter().enumerate().filter(|(_, step)| step.pivot.is_some()).map(|(place, _)| place);
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
    let published = Published::of(starts, &flow.steps, abort, &mut wrong);
    for step in &flow.steps {
        if let Some(on) = &step.on {
            match published.by(on) {
                Some(Publisher::Start | Publisher::Done(_)) => {}
                Some(publisher) => wrong(
                    on,
                    format!(
                        "`{on}` says that {}: a step goes on from what was done; name it in the `on` of an `undo` or of the abort",
                        publisher.says(&flow.steps)
                    ),
                ),
                None => wrong(on, published.nobody(on)),
            }
        }
        for on in step.undo.iter().flat_map(|undo| &undo.on) {
            match published.by(on) {
                Some(publisher @ (Publisher::Start | Publisher::Done(_))) => wrong(
                    on,
                    format!(
                        "`{on}` says that {}: an undo begins with a refusal, with what another undo publishes, or with the abort",
                        publisher.says(&flow.steps)
                    ),
                ),
                Some(Publisher::Rejected(refused)) if flow.steps[refused].ident == step.ident => {
                    wrong(on, format!("when `{}` is refused, it has done nothing: remove `{on}`", step.ident));
                }
                Some(Publisher::Undone(undone)) if flow.steps[undone].ident == step.ident => {
                    wrong(on, format!("the undo of `{}` cannot begin with what it publishes itself: remove `{on}`", step.ident));
                }
                Some(_) => {}
                None => wrong(on, published.nobody(on)),
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
                    "`{on}` says that {}: a flow is given up when a step is refused or undone, on `cancel`, or on `deadline`",
                    publisher.says(&flow.steps)
                ),
            ),
            None => wrong(on, published.nobody(on)),
        }
    }
    match published.by(completes) {
        Some(Publisher::Done(_)) => {}
        Some(publisher) => wrong(
            completes,
            format!(
                "`{completes}` says that {}: a flow completes with what its pivot or a step after it emits",
                publisher.says(&flow.steps)
            ),
        ),
        None => wrong(completes, published.nobody(completes)),
    }
    sound.then_some(Graph { steps: &flow.steps, abort, aborts, completes, pivot, published })
}
