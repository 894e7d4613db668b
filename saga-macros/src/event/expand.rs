//! Generates the implementation of `Event`, or of `EventSet`, `IntoPublished` and the roles that a set of events has in a saga.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;
use syn::{Generics, Path, Type, spanned::Spanned};

use super::model::{Event, Key, Model, Set, Upcast};
use crate::shared::Target;

pub(super) fn model(model: &Model) -> TokenStream {
    match model {
        Model::Event(event) => self::event(event),
        Model::Set(set) => self::set(set),
        Model::Nothing => TokenStream::new(),
    }
}

fn event(event: &Event) -> TokenStream {
    let Event { target: Target { krate, ident, generics, cfgs }, topic, key: Some(key), name, version, also, codec, .. } = event
    else {
        return TokenStream::new();
    };
    let also = (!also.is_empty()).then(|| quote!(const ALSO: &'static [&'static str] = &[#(#also),*];));
    let read = read(event);
    let (key_type, key) = (key.ty.as_ref().map_or_else(|| quote!(#krate::__private::String), |ty| quote!(#ty)), text(key, krate));
    let generics = with_bounds(generics, krate, event.key.as_ref().and_then(|key| key.ty.as_ref()), codec.as_ref());
    // Located at the event's name, so that the compiler reports problems with serde there.
    let json = || located(quote!(#krate::__private::Json), ident.span());
    let codec = codec.as_ref().map_or_else(json, |codec| quote!(#codec));
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    quote! {
        #(#cfgs)*
        #[automatically_derived]
        impl #impl_generics #krate::__private::Event for #ident #ty_generics #where_clause {
            type Key = #key_type;
            type Codec = #codec;

            const NAME: &'static str = #name;
            const TOPIC: &'static str = #topic;
            const VERSION: u32 = #version;
            #also

            fn key(&self) -> #krate::__private::String {
                #key
            }

            #read
        }
    }
}

/// `tokens` with the source location of `place`.
fn located(tokens: TokenStream, place: Span) -> TokenStream {
    let at = |mut token: TokenTree| {
        token.set_span(token.span().located_at(place));
        token
    };
    tokens.into_iter().map(at).collect()
}

/// The expression for the key as text.
fn text(Key { paths, ty }: &Key, krate: &Path) -> TokenStream {
    match (paths.as_slice(), ty) {
        // Only the bound of the trait requires that the type can be a key, so that this is reported once.
        ([path], Some(_)) => quote!(#krate::__private::key_of::<Self>(&self.#(#path).*)),
        ([path], None) => quote!(#krate::__private::EventKey::to_text(&self.#(#path).*)),
        _ => {
            let parts = paths.iter().map(|path| quote!(#krate::__private::EventKey::to_text(&self.#(#path).*)));
            quote!(#krate::__private::joined_key(&[#(#parts),*]))
        }
    }
}

/// Generates `read`, which converts earlier versions by their upcasts. There is one match arm for each upcast; it also reads the
/// lower versions that have no upcast of their own.
fn read(event: &Event) -> Option<TokenStream> {
    let Event { target: Target { krate, .. }, upcasts, .. } = event;
    let arms = upcasts.iter().enumerate().map(|(at, first)| {
        let up_to = first.from;
        let steps = upcasts.iter().enumerate().skip(at).map(|(at, Upcast { from, function })| {
            let name = quote!(#function).to_string().replace(' ', "");
            let next = if at + 1 < upcasts.len() { quote!(_) } else { quote!(Self) };
            // Located at the function, so that type errors are reported there.
            let upcast = located(quote!(#krate::__private::upcast::<Self, _, #next, _>), function.span());
            quote!(let value = #upcast(#from, #name, #function, value)?;)
        });
        quote! {
            ..=#up_to => {
                let value = #krate::__private::old::<Self, _>(value, version)?;
                #(#steps)*
                ::core::result::Result::Ok(value)
            }
        }
    });
    (!upcasts.is_empty()).then(|| {
        quote! {
            fn read(value: &[u8], version: u32) -> ::core::result::Result<Self, #krate::__private::Fault> {
                match version {
                    #(#arms)*
                    _ => #krate::__private::current(value, version),
                }
            }
        }
    })
}

/// A generic event implements the trait where its parameters allow it to be encoded and decoded, and its key to be written.
pub(super) fn with_bounds(generics: &Generics, krate: &Path, key: Option<&Type>, codec: Option<&Type>) -> Generics {
    let mut generics = generics.clone();
    if generics.type_params().next().is_some() {
        let clause = generics.make_where_clause();
        clause.predicates.push(match codec {
            None => syn::parse_quote! {
                Self: #krate::__private::Serialize + #krate::__private::DeserializeOwned + ::core::marker::Send + ::core::marker::Sync + 'static
            },
            Some(_) => syn::parse_quote!(Self: ::core::marker::Send + ::core::marker::Sync + 'static),
        });
        if let Some(codec) = codec {
            clause.predicates.push(syn::parse_quote!(#codec: #krate::__private::Encode<Self> + #krate::__private::Decode<Self>));
        }
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
            types.push(#krate::__private::member::<#event>().event_type(|encoded| {
                #krate::__private::member::<#event>().decode(encoded, |event| Self::#ident { #field: event })
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

/// In a saga, an enum has the roles that all its events have. A where clause cannot depend on a `cfg`, so an enum with such
/// variants has no roles.
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
