//! Small questions about syntax.

use syn::{
    Attribute, Generics, Ident, Lifetime, Path, Type, TypeReference,
    visit::{self, Visit},
};

/// What the generated items are for: the item's name, generics and `cfg` attributes, and where `sagas` is.
pub(crate) struct Target {
    pub(crate) krate: Path,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// `cfg`s written below the macro: what belongs to the item must vanish with it.
    pub(crate) cfgs: Vec<Attribute>,
}

impl Target {
    pub(crate) fn new(krate: Path, ident: &Ident, generics: &Generics, attributes: &[Attribute]) -> Self {
        Self { krate, ident: ident.clone(), generics: generics.clone(), cfgs: cfgs(attributes) }
    }
}

/// The `cfg` attributes among `attributes`.
pub(crate) fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

/// The name of a type as it is written, without its path: `On` of `sagas::extract::On<E>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last().map(|segment| &segment.ident),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

/// Whether a type borrows from something that does not live for ever.
pub(crate) fn borrowed(ty: &Type) -> bool {
    struct Borrows(bool);
    impl<'ast> Visit<'ast> for Borrows {
        fn visit_type_reference(&mut self, reference: &'ast TypeReference) {
            self.0 |= reference.lifetime.is_none();
            visit::visit_type_reference(self, reference);
        }

        fn visit_lifetime(&mut self, lifetime: &'ast Lifetime) {
            self.0 |= lifetime.ident != "static";
        }

        // What a function pointer borrows is its caller's.
        fn visit_type_bare_fn(&mut self, _: &'ast syn::TypeBareFn) {}
    }
    let mut borrows = Borrows(false);
    borrows.visit_type(ty);
    borrows.0
}
