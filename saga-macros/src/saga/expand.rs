//! Generates the definition of the saga as data, and the roles of each event in each step as types.

use std::time::Duration;

use proc_macro2::{Ident, TokenStream};
use quote::{quote, quote_spanned};
use syn::{Path, spanned::Spanned};

use super::model::{Abort, Event, Saga, Step};

pub(super) fn saga(saga: &Saga) -> TokenStream {
    let (Some(key), Some(starts), Some(completes), Some(aborts)) = (&saga.key, &saga.starts, &saga.completes, &saga.aborts)
    else {
        return TokenStream::new();
    };
    let Saga { target, name, version, .. } = saga;
    let (krate, ident, cfgs) = (&target.krate, &target.ident, &target.cfgs);
    let definition = definition(saga);
    let events = events(saga);
    let variants: Vec<_> = saga.steps.iter().map(|step| &step.ident).chain(saga.abort.iter().map(|abort| &abort.ident)).collect();
    let names = variants.iter().map(ToString::to_string);
    let roles = saga.steps.iter().map(|step| self::step(saga, step)).chain(saga.abort.iter().map(|it| abort(saga, it)));
    let keyed = events.iter().map(|event| {
        quote_spanned! {event.path.span()=>
            #krate::__private::saga::keyed_by::<#key, #event>();
        }
    });
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #krate::__private::saga::Saga for #ident {
            type Key = #key;
            type Starts = #starts;
            type Completes = #completes;
            type Aborts = #aborts;

            const NAME: &'static str = #name;
            const VERSION: u32 = #version;

            fn definition() -> #krate::__private::saga::Definition {
                #[allow(unused_imports)]
                use #krate::__private::saga::{Known, Unknown as _};
                #definition
            }

            fn events() -> #krate::__private::Vec<#krate::__private::EventType> {
                #[allow(unused_imports)]
                use #krate::__private::saga::{Known, Unknown as _};
                #krate::__private::saga::types(&[#(Known::<#events>::EVENT),*])
            }

            fn step_name(&self) -> &'static str {
                match self {
                    #(Self::#variants => #names,)*
                }
            }
        }

        #(#roles)*

        #(#cfgs)*
        const _: () = {
            #[allow(dead_code)]
            fn share_the_key() {
                #(#keyed)*
            }

            #[allow(unused_imports)]
            use #krate::__private::saga::{Known, Unknown as _};
            #krate::__private::saga::one_path_each(&[#(Known::<#events>::EVENT),*]);
        };
    }
}

/// All events, without duplicates, in the order of the saga.
pub(super) fn events(saga: &Saga) -> Vec<&Event> {
    let published = saga.steps.iter().flat_map(|step| {
        [step.emits.as_ref(), step.rejects.as_ref(), step.undo.as_ref().and_then(|undo| undo.emits.as_ref())]
            .into_iter()
            .flatten()
    });
    let mut events: Vec<&Event> = Vec::new();
    for event in saga.starts.iter().chain(published).chain(&saga.aborts) {
        if !events.contains(&event) {
            events.push(event);
        }
    }
    events
}

fn definition(saga: &Saga) -> TokenStream {
    let krate = &saga.target.krate;
    let (name, version, about) = (&saga.name, saga.version, &saga.about);
    let key = saga.key.as_ref().map(|key| quote!(#key).to_string().replace(' ', "")).unwrap_or_default();
    let [starts, completes, aborts] = [&saga.starts, &saga.completes, &saga.aborts].map(|event| reference(krate, event.as_ref()));
    let deadline = duration(krate, saga.deadline.unwrap_or_default());
    let steps = saga.steps.iter().map(|step| {
        let (name, about, pivot) = (step.ident.to_string(), &step.about, step.pivot.is_some());
        let [on, emits] = [&step.on, &step.emits].map(|event| reference(krate, event.as_ref()));
        let rejects = option(step.rejects.as_ref().map(|event| reference(krate, Some(event))));
        let undo = option(step.undo.as_ref().map(|undo| {
            let (on, emits) = (references(krate, &undo.on), reference(krate, undo.emits.as_ref()));
            quote!(#krate::__private::saga::Undo { on: #on, emits: #emits })
        }));
        let deadline = option(step.deadline.map(|deadline| duration(krate, deadline)));
        quote! {
            #krate::__private::saga::Step {
                name: #name.into(),
                about: #about.into(),
                on: #on,
                emits: #emits,
                rejects: #rejects,
                undo: #undo,
                pivot: #pivot,
                deadline: #deadline,
            }
        }
    });
    let abort = saga.abort.as_ref().map(|abort| {
        let (name, about, cancel, deadline) = (abort.ident.to_string(), &abort.about, abort.cancel, abort.deadline);
        let (on, emits) = (references(krate, &abort.on), reference(krate, abort.emits.as_ref()));
        quote! {
            #krate::__private::saga::Abort {
                name: #name.into(),
                about: #about.into(),
                on: #on,
                cancel: #cancel,
                deadline: #deadline,
                emits: #emits,
            }
        }
    });
    let events = events(saga);
    quote! {
        #krate::__private::saga::Definition {
            name: #name.into(),
            version: #version,
            about: #about.into(),
            key: #key.into(),
            starts: #starts,
            completes: #completes,
            aborts: #aborts,
            deadline: #deadline,
            steps: #krate::__private::Vec::from([#(#steps),*]),
            abort: #abort,
            former: #krate::__private::saga::former(&[#(Known::<#events>::EVENT),*]),
        }
    }
}

fn reference(krate: &Path, event: Option<&Event>) -> TokenStream {
    event.map(|event| quote!(#krate::__private::saga::event(Known::<#event>::EVENT))).unwrap_or_default()
}

fn references(krate: &Path, events: &[Event]) -> TokenStream {
    let events = events.iter().map(|event| reference(krate, Some(event)));
    quote!(#krate::__private::Vec::from([#(#events),*]))
}

fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

fn duration(krate: &Path, duration: Duration) -> TokenStream {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    quote!(#krate::__private::Duration::from_millis(#milliseconds))
}

/// The index of a variant, as handlers write it.
pub(super) fn place(saga: &Saga, variant: &Ident) -> TokenStream {
    let ident = &saga.target.ident;
    quote!({ #ident::#variant as usize })
}

fn step(saga: &Saga, step: &Step) -> TokenStream {
    let (krate, ident, cfgs) = (&saga.target.krate, &saga.target.ident, &saga.target.cfgs);
    let place = place(saga, &step.ident);
    let kind = if step.pivot.is_some() { quote!(Pivot) } else { quote!(Step) };
    let at = role_at(saga, &step.ident, &kind, step.rejects.is_some());
    let (on, emits) = (&step.on, &step.emits);
    let outcome = outcome(saga, &step.ident, emits.as_ref(), true);
    let refusal = step.rejects.as_ref().map(|event| self::outcome(saga, &step.ident, Some(event), false));
    let undo = step.undo.as_ref().map(|undo| {
        let (triggers, undone) = (&undo.on, &undo.emits);
        quote! {
            #(#cfgs)*
            #[automatically_derived]
            impl #krate::__private::saga::UndoAt<#place> for #ident {
                fn triggers() -> #krate::__private::Vec<#krate::__private::EventType> {
                    #[allow(unused_imports)]
                    use #krate::__private::saga::{Known, Unknown as _};
                    #krate::__private::saga::types(&[#(Known::<#triggers>::EVENT),*])
                }
            }

            #(#cfgs)*
            #[automatically_derived]
            impl #krate::__private::saga::UndoneFrom<#ident, #place> for #emits {}

            #(#cfgs)*
            #[automatically_derived]
            impl #krate::__private::saga::UndoOutcomeOf<#ident, #place> for #undone {}
        }
    });
    quote! {
        #at

        #(#cfgs)*
        #[automatically_derived]
        impl #krate::__private::saga::TriggerOf<#ident, #place> for #on {}

        #outcome
        #refusal
        #undo
    }
}

fn abort(saga: &Saga, abort: &Abort) -> TokenStream {
    let (krate, ident, cfgs) = (&saga.target.krate, &saga.target.ident, &saga.target.cfgs);
    let place = place(saga, &abort.ident);
    let at = role_at(saga, &abort.ident, &quote!(Abort), false);
    let outcome = outcome(saga, &abort.ident, abort.emits.as_ref(), true);
    let triggers = abort.on.iter().map(|event| {
        quote! {
            #(#cfgs)*
            #[automatically_derived]
            impl #krate::__private::saga::TriggerOf<#ident, #place> for #event {}
        }
    });
    let deadline = abort.deadline.then(|| {
        quote! {
            #(#cfgs)*
            #[automatically_derived]
            impl #krate::__private::saga::TriggerOf<#ident, #place> for #krate::__private::saga::Deadline<#ident> {
                const DEADLINE: bool = true;
            }
        }
    });
    quote!(#at #(#triggers)* #deadline #outcome)
}

/// Declares that the variant is a step or the abort, of this kind.
pub(super) fn role_at(saga: &Saga, variant: &Ident, kind: &TokenStream, rejects: bool) -> TokenStream {
    let (krate, ident, cfgs) = (&saga.target.krate, &saga.target.ident, &saga.target.cfgs);
    let (place, name) = (place(saga, variant), variant.to_string());
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #krate::__private::saga::StepAt<#place> for #ident {
            const STEP_NAME: &'static str = #name;
            const KIND: #krate::__private::saga::RoleKind = #krate::__private::saga::RoleKind::#kind;
            const REJECTS: bool = #rejects;
        }
    }
}

/// Declares that `event` is an outcome of a step: that it is done, or that it is refused.
fn outcome(saga: &Saga, variant: &Ident, event: Option<&Event>, done: bool) -> TokenStream {
    let (krate, ident, cfgs) = (&saga.target.krate, &saga.target.ident, &saga.target.cfgs);
    let (place, refused) = (place(saga, variant), !done);
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #krate::__private::saga::OutcomeOf<#ident, #place> for #event {
            const EMITS: bool = #done;
            const REJECTS: bool = #refused;
        }
    }
}
