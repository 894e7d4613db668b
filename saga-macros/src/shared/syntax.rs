//! Helpers for syntax.

use syn::{
    Attribute, Generics, Ident, Lifetime, Path, Type, TypeReference,
    visit::{self, Visit},
};

/// The target of the generated items: the name, generics and `cfg` attributes of the item, and the path of `sagas`.
pub(crate) struct Target {
    pub(crate) krate: Path,
    pub(crate) ident: Ident,
    pub(crate) generics: Generics,
    /// The `cfg` attributes below the macro, which the generated items must repeat.
    pub(crate) cfgs: Vec<Attribute>,
}

impl Target {
    pub(crate) fn new(krate: Path, ident: &Ident, generics: &Generics, attributes: &[Attribute]) -> Self {
        Self { krate, ident: ident.clone(), generics: generics.clone(), cfgs: cfgs(attributes) }
    }
}

/// The `cfg` attributes in `attributes`.
pub(crate) fn cfgs(attributes: &[Attribute]) -> Vec<Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("cfg")).cloned().collect()
}

/// The name of a type as it is written, without its path: `On` for `sagas::extract::On<E>`.
pub(crate) fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) if path.qself.is_none() => path.path.segments.last().map(|segment| &segment.ident),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}

/// Whether a type contains a borrow that is not `'static`.
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

        // The references in the signature of a function pointer are not borrows of the type.
        fn visit_type_bare_fn(&mut self, _: &'ast syn::TypeBareFn) {}
    }
    let mut borrows = Borrows(false);
    borrows.visit_type(ty);
    borrows.0
}
