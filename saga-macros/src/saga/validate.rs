//! The rules of each part by itself: which options are required, and how they are written. `graph` and `paths` check the parts
//! against each other.

use std::time::Duration;

use syn::{LitInt, LitStr, Path, Type, ext::IdentExt};

use super::{
    model::{Abort, Event, Saga, Step, Undo},
    parse::{self, Part, Source},
};
use crate::shared::{Errors, Given, Options, Target, duration};

/// The keywords that can be listed with the events that lead to the abort.
const CANCEL: &str = "cancel";
const DEADLINE: &str = "deadline";

pub(super) fn saga(source: &Source, errors: &mut Errors) -> Saga {
    let (options, item) = (&source.options, &source.item);
    let target = Target::new(options.krate(errors), &item.ident, &item.generics, &item.attrs);
    let mut needed = |name: &str, what: &str| {
        let given = options.find(name);
        if given.is_none() {
            errors.attribute(&item.ident, format!("a saga needs `{name}`: add `{name} = ..`, {what}"));
        }
        given
    };
    let key = needed("key", "the type of the key that all its events share");
    let starts = needed("starts", "the event that begins an instance");
    let completes = needed("completes", "the event of its success");
    let aborts = needed("aborts", "the event of its abort");
    let limit = needed("deadline", "how long an instance may be undecided, as `\"15m\"`");
    let key = key.and_then(|given| given.value::<Type>("is the type of the events' key", errors));
    let starts = starts.and_then(|given| event(given, errors));
    let completes = completes.and_then(|given| event(given, errors));
    let aborts = aborts.and_then(|given| event(given, errors));
    let deadline = limit.and_then(|given| self::deadline(given, errors));
    let name = name(options, errors).unwrap_or_else(|| item.ident.unraw().to_string());
    let version = version(options, errors).unwrap_or(1);
    let (mut steps, mut abort, mut whole) = (Vec::new(), None::<Abort>, true);
    for part in &source.variants {
        match part {
            Part::Step { ident, about, options, undo } => {
                let step = step(ident.clone(), about.clone(), options, undo.as_ref(), errors);
                if let (Some(whole), Some(own), Some(given)) = (deadline, step.deadline, options.find("deadline"))
                    && own > whole
                {
                    errors.at(given, "a step's deadline must not be longer than the saga's: shorten it, or lengthen the saga's");
                }
                steps.push(step);
            }
            Part::Abort { ident, about, options } => {
                let second = self::abort(ident.clone(), about.clone(), options, errors);
                if let Some(first) = &abort {
                    errors.at(ident, format!("`{}` is the abort already: a saga has one abort", first.ident));
                } else {
                    abort = Some(second);
                }
            }
            Part::Nothing => whole = false,
        }
    }
    if whole {
        ends(source, &steps, abort.as_ref(), errors);
    }
    Saga {
        target,
        name,
        version,
        about: parse::about(&item.attrs),
        key,
        starts,
        completes,
        aborts,
        deadline,
        steps,
        abort,
        whole,
    }
}

/// Checks that there are one pivot and one abort.
fn ends(source: &Source, steps: &[Step], abort: Option<&Abort>, errors: &mut Errors) {
    let ident = &source.item.ident;
    if abort.is_none() {
        errors.at(
            ident,
            format!(
                "`{ident}` has no abort: add a variant with `#[abort(on(..), emits = ..)]`, which lists what aborts the saga"
            ),
        );
    }
    let mut pivots = steps.iter().filter_map(|step| Some((step, step.pivot.as_ref()?)));
    match pivots.next() {
        None => errors.at(
            ident,
            format!(
                "`{ident}` has no pivot: write `pivot` in the step whose commit decides that the saga will succeed; what is before it can be undone, what is after it will be done"
            ),
        ),
        Some((first, _)) => {
            for (_, second) in pivots {
                errors.at(second, format!("`{}` is the pivot already: one commit decides", first.ident));
            }
        }
    }
}

fn step(ident: syn::Ident, about: String, options: &Options, undo: Option<&Options>, errors: &mut Errors) -> Step {
    let flag = |name: &str, errors: &mut Errors| {
        let given = options.find(name)?;
        given.flag(errors);
        Some(given.name.clone())
    };
    let (pivot, no_undo) = (flag("pivot", errors), flag("no_undo", errors));
    if let (Some(no_undo), Some(_)) = (&no_undo, options.find("undo")) {
        errors.at(no_undo, "a step has `undo` or `no_undo`, not both; remove one of them");
    }
    let on = required(options, "on", &ident, "the event that triggers it", errors);
    let on = on.and_then(|given| {
        let mut events = events(given, "is the event that triggers the step", errors);
        if let Some(second) = events.get(1) {
            errors.at(
                second,
                "a step begins with one event: a step that waits for several (a join) or takes one of several (alternatives) is not supported; let one step publish what this one needs",
            );
        }
        (!events.is_empty()).then(|| events.remove(0))
    });
    if let Some(word) = on.as_ref().filter(|event| is_word(event)) {
        errors.at(word, format!("`{word}` leads to the abort only: a step begins with an event of the saga"));
    }
    let on = on.filter(|event| !is_word(event));
    let emits = required(options, "emits", &ident, "the event that is published when it is done", errors)
        .and_then(|given| event(given, errors));
    let rejects = options.find("rejects").and_then(|given| event(given, errors));
    let deadline = options.find("deadline").and_then(|given| self::deadline(given, errors));
    let undo = options.find("undo").zip(undo).map(|(word, undo)| self::undo(&ident, word, undo, errors));
    Step { ident, about, on, emits, rejects, undo, no_undo, pivot, deadline }
}

fn undo(step: &syn::Ident, word: &Given, options: &Options, errors: &mut Errors) -> Undo {
    let mut needed = |name: &str, what: &str| {
        let given = options.find(name);
        if given.is_none() {
            errors.at(word, format!("the `undo` of `{step}` needs `{name}`: add {what}"));
        }
        given
    };
    let on = needed("on", "`on = ..`, the event that leads to it, or `on(.., ..)`");
    let emits = needed("emits", "`emits = ..`, the event that is published when it is undone");
    let on = on.map(|given| several(given, "is the event that leads to it", errors)).unwrap_or_default();
    for word in on.iter().filter(|event| is_word(event)) {
        errors.at(word, format!("`{word}` leads to the abort only: let the undo begin with the event that the abort publishes"));
    }
    let on = on.into_iter().filter(|event| !is_word(event)).collect();
    Undo { word: word.name.clone(), on, emits: emits.and_then(|given| event(given, errors)) }
}

fn abort(ident: syn::Ident, about: String, options: &Options, errors: &mut Errors) -> Abort {
    let on = required(options, "on", &ident, "what leads to it: events, `cancel`, `deadline`", errors);
    let on = on.map(|given| several(given, "is what leads to it", errors)).unwrap_or_default();
    let said = |word: &str| on.iter().any(|event| event.path.is_ident(word));
    let (cancel, deadline) = (said(CANCEL), said(DEADLINE));
    let emits = required(options, "emits", &ident, "the event that the saga `aborts` with", errors);
    let emits = emits.and_then(|given| event(given, errors));
    Abort { ident, about, on: on.into_iter().filter(|event| !is_word(event)).collect(), cancel, deadline, emits }
}

fn is_word(event: &Event) -> bool {
    event.path.is_ident(CANCEL) || event.path.is_ident(DEADLINE)
}

fn required<'o>(options: &'o Options, name: &str, ident: &syn::Ident, what: &str, errors: &mut Errors) -> Option<&'o Given> {
    let given = options.find(name);
    if given.is_none() {
        errors.at(ident, format!("`{ident}` needs `{name}`: add `{name} = ..`, {what}"));
    }
    given
}

fn event(given: &Given, errors: &mut Errors) -> Option<Event> {
    given.value::<Path>("is one event, the name of its type", errors).map(Event::new)
}

fn events(given: &Given, expected: &str, errors: &mut Errors) -> Vec<Event> {
    given.values::<Path>(expected, errors).into_iter().map(Event::new).collect()
}

/// The events, without duplicates.
fn several(given: &Given, expected: &str, errors: &mut Errors) -> Vec<Event> {
    let mut kept: Vec<Event> = Vec::new();
    for event in events(given, expected, errors) {
        if kept.contains(&event) {
            errors.at(&event, format!("`{event}` is given twice; keep one"));
        } else {
            kept.push(event);
        }
    }
    kept
}

fn deadline(given: &Given, errors: &mut Errors) -> Option<Duration> {
    let literal: LitStr = given.value("is a time", errors)?;
    let text = literal.value();
    duration(&text)
        .map_err(|wrong| errors.at(&literal, format!("`{text}` {wrong}; write `\"30s\"`, `\"15m\"` or `\"1h30m\"`")))
        .ok()
}

fn name(options: &Options, errors: &mut Errors) -> Option<String> {
    let literal: LitStr = options.find("name")?.value("is a string", errors)?;
    let name = literal.value();
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.len() > 100 || !name.chars().all(legal) {
        errors.at(
            &literal,
            "the name of a saga has 1 to 100 letters a-z and A-Z, digits, `.`, `_` and `-`: it is in paths and labels",
        );
    }
    Some(name)
}

fn version(options: &Options, errors: &mut Errors) -> Option<u32> {
    let given = options.find("version")?;
    let literal: LitInt = given.value("is a whole number", errors)?;
    let version = literal.base10_parse().ok().filter(|version| *version >= 1 && literal.suffix().is_empty());
    if version.is_none() {
        given.wrong("is a whole number from 1 to 4294967295", errors);
    }
    version
}
