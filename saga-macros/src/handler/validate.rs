//! The rules of `#[handler]`. Each reports a place and a message. Rules that depend on the meaning of a type, and not only on how
//! it is written, are checked by the generated code.

use std::time::Duration;

use syn::{FnArg, GenericParam, Ident, LitInt, LitStr, PatType, Path, ReturnType, Signature, Type, WherePredicate};

use super::{
    claim,
    model::{Handler, Output, Policy},
    parse::Source,
    refusal,
};
use crate::shared::{Errors, Options, Target, borrowed, duration, duration_range, last_segment, topic_name};

/// The largest number of arguments that `HandlerFn` is implemented for.
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
    if claim.is_none() {
        any_type(signature, &arguments, errors);
    }
    Handler {
        target: Target::new(krate, &signature.ident, &signature.generics, &function.attributes),
        visibility: function.visibility.clone(),
        policy,
        exhausted,
        claim,
        method: signature.receiver().is_some(),
        arguments: arguments.into_iter().map(|argument| (*argument.ty).clone()).collect(),
        output: output(signature, errors),
        unnamed_refusal: syn::parse2(function.body.clone()).ok().and_then(|body| refusal::unnamed(signature, &body)),
    }
}

fn policy(options: &Options, retry: Option<&Options>, errors: &mut Errors) -> Policy {
    Policy {
        attempts: retry.and_then(|retry| attempts(retry, errors)),
        backoff: retry.and_then(|retry| backoff(retry, errors)),
        timeout: timeout(options, errors),
        hold: hold(options, errors),
        topic: options
            .find("topic")
            .and_then(|given| given.value::<LitStr>("is the topic of the records that are taken as they are", errors))
            .map(|literal| topic_name(&literal, errors)),
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

/// Whether later messages of the key wait behind a dead letter.
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
        errors.at(
            token,
            "a handler is called by the runtime, which cannot fulfil the conditions of an `unsafe fn`: remove `unsafe`",
        );
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

/// The arguments that are valid in form.
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
                            "the runtime needs the type of each argument: name the type, or make it a parameter of the fn",
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

/// The rules between arguments, for types with their usual names. The generated code checks the types themselves.
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

/// The type that a generic handler takes must be an event for every choice of its parameters; a parameter without bounds cannot
/// be.
fn any_type(signature: &Signature, arguments: &[&PatType], errors: &mut Errors) {
    let generics = &signature.generics;
    let predicates = generics.where_clause.iter().flat_map(|clause| &clause.predicates);
    let bounded = |ident: &Ident| {
        let is_it = |ty: &Type| matches!(ty, Type::Path(path) if path.path.is_ident(ident));
        predicates.clone().any(|predicate| matches!(predicate, WherePredicate::Type(bound) if is_it(&bound.bounded_ty)))
    };
    for argument in arguments {
        let takes = last_segment(&argument.ty).is_some_and(|ident| ident == "On" || ident == "Batch");
        let Some(Type::Path(taken)) = claim::parameter(&argument.ty).filter(|_| takes) else { continue };
        let free = generics.type_params().find(|parameter| taken.path.is_ident(&parameter.ident));
        if let Some(free) = free.filter(|parameter| parameter.bounds.is_empty() && !bounded(&parameter.ident)) {
            let (handler, event) = (&signature.ident, &free.ident);
            errors.at(
                free,
                format!(
                    "a handler takes an event, and `{event}` can be any type: write `{event}: sagas::message::Event`; the handler is listed with \
                     its event then, `handlers![{handler}::<OrderCreated>]`"
                ),
            );
        }
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
