//! The rules of `#[handler]`: each a place and a sentence. What depends on the meaning of a type and not on how it is written
//! is left to the compiler, by what is generated.

use std::time::Duration;

use syn::{FnArg, GenericParam, LitInt, LitStr, PatType, Path, ReturnType, Signature, Type};

use super::{
    claim,
    model::{Handler, Output, Policy},
    parse::Source,
};
use crate::shared::{Errors, Options, Target, borrowed, duration, duration_range, last_segment};

/// As many as `HandlerFn` is implemented for.
const MOST_ARGUMENTS: usize = 8;

pub(super) fn model(source: &Source, errors: &mut Errors) -> Handler {
    let function = &source.function;
    let signature = &function.signature;
    let krate = source.options.krate(errors);
    let policy = policy(&source.options, source.retry.as_ref(), errors);
    let exhausted = source
        .options
        .find("exhausted")
        .and_then(|given| given.value::<Path>("is the path of the fn to call when the attempts have ended", errors));
    qualifiers(signature, errors);
    generics(signature, errors);
    let arguments = arguments(signature, errors);
    roles(signature, &arguments, errors);
    let claim = claim::of(&source.options, signature, &arguments, errors);
    Handler {
        target: Target::new(krate, &signature.ident, &signature.generics, &function.attributes),
        visibility: function.visibility.clone(),
        policy,
        exhausted,
        claim,
        method: signature.receiver().is_some(),
        arguments: arguments.into_iter().map(|argument| (*argument.ty).clone()).collect(),
        output: output(signature, errors),
    }
}

fn policy(options: &Options, retry: Option<&Options>, errors: &mut Errors) -> Policy {
    Policy {
        attempts: retry.and_then(|retry| attempts(retry, errors)),
        backoff: retry.and_then(|retry| backoff(retry, errors)),
        timeout: timeout(options, errors),
        hold: hold(options, errors),
    }
}

fn attempts(retry: &Options, errors: &mut Errors) -> Option<u32> {
    let given = retry.find("max")?;
    let literal: LitInt = given.value("is a number of attempts", errors)?;
    let attempts = literal.base10_parse().ok().filter(|attempts| *attempts >= 1 && literal.suffix().is_empty());
    if attempts.is_none() {
        given.wrong("counts all attempts, the first one included, from 1 to 4294967295", errors);
    }
    attempts
}

fn backoff(retry: &Options, errors: &mut Errors) -> Option<(Duration, Duration)> {
    let literal: LitStr = retry.find("backoff")?.value("is the shortest and the longest wait between two attempts", errors)?;
    let text = literal.value();
    let range = duration_range(&text);
    range.map_err(|wrong| errors.at(&literal, format!("`{text}` {wrong}; write `\"200ms..30s\"`"))).ok()
}

fn timeout(options: &Options, errors: &mut Errors) -> Option<Duration> {
    let literal: LitStr = options.find("timeout")?.value("is how long one call may take", errors)?;
    let text = literal.value();
    let timeout = duration(&text);
    timeout.map_err(|wrong| errors.at(&literal, format!("`{text}` {wrong}; write `\"500ms\"`, `\"30s\"` or `\"1m30s\"`"))).ok()
}

/// Whether the messages behind a dead letter wait.
fn hold(options: &Options, errors: &mut Errors) -> bool {
    let given = options.find("on_dead");
    let Some(literal) = given.and_then(|given| given.value::<LitStr>("is `\"release\"` or `\"hold\"`", errors)) else {
        return false;
    };
    match literal.value().as_str() {
        "release" => false,
        "hold" => true,
        _ => {
            errors.at(
                &literal,
                "`on_dead` is `\"release\"` (the messages behind a dead letter go on) or `\"hold\"` (they wait until it is retried or discarded)",
            );
            false
        }
    }
}

fn qualifiers(signature: &Signature, errors: &mut Errors) {
    if signature.asyncness.is_none() {
        errors.at(&signature.fn_token, "a handler is asynchronous: write `async fn`");
    }
    if let Some(token) = &signature.unsafety {
        errors.at(token, "a handler is called by the runtime, which can promise nothing on its behalf: remove `unsafe`");
    }
    if let Some(token) = &signature.abi {
        errors.at(token, "a handler is called from Rust: remove `extern`");
    }
}

fn generics(signature: &Signature, errors: &mut Errors) {
    for parameter in &signature.generics.params {
        if let GenericParam::Lifetime(lifetime) = parameter {
            errors.at(lifetime, format!("a handler owns its arguments: remove `{}`", lifetime.lifetime));
        }
    }
}

/// The arguments that are not at fault by their form.
fn arguments<'a>(signature: &'a Signature, errors: &mut Errors) -> Vec<&'a PatType> {
    let mut arguments = Vec::new();
    for input in &signature.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                errors.at(receiver, "a handler is no method: make it a free fn, and take what `self` held as `State<..>`")
            }
            FnArg::Typed(argument) => {
                if let Some(cfg) = argument.attrs.iter().find(|attribute| attribute.path().is_ident("cfg")) {
                    errors
                        .at(cfg, "an argument of a handler is always there: put `#[cfg(..)]` on two versions of the fn instead");
                }
                match &*argument.ty {
                    Type::ImplTrait(ty) => {
                        errors.at(
                            ty,
                            "the runtime has to know the type of each argument: name the type, or make it a parameter of the fn",
                        );
                    }
                    Type::Reference(ty) if borrowed(&argument.ty) => {
                        let owned = &ty.elem;
                        errors.at(ty, format!("a handler owns its arguments: take `{}` by value", quote::quote!(#owned)));
                    }
                    ty if borrowed(ty) => errors.at(ty, "a handler owns its arguments: take this without a borrow"),
                    _ => arguments.push(argument),
                }
            }
        }
    }
    if arguments.len() > MOST_ARGUMENTS {
        errors.at(
            &arguments[MOST_ARGUMENTS].ty,
            format!("a handler takes at most {MOST_ARGUMENTS} arguments: put values that belong together into one `State<..>`"),
        );
    }
    arguments
}

/// The rules between arguments, for those that are called by their usual names; the rest is found by type.
fn roles(signature: &Signature, arguments: &[&PatType], errors: &mut Errors) {
    if signature.inputs.is_empty() {
        errors.at(
            &signature.ident,
            "a handler takes the event it handles: add `On(event): On<E>`, or `Batch(events): Batch<E>` for all that is waiting",
        );
    }
    let called = |names: &[&str]| -> Vec<&Type> {
        let is = |ty: &Type| last_segment(ty).is_some_and(|ident| names.iter().any(|name| ident == name));
        arguments.iter().map(|argument| &*argument.ty).filter(|ty| is(ty)).collect()
    };
    for second in called(&["On", "Batch", "Undo"]).into_iter().skip(1) {
        errors.at(
            second,
            "a handler takes one event: to take several types, put them into an enum with `#[event]` and take `On<ThatEnum>`",
        );
    }
    for name in ["Tx", "Work", "Meta"] {
        for second in called(&[name]).into_iter().skip(1) {
            errors.at(second, format!("a delivery has one `{name}`, and it is taken already: remove this argument"));
        }
    }
    if let (Some(_), Some(work)) = (called(&["Tx"]).first(), called(&["Work"]).first()) {
        errors.at(
            work,
            "a handler takes `Tx` or `Work`, not both: `Work` begins a transaction while `Tx` holds one open, and where the database has one writer (SQLite) it would wait for itself; take `Work` alone and call `work.begin()` when the call to the outside has returned",
        );
    }
    if let (Some(_), Some(meta)) = (called(&["Batch"]).first(), called(&["Meta"]).first()) {
        errors.at(meta, "each event of a `Batch` comes with its own `Meta`: remove this argument and take it from the pairs in `Batch(events)`");
    }
}

fn output(signature: &Signature, errors: &mut Errors) -> Output {
    let ReturnType::Type(_, ty) = &signature.output else {
        return Output::Unit;
    };
    if borrowed(ty) {
        errors.at(ty, "what a handler returns is published after it has ended: return it by value");
    }
    match &**ty {
        Type::ImplTrait(_) | Type::Never(_) | Type::Infer(_) => Output::Opaque,
        _ => Output::Named(ty.clone()),
    }
}
