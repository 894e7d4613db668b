//! The code for a `#[saga]` with mistakes: implementations that never run, in which every event has every role in every step, so
//! that the handlers of the steps do not cause further errors.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::{
    expand::{place, role_at},
    model::{Event, Saga},
};

pub(super) fn saga(saga: &Saga) -> TokenStream {
    let (krate, ident, cfgs) = (&saga.target.krate, &saga.target.ident, &saga.target.cfgs);
    let events = events(saga);
    let Some(any) = events.first() else { return TokenStream::new() };
    let end = |event: &Option<Event>| event.clone().unwrap_or_else(|| (*any).clone());
    let (starts, completes, aborts) = (end(&saga.starts), end(&saga.completes), end(&saga.aborts));
    let key = saga.key.as_ref().map_or_else(|| quote!(#krate::__private::String), |key| quote!(#key));
    let steps = saga.steps.iter().map(|step| &step.ident).chain(saga.abort.iter().map(|abort| &abort.ident));
    let roles = steps.map(|step| everything(saga, step, &events));
    quote! {
        #(#cfgs)*
        impl #krate::__private::saga::Saga for #ident {
            type Key = #key;
            type Starts = #starts;
            type Completes = #completes;
            type Aborts = #aborts;
            const NAME: &'static str = "";
            const VERSION: u32 = 1;
            fn definition() -> #krate::__private::saga::Definition {
                ::core::panic!()
            }
            fn events() -> #krate::__private::Vec<#krate::__private::EventType> {
                ::core::panic!()
            }
            fn step_name(&self) -> &'static str {
                ::core::panic!()
            }
        }

        #(#roles)*
    }
}

/// All events that are named anywhere, without duplicates.
fn events(saga: &Saga) -> Vec<&Event> {
    let of_steps = saga.steps.iter().flat_map(|step| {
        let undo = step.undo.iter().flat_map(|undo| undo.on.iter().chain(&undo.emits));
        step.on.iter().chain(&step.emits).chain(&step.rejects).chain(undo)
    });
    let of_abort = saga.abort.iter().flat_map(|abort| abort.on.iter().chain(&abort.emits));
    let mut events: Vec<&Event> = Vec::new();
    for event in saga.starts.iter().chain(&saga.completes).chain(&saga.aborts).chain(of_steps).chain(of_abort) {
        // Compared by name: one event with two paths would be implemented twice.
        if !events.iter().any(|known| known.name() == event.name()) {
            events.push(event);
        }
    }
    events
}

fn everything(saga: &Saga, variant: &Ident, events: &[&Event]) -> TokenStream {
    let (krate, ident, cfgs) = (&saga.target.krate, &saga.target.ident, &saga.target.cfgs);
    let place = place(saga, variant);
    let at = role_at(saga, variant, &quote!(Step), false);
    let refusals: Vec<&Event> = saga.steps.iter().filter_map(|step| step.rejects.as_ref()).collect();
    let impls = events.iter().map(|event| {
        let refuses = refusals.contains(event);
        let emits = !refuses;
        quote! {
            #(#cfgs)*
            impl #krate::__private::saga::TriggerOf<#ident, #place> for #event {}
            #(#cfgs)*
            impl #krate::__private::saga::OutcomeOf<#ident, #place> for #event {
                const EMITS: bool = #emits;
                const REJECTS: bool = #refuses;
            }
            #(#cfgs)*
            impl #krate::__private::saga::UndoneFrom<#ident, #place> for #event {}
            #(#cfgs)*
            impl #krate::__private::saga::UndoOutcomeOf<#ident, #place> for #event {}
        }
    });
    quote! {
        #at

        #(#cfgs)*
        impl #krate::__private::saga::UndoAt<#place> for #ident {
            fn triggers() -> #krate::__private::Vec<#krate::__private::EventType> {
                ::core::panic!()
            }
        }

        #(#cfgs)*
        impl #krate::__private::saga::TriggerOf<#ident, #place> for #krate::__private::saga::Deadline<#ident> {}

        #(#impls)*
    }
}
