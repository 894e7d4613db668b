//! What stands in for an `#[event]` with mistakes: implementations that are never run, so that the code which uses the event
//! is not reported as well.

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
        // With its key, the event is one; what else is wrong with it shows at run time only.
        Model::Event(event) if event.key.is_some() => expand::model(model),
        Model::Event(event) => {
            let Target { krate, ident, generics, cfgs } = &event.target;
            let generics = with_bounds(generics, krate, None);
            let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
            quote! {
                #(#cfgs)*
                impl #impl_generics #krate::__private::Event for #ident #ty_generics #where_clause {
                    type Key = #krate::__private::String;
                    const NAME: &'static str = "";
                    const TOPIC: &'static str = "";
                    const VERSION: u32 = 1;
                    fn key(&self) -> &Self::Key {
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
