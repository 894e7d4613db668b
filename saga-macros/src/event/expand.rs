//! From the model to code: the implementation of `Event`, or of `EventSet`, `IntoPublished` and
//! what an event can be in a flow.

use proc_macro2::TokenStream;
use quote::quote;
use syn::{Generics, Path};

use super::model::{Event, Key, Model, Set};
use crate::shared::Target;

pub(super) fn model(model: &Model) -> TokenStream {
    match model {
        Model::Event(event) => self::event(event),
        Model::Set(set) => self::set(set),
        Model::Nothing => TokenStream::new(),
    }
}

fn event(event: &Event) -> TokenStream {
    let Event { target: Target { krate, ident, generics, cfgs }, topic, key: Some(Key { field, ty }), name, version } = event
    else {
        return TokenStream::new();
    };
    let generics = with_bounds(generics, krate, Some(ty));
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics #krate::__private::Event for #ident #ty_generics #where_clause {
            type Key = #ty;

            const NAME: &'static str = #name;
            const TOPIC: &'static str = #topic;
            const VERSION: u32 = #version;

            fn key(&self) -> &#ty {
                &self.#field
            }
        }
    }
}

/// A generic event is one wherever its parameters let it be written and read, and its key be written.
pub(super) fn with_bounds(generics: &Generics, krate: &Path, key: Option<&syn::Type>) -> Generics {
    let mut generics = generics.clone();
    if generics.type_params().next().is_some() {
        let clause = generics.make_where_clause();
        clause.predicates.push(syn::parse_quote! {
            Self: #krate::__private::Serialize + #krate::__private::DeserializeOwned + ::core::marker::Send + ::core::marker::Sync + 'static
        });
        if let Some(key) = key {
            clause.predicates.push(syn::parse_quote!(#key: #krate::__private::EventKey));
        }
    }
    generics
}

fn set(set: &Set) -> TokenStream {
    let Set { target: Target { krate, ident, generics, cfgs }, variants } = set;
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    let roles = roles(set);
    let types = variants.iter().map(|variant| {
        let super::model::Variant { ident, cfgs, field, event } = variant;
        quote! {
            #(#cfgs)*
            types.push(#krate::__private::member::<#event>().event_type(|bytes, key| {
                #krate::__private::member::<#event>().decode(bytes, key, |event| Self::#ident { #field: event })
            }));
        }
    });
    let arms = variants.iter().map(|variant| {
        let super::model::Variant { ident, cfgs, field, event } = variant;
        quote! {
            #(#cfgs)*
            Self::#ident { #field: event } => #krate::__private::member::<#event>().encode(event, into),
        }
    });
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics #krate::__private::EventSet for #ident #ty_generics #where_clause {
            fn types() -> #krate::__private::Vec<#krate::__private::EventType> {
                let mut types = #krate::__private::Vec::new();
                #(#types)*
                types
            }
        }

        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics #krate::__private::IntoPublished for #ident #ty_generics #where_clause {
            fn types() -> #krate::__private::Vec<#krate::__private::EventType> {
                <Self as #krate::__private::EventSet>::types()
            }

            fn encode(
                &self,
                into: &mut #krate::__private::Vec<#krate::__private::Outgoing>,
            ) -> ::core::result::Result<(), #krate::__private::Fault> {
                match self {
                    #(#arms)*
                }
            }
        }

        #roles
    }
}

/// In a flow, the enum is what all its events are. A condition cannot depend on a `cfg`, so that one with such variants is nothing
/// there.
pub(super) fn roles(set: &Set) -> TokenStream {
    let Set { target: Target { krate, ident, generics, cfgs }, variants } = set;
    if variants.iter().any(|variant| !variant.cfgs.is_empty()) || generics.lifetimes().next().is_some() {
        return TokenStream::new();
    }
    let (_, ty_generics, _) = generics.split_for_impl();
    let events: Vec<_> = variants.iter().map(|variant| &variant.event).collect();
    let with = |role: TokenStream| {
        let mut generics = generics.clone();
        generics.params.push(syn::parse_quote!(__S));
        generics.params.push(syn::parse_quote!(const __STEP: usize));
        let clause = generics.make_where_clause();
        clause.predicates.extend(events.iter().map(|event| -> syn::WherePredicate { syn::parse_quote!(#event: #role) }));
        generics
    };
    let trigger = quote!(#krate::__private::saga::TriggerOf<__S, __STEP>);
    let outcome = quote!(#krate::__private::saga::OutcomeOf<__S, __STEP>);
    let (triggers, outcomes) = (with(trigger.clone()), with(outcome.clone()));
    let (trigger_generics, _, trigger_clause) = triggers.split_for_impl();
    let (outcome_generics, _, outcome_clause) = outcomes.split_for_impl();
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #trigger_generics #trigger for #ident #ty_generics #trigger_clause {}

        #(#cfgs)*
        #[automatically_derived]
        impl #outcome_generics #outcome for #ident #ty_generics #outcome_clause {
            const EMITS: bool = false #(|| <#events as #outcome>::EMITS)*;
            const REJECTS: bool = false #(|| <#events as #outcome>::REJECTS)*;
        }
    }
}
