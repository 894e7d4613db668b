//! The rules of `#[handler]`: each a place and a sentence. What depends on the meaning of a type and not on how it is written
//! is left to the compiler, by what is generated.

use syn::{FnArg, GenericParam, LitInt, LitStr, PatType, Path, ReturnType, Signature, Type};

use super::{
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
    Handler {
        target: Target::new(krate, &signature.ident, &signature.generics, &function.attributes),
        visibility: function.visibility.clone(),
        policy,
        exhausted,
        method: signature.receiver().is_some(),
        arguments: arguments.into_iter().map(|argument| (*argument.ty).clone()).collect(),
        output: output(signature, errors),
    }
}

fn policy(options: &Options, retry: Option<&Options>, errors: &mut Errors) -> Policy {
    let mut policy = Policy::default();
    if let Some(given) = retry.and_then(|retry| retry.find("max")) {
        let literal: Option<LitInt> = given.value("is a number of attempts", errors);
        policy.attempts = literal.and_then(|literal| {
            let attempts = literal.base10_parse().ok().filter(|attempts| *attempts >= 1 && literal.suffix().is_empty());
            if attempts.is_none() {
                given.wrong("counts all attempts, the first one included, so it is at least 1", errors);
            }
            attempts
        });
    }
    if let Some(given) = retry.and_then(|retry| retry.find("backoff")) {
        let literal: Option<LitStr> = given.value("is the shortest and the longest wait between two attempts", errors);
        policy.backoff = literal.and_then(|literal| {
            duration_range(&literal.value())
                .map_err(|wrong| errors.at(&literal, format!("`{}` {wrong}: write `\"200ms..30s\"`", literal.value())))
                .ok()
        });
    }
    if let Some(given) = options.find("timeout") {
        let literal: Option<LitStr> = given.value("is how long one call may take", errors);
        policy.timeout = literal.and_then(|literal| {
            duration(&literal.value())
                .map_err(|wrong| {
                    errors.at(&literal, format!("`{}` {wrong}: write `\"500ms\"`, `\"30s\"` or `\"1m30s\"`", literal.value()));
                })
                .ok()
        });
    }
    if let Some(given) = options.find("on_dead") {
        let literal: Option<LitStr> = given.value("is `\"release\"` or `\"hold\"`", errors);
        if let Some(literal) = literal {
            match literal.value().as_str() {
                "release" => {}
                "hold" => policy.hold = true,
                _ => errors.at(
                    &literal,
                    "`on_dead` is `\"release\"` (the messages behind a dead letter go on) or `\"hold\"` (they wait until it is retried or discarded)",
                ),
            }
        }
    }
    policy
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
    for second in called(&["On", "Batch"]).into_iter().skip(1) {
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
