//! The code for an `#[event]` with mistakes: implementations that never run, so that the code that uses the event does not cause
//! further errors.

use proc_macro2::TokenStream;
use quote::quote;

use super::{
    expand::{self, with_bounds},
    model::Model,
    parse::Source,
};
use crate::shared::Target;

pub(super) fn source(source: &Source, model: &Model) -> TokenStream {
    if source.item.generics.lifetimes().next().is_some() {
        return TokenStream::new();
    }
    match model {
        // With a key, the real implementation can be generated; the other mistakes do not cause further compile errors.
        Model::Event(event) if event.key.is_some() => expand::model(model),
        Model::Event(event) => {
            let Target { krate, ident, generics, cfgs } = &event.target;
            let generics = with_bounds(generics, krate, None, event.codec.as_ref());
            let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
            let codec = event.codec.as_ref().map_or_else(|| quote!(#krate::__private::Json), |codec| quote!(#codec));
            quote! {
                #(#cfgs)*
                impl #impl_generics #krate::__private::Event for #ident #ty_generics #where_clause {
                    type Key = #krate::__private::String;
                    type Codec = #codec;
                    const NAME: &'static str = "";
                    const TOPIC: &'static str = "";
                    const VERSION: u32 = 1;
                    fn key(&self) -> #krate::__private::String {
                        ::core::panic!()
                    }
                }
            }
        }
        Model::Set(set) => {
            let Target { krate, ident, generics, cfgs } = &set.target;
            let roles = expand::roles(set);
            let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
            quote! {
                #(#cfgs)*
                impl #impl_generics #krate::__private::EventSet for #ident #ty_generics #where_clause {
                    fn types() -> #krate::__private::Vec<#krate::__private::EventType> {
                        ::core::panic!()
                    }
                }

                #(#cfgs)*
                impl #impl_generics #krate::__private::IntoPublished for #ident #ty_generics #where_clause {
                    fn types() -> #krate::__private::Vec<#krate::__private::EventType> {
                        ::core::panic!()
                    }
                    fn encode(
                        &self,
                        _: &mut #krate::__private::Vec<#krate::__private::Outgoing>,
                    ) -> ::core::result::Result<(), #krate::__private::Fault> {
                        ::core::panic!()
                    }
                }

                #roles
            }
        }
        Model::Nothing => TokenStream::new(),
    }
}
