//! The public items of the crate `sagas`, compared with the list in `public-items.txt`, so that an addition is a visible choice.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Item, UseTree, Visibility};

use crate::source::root;

/// The crates of the workspace that the facade re-exports, with their folders.
const CRATES: &[(&str, &str)] = &[
    ("sagas", "src"),
    ("saga_core", "saga-core/src"),
    ("saga_http", "saga-http/src"),
    ("saga_kafka", "saga-kafka/src"),
    ("saga_schema", "saga-schema/src"),
];

/// The name in `pub use module::*`.
const ALL: &str = "*";

/// The items of a module, and where the files of its child modules are.
struct Module {
    items: Vec<Item>,
    folder: PathBuf,
}

/// A module with one entry in the list: its fns are the tests of the conformance suites, which macros call.
const SUITES: &str = "sagas::testing::conformance";

/// What a path names.
enum Named {
    Module(&'static str, Vec<String>),
    Item,
}

impl Module {
    /// Reads the module `path` of the crate `name`; `None` if there is no such module.
    fn read(name: &str, path: &[String]) -> Option<Self> {
        let (_, folder) = CRATES.iter().find(|(known, _)| *known == name)?;
        let folder = root().join(folder);
        let mut module = Self { items: parsed(&folder.join("lib.rs")), folder };
        for segment in path {
            module = module.child(segment)?;
        }
        Some(module)
    }

    fn child(&self, name: &str) -> Option<Self> {
        let folder = self.folder.join(name);
        let child = self.items.iter().find_map(|item| match item {
            Item::Mod(child) if child.ident == name => Some(child),
            _ => None,
        })?;
        let items = match &child.content {
            Some((_, items)) => items.clone(),
            None => [self.folder.join(format!("{name}.rs")), folder.join("mod.rs")]
                .iter()
                .find(|file| file.exists())
                .map(|file| parsed(file))?,
        };
        Some(Self { items, folder })
    }
}

fn parsed(file: &Path) -> Vec<Item> {
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    syn::parse_file(&text).unwrap_or_else(|error| panic!("{} is no Rust: {error}", file.display())).items
}

/// Returns what `path`, written in the module `within` of the crate `of`, names.
fn named(of: &'static str, within: &[String], path: &[String]) -> Named {
    let (first, rest) = path.split_first().expect("a path has a segment");
    let (of, path) = match CRATES.iter().find(|(name, _)| name == first) {
        Some((other, _)) => (*other, rest.to_vec()),
        None if first == "crate" => (of, rest.to_vec()),
        None => (of, [within, path].concat()),
    };
    match Module::read(of, &path) {
        Some(_) => Named::Module(of, path),
        None => Named::Item,
    }
}

/// Adds the public items of the module `path` of the crate `of`, which the facade shows as `shown`.
fn list(of: &'static str, path: &[String], shown: &str, found: &mut BTreeSet<String>) {
    if shown == SUITES {
        found.insert(shown.to_owned());
        return;
    }
    let module = Module::read(of, path).unwrap_or_else(|| panic!("{of} has no module {path:?}"));
    for item in &module.items {
        let (attributes, visibility, name) = match item {
            Item::Const(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Enum(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Fn(it) => (&it.attrs, &it.vis, it.sig.ident.to_string()),
            Item::Static(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Struct(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Trait(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Type(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Mod(it) => (&it.attrs, &it.vis, it.ident.to_string()),
            Item::Use(it) => (&it.attrs, &it.vis, String::new()),
            _ => continue,
        };
        if !matches!(visibility, Visibility::Public(_)) || is_hidden(attributes) {
            continue;
        }
        match item {
            Item::Mod(_) => list(of, &[path, std::slice::from_ref(&name)].concat(), &format!("{shown}::{name}"), found),
            Item::Use(import) => {
                let mut leaves = Vec::new();
                expand(&import.tree, &mut Vec::new(), &mut leaves);
                for (target, name) in leaves {
                    match named(of, path, &target) {
                        Named::Module(of, path) if name == ALL => {
                            assert_ne!(shown, "sagas", "`pub use {}::*`: the facade names each item", target.join("::"));
                            list(of, &path, shown, found);
                        }
                        Named::Module(of, path) => list(of, &path, &format!("{shown}::{name}"), found),
                        Named::Item => drop(found.insert(format!("{shown}::{name}"))),
                    }
                }
            }
            _ => drop(found.insert(format!("{shown}::{name}"))),
        }
    }
}

/// Adds the exported macros of the module `macros`.
fn list_macros(found: &mut BTreeSet<String>) {
    let macros = Module::read("sagas", &["macros".to_owned()]).expect("the facade has macros");
    for item in &macros.items {
        if let Item::Macro(it) = item
            && it.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"))
            && !is_hidden(&it.attrs)
        {
            found.extend(it.ident.as_ref().map(|name| format!("sagas::{name}!")));
        }
    }
}

/// Adds the paths of a `use` and the names under which it exports them.
fn expand(tree: &UseTree, prefix: &mut Vec<String>, leaves: &mut Vec<(Vec<String>, String)>) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            expand(&path.tree, prefix, leaves);
            prefix.pop();
        }
        UseTree::Name(name) if name.ident == "self" => leaves.push((prefix.clone(), prefix.last().cloned().unwrap_or_default())),
        UseTree::Name(name) => leaves.push(([&**prefix, &[name.ident.to_string()]].concat(), name.ident.to_string())),
        UseTree::Rename(rename) => leaves.push(([&**prefix, &[rename.ident.to_string()]].concat(), rename.rename.to_string())),
        UseTree::Group(group) => group.items.iter().for_each(|tree| expand(tree, prefix, leaves)),
        UseTree::Glob(_) => leaves.push((prefix.clone(), ALL.to_owned())),
    }
}

fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let text = match &attribute.meta {
            syn::Meta::List(list) => {
                format!("{}({})", list.path.get_ident().map(ToString::to_string).unwrap_or_default(), list.tokens)
            }
            _ => String::new(),
        };
        ["doc(hidden)", "cfg(test)", "cfg(doctest)"].contains(&text.as_str())
    })
}

#[test]
fn the_public_items_are_those_of_the_list() {
    let mut found = BTreeSet::new();
    list("sagas", &[], "sagas", &mut found);
    list_macros(&mut found);
    let listed: BTreeSet<_> = include_str!("public-items.txt").lines().map(str::to_owned).collect();
    let added: Vec<_> = found.difference(&listed).collect();
    let removed: Vec<_> = listed.difference(&found).collect();
    assert!(
        added.is_empty() && removed.is_empty(),
        "the public items of `sagas` are not those of tests/architecture/public-items.txt; if the change is intended, change the list\n\
         not in the list: {added:#?}\nonly in the list: {removed:#?}"
    );
}
