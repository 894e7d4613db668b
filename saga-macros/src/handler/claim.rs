//! The rules of a handler that does a step of a saga, or undoes one.

use syn::{GenericArgument, PatType, Path, PathArguments, ReturnType, Signature, Type};

use super::model::Claim;
use crate::shared::{Errors, Given, Options, last_segment};

pub(super) fn of(options: &Options, signature: &Signature, arguments: &[&PatType], errors: &mut Errors) -> Option<Claim> {
    let called = |name: &str| {
        arguments.iter().map(|argument| &*argument.ty).find(|ty| last_segment(ty).is_some_and(|ident| ident == name))
    };
    let (given, undo) = match (options.find("step"), options.find("undo")) {
        (None, None) => {
            no_claim(called("Undo"), called("On"), errors);
            return None;
        }
        (Some(step), None) => (step, false),
        (None, Some(undo)) => (undo, true),
        (Some(_), Some(undo)) => {
            errors.at(undo, "a handler does a step or undoes one: write another handler for the undo");
            return None;
        }
    };
    let path = path(given, errors);
    if let Some(parameter) = signature.generics.params.first() {
        errors.at(parameter, "a handler of a step takes the events of that step: it has no parameters");
    }
    if let ReturnType::Type(_, ty) = &signature.output
        && matches!(&**ty, Type::ImplTrait(_) | Type::Never(_) | Type::Infer(_))
    {
        errors.at(ty, "what a handler of a step publishes is checked against its saga: name the type");
    }
    let (right, wrong) = if undo { ("Undo", "On") } else { ("On", "Undo") };
    if let Some(batch) = called("Batch") {
        errors.at(batch, format!("a step is done for one instance at a time: take `{right}<..>`"));
        return None;
    }
    let Some(argument) = called(right) else {
        match called(wrong) {
            Some(ty) if undo => {
                errors.at(
                    ty,
                    "a handler that undoes a step takes what the step left behind: `Undo<E>`, where `E` is the step's `emits`",
                );
            }
            Some(ty) => errors
                .at(ty, "a handler that does a step takes the event that triggers it: `On<E>`, where `E` is the step's `on`"),
            None => {
                errors.at(&signature.ident, format!("a handler with `{}` takes `{right}<..>`, written by that name", given.name))
            }
        }
        return None;
    };
    let (saga, step) = path?;
    Some(Claim { undo, saga, step, taken: parameter(argument)?.clone() })
}

/// Reports arguments that only a handler of a step can take.
fn no_claim(undo: Option<&Type>, on: Option<&Type>, errors: &mut Errors) {
    if let Some(undo) = undo {
        errors.at(undo, "`Undo<..>` is what a step left behind: name the step, `#[handler(undo = Saga::Step)]`");
    }
    let deadline = on.and_then(parameter).filter(|ty| last_segment(ty).is_some_and(|ident| ident == "Deadline"));
    if let Some(deadline) = deadline {
        errors.at(deadline, "a deadline is for the abort of its saga: name the abort, `#[handler(step = Saga::Abort)]`");
    }
}

/// The enum, and the whole path of its variant.
fn path(given: &Given, errors: &mut Errors) -> Option<(Path, Path)> {
    let step: Path = given.value("is the path of a step", errors)?;
    let mut saga = step.clone();
    saga.segments.pop();
    saga.segments.pop_punct();
    if saga.segments.is_empty() {
        given.wrong("names a step with its saga", errors);
        return None;
    }
    Some((saga, step))
}

/// The `E` in `On<E>`.
pub(super) fn parameter(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else { return None };
    arguments.args.iter().find_map(|argument| match argument {
        GenericArgument::Type(ty) => Some(ty),
        _ => None,
    })
}
