//! The code for a `#[saga]` with mistakes: implementations that never run, in which every event has every role in every step, so
//! that the handlers of the steps do not cause further errors.

use proc_macro2::{Ident, TokenStream};
use quote::quote;

use super::{
    expand::{place, role_at},
    model::{Event, Flow},
};

pub(super) fn flow(flow: &Flow) -> TokenStream {
    let (krate, ident, cfgs) = (&flow.target.krate, &flow.target.ident, &flow.target.cfgs);
    let events = events(flow);
    let Some(any) = events.first() else { return TokenStream::new() };
    let end = |event: &Option<Event>| event.clone().unwrap_or_else(|| (*any).clone());
    let (starts, completes, aborts) = (end(&flow.starts), end(&flow.completes), end(&flow.aborts));
    let key = flow.key.as_ref().map_or_else(|| quote!(#krate::__private::String), |key| quote!(#key));
    let steps = flow.steps.iter().map(|step| &step.ident).chain(flow.abort.iter().map(|abort| &abort.ident));
    let roles = steps.map(|step| everything(flow, step, &events));
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
fn events(flow: &Flow) -> Vec<&Event> {
    let of_steps = flow.steps.iter().flat_map(|step| {
        let undo = step.undo.iter().flat_map(|undo| undo.on.iter().chain(&undo.emits));
        step.on.iter().chain(&step.emits).chain(&step.rejects).chain(undo)
    });
    let of_abort = flow.abort.iter().flat_map(|abort| abort.on.iter().chain(&abort.emits));
    let mut events: Vec<&Event> = Vec::new();
    for event in flow.starts.iter().chain(&flow.completes).chain(&flow.aborts).chain(of_steps).chain(of_abort) {
        // Compared by name: one event with two paths would be implemented twice.
        if !events.iter().any(|known| known.name() == event.name()) {
            events.push(event);
        }
    }
    events
}

fn everything(flow: &Flow, variant: &Ident, events: &[&Event]) -> TokenStream {
    let (krate, ident, cfgs) = (&flow.target.krate, &flow.target.ident, &flow.target.cfgs);
    let place = place(flow, variant);
    let at = role_at(flow, variant, &quote!(Step), false);
    let refusals: Vec<&Event> = flow.steps.iter().filter_map(|step| step.rejects.as_ref()).collect();
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
