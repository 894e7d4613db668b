//! From the model to code: the implementation of `Event`, or of `EventSet` and `IntoPublished`.

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
    let types = variants.iter().map(|variant| {
        let super::model::Variant { ident, cfgs, field, event } = variant;
        quote! {
            #(#cfgs)*
            types.push(#krate::__private::member::<#event>().event_type(|bytes| {
                #krate::__private::member::<#event>().decode(bytes, |event| Self::#ident { #field: event })
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
    }
}
