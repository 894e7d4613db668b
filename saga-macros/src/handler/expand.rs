//! Generates a type with the name of the fn, and its `HandlerDef`.

use std::time::Duration;

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{GenericParam, Generics, Ident, Path, Type, ext::IdentExt, spanned::Spanned};

use super::model::{Claim, Handler, Output, Policy};
use crate::shared::Target;

pub(super) fn model(handler: &Handler) -> TokenStream {
    let Target { krate, ident, generics, .. } = &handler.target;
    let name = ident.unraw().to_string();
    let policy = policy(&handler.policy, krate);
    let adapter = format_ident!("handler_{}", handler.arguments.len());
    let arguments = &handler.arguments;
    let output = match &handler.output {
        Output::Unit => quote!(()),
        Output::Named(ty) => quote!(#ty),
        Output::Opaque => quote!(_),
    };
    let parameters = parameters(generics);
    let function = if parameters.is_empty() { quote!(#ident) } else { quote!(#ident::<#(#parameters),*>) };
    let exhausted = handler.exhausted.as_ref().map(|path| quote!(.exhausted(#path)));
    // Located at the name of the fn, so that the compiler reports problems with the call there.
    let at = Span::mixed_site().located_at(ident.span());
    let body = quote_spanned! {at=>
        #krate::__private::#adapter::<#(#arguments,)* #output, _>(
            #krate::__private::HandlerOptions::new(#name, ::core::module_path!()) #policy,
            #function,
        )
        #exhausted
    };
    let body = handler.claim.as_ref().map_or(body.clone(), |claim| claimed(claim, &output, krate, &body));
    let def = def(handler, &body);
    let answer = handler.claim.as_ref().filter(|claim| !claim.undo).map(|claim| answer(handler, claim, &output));
    // A constant cannot use generic parameters. For a generic handler, the same is checked when the app starts.
    let check = parameters.is_empty().then(|| check(handler));
    let refusal = handler.unnamed_refusal.as_ref().filter(|_| parameters.is_empty()).map(|failure| refusal(handler, failure));
    quote!(#def #check #answer #refusal)
}

/// Checks that the type of a handler that refuses names its refusal.
fn refusal(handler: &Handler, failure: &Type) -> TokenStream {
    let Target { krate, cfgs, .. } = &handler.target;
    let check = quote_spanned! {failure.span()=>
        check_refusal(#krate::__private::Refusal::<#failure>::IS_NAMED)
    };
    quote! {
        #(#cfgs)*
        const _: () = {
            #[allow(unused_imports)]
            use #krate::__private::{Named as _, check_refusal};
            #check
        };
    }
}

/// Wraps the handler in `body` as one that does or undoes a step of a saga.
fn claimed(claim: &Claim, output: &TokenStream, krate: &Path, body: &TokenStream) -> TokenStream {
    let Claim { saga, step, taken, undo } = claim;
    let claim = if *undo { quote!(claim_undo) } else { quote!(claim_step) };
    quote!(#krate::__private::saga::#claim::<#saga, #taken, #output, { #step as usize }>(#body))
}

/// Checks that a handler of a step can return all outcomes that the saga declares for the step.
fn answer(handler: &Handler, claim: &Claim, output: &TokenStream) -> TokenStream {
    let Target { krate, ident, cfgs, .. } = &handler.target;
    let Claim { saga, step, .. } = claim;
    let check = quote_spanned! {ident.span()=>
        check_answer(Answer::<#saga, #output, { #step as usize }>::CAN)
    };
    quote! {
        #(#cfgs)*
        const _: () = {
            #[allow(unused_imports)]
            use #krate::__private::saga::{Answer, NoAnswer as _, check_answer};
            #check
        };
    }
}

/// The type that stands for the fn in `handlers![..]`; `body` creates its handler.
pub(super) fn def(handler: &Handler, body: &TokenStream) -> TokenStream {
    let Target { krate, ident, generics, cfgs } = &handler.target;
    let visibility = &handler.visibility;
    let types = generics.type_params().map(|parameter| &parameter.ident);
    let declared = declared(generics);
    let fields = generics.type_params().next().map(|_| quote!(types: ::core::marker::PhantomData<fn() -> (#(#types,)*)>));
    let generics = with_static(generics);
    let (impl_generics, ty_generics, where_clause) = generics.split_for_impl();
    quote! {
        #(#cfgs)*
        #[doc(hidden)]
        #[allow(non_camel_case_types, missing_debug_implementations)]
        #visibility struct #ident #declared { #fields }

        #(#cfgs)*
        impl #impl_generics #krate::__private::HandlerDef for #ident #ty_generics #where_clause {
            fn handler() -> #krate::__private::Handler {
                #body
            }
        }
    }
}

/// Checks the rules between arguments by type, so that an alias cannot bypass them.
fn check(handler: &Handler) -> TokenStream {
    let Target { krate, ident, cfgs, .. } = &handler.target;
    let (arguments, names_a_topic) = (&handler.arguments, handler.policy.topic.is_some());
    let check = quote_spanned! {ident.span()=>
        check_arguments(&[#(#krate::__private::Argument::<#arguments>::KIND),*], #names_a_topic)
    };
    quote! {
        #(#cfgs)*
        const _: () = {
            #[allow(unused_imports)]
            use #krate::__private::{NoExtractor as _, check_arguments};
            #check
        };
    }
}

fn policy(policy: &Policy, krate: &Path) -> TokenStream {
    let attempts = policy.attempts.map(|attempts| quote!(.attempts(#attempts)));
    let backoff = policy.backoff.map(|(first, longest)| {
        let (first, longest) = (duration(first, krate), duration(longest, krate));
        quote!(.backoff(#first, #longest))
    });
    let retry = (attempts.is_some() || backoff.is_some())
        .then(|| quote!(.retry(#krate::__private::RetryPolicy::DEFAULT #attempts #backoff)));
    let timeout = policy.timeout.map(|timeout| {
        let timeout = duration(timeout, krate);
        quote!(.timeout(#timeout))
    });
    let topic = policy.topic.as_ref().map(|topic| quote!(.topic(#topic)));
    let hold = policy.hold.then(|| quote!(.after_dead_letter(#krate::__private::AfterDeadLetter::Hold)));
    quote!(#retry #timeout #topic #hold)
}

fn duration(duration: Duration, krate: &Path) -> TokenStream {
    let milliseconds = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    quote!(#krate::__private::Duration::from_millis(#milliseconds))
}

/// The names of the type and const parameters of the fn, as arguments.
fn parameters(generics: &Generics) -> Vec<&Ident> {
    let names = generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(ty) => Some(&ty.ident),
        GenericParam::Const(value) => Some(&value.ident),
        GenericParam::Lifetime(_) => None,
    });
    names.collect()
}

/// The declaration of the parameters, without bounds, which naming a type does not need.
fn declared(generics: &Generics) -> Option<TokenStream> {
    let parameters = generics.params.iter().filter_map(|parameter| match parameter {
        GenericParam::Type(ty) => {
            let ident = &ty.ident;
            Some(quote!(#ident))
        }
        GenericParam::Const(value) => {
            let (ident, ty) = (&value.ident, &value.ty);
            Some(quote!(const #ident: #ty))
        }
        GenericParam::Lifetime(_) => None,
    });
    let parameters: Vec<TokenStream> = parameters.collect();
    (!parameters.is_empty()).then(|| quote!(<#(#parameters),*>))
}

/// Adds `'static` bounds: a handler outlives every call.
fn with_static(generics: &Generics) -> Generics {
    let mut generics = generics.clone();
    let types: Vec<Ident> = generics.type_params().map(|parameter| parameter.ident.clone()).collect();
    if !types.is_empty() {
        generics
            .make_where_clause()
            .predicates
            .extend(types.iter().map(|ty| -> syn::WherePredicate { syn::parse_quote!(#ty: 'static) }));
    }
    generics
}
