//! The modules of a crate, and the module that defines what a path names: imports and re-exports are followed.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{TokenStream, TokenTree};

use crate::source::{SourceFile, is_double_colon, sources};

/// The path of a module, from the root of its crate.
pub(crate) type ModulePath = Vec<String>;

/// The modules of one crate that are files, without modules that only tests have.
pub(crate) struct Modules(BTreeMap<ModulePath, Module>);

struct Module {
    shown: String,
    paths: BTreeSet<String>,
    /// The modules that it declares.
    children: BTreeSet<String>,
    /// The names of the other items that it defines.
    items: BTreeSet<String>,
    /// The paths that it imports or re-exports, by their name in this module.
    imports: BTreeMap<String, Vec<String>>,
    /// The paths that it imports with `*`.
    globs: Vec<Vec<String>>,
}

/// One path in a file, and the module that defines what it names.
pub(crate) struct Use {
    pub(crate) user: ModulePath,
    pub(crate) used: ModulePath,
    /// The file and the path.
    pub(crate) shown: String,
}

impl Modules {
    /// Reads the crate whose root module is in `folder`.
    pub(crate) fn of(folder: &str) -> Self {
        let root = folder.split_once("src/").map_or(0, |(_, inside)| inside.split('/').count());
        let files = sources(folder).into_iter().map(|mut file| {
            file.module.drain(..root);
            file
        });
        Self::new(files)
    }

    pub(crate) fn new(files: impl Iterator<Item = SourceFile>) -> Self {
        let all: BTreeMap<_, _> = files.map(|file| (file.module.clone(), Module::new(&file))).collect();
        let is_declared = |path: &ModulePath| {
            (0..path.len()).all(|at| all.get(&path[..at]).is_some_and(|parent| parent.children.contains(&path[at])))
        };
        let declared: BTreeSet<_> = all.keys().filter(|path| is_declared(path)).cloned().collect();
        Self(all.into_iter().filter(|(path, _)| declared.contains(path)).collect())
    }

    /// Returns every use of another module of the crate.
    pub(crate) fn uses(&self) -> Vec<Use> {
        let mut uses = Vec::new();
        for (user, module) in &self.0 {
            for path in &module.paths {
                let segments: Vec<_> = path.split("::").map(str::to_owned).collect();
                if let Some(used) = self.definer(user, &segments, &mut BTreeSet::new()).filter(|used| used != user) {
                    uses.push(Use { user: user.clone(), used, shown: format!("{}: `{path}`", module.shown) });
                }
            }
        }
        uses
    }

    /// Returns the module that defines what `path` names in the module `from`; none for what another crate defines.
    fn definer(&self, from: &[String], path: &[String], seen: &mut BTreeSet<(ModulePath, Vec<String>)>) -> Option<ModulePath> {
        if !seen.insert((from.to_vec(), path.to_vec())) {
            return None;
        }
        match path.first()?.as_str() {
            "crate" => self.descend(&[], &path[1..], seen),
            "self" | "super" => self.descend(from, path, seen),
            first => self.0.get(from)?.names(first).then(|| self.descend(from, path, seen))?,
        }
    }

    /// Follows `path` from the module `at`.
    fn descend(&self, at: &[String], path: &[String], seen: &mut BTreeSet<(ModulePath, Vec<String>)>) -> Option<ModulePath> {
        let (Some((name, rest)), Some(module)) = (path.split_first(), self.0.get(at)) else { return Some(at.to_vec()) };
        match name.as_str() {
            "self" => return self.descend(at, rest, seen),
            "super" => return self.descend(&at[..at.len().saturating_sub(1)], rest, seen),
            _ => {}
        }
        let child = [at, std::slice::from_ref(name)].concat();
        let import = module.imports.get(name);
        // A module and a fn can have the same name.
        if self.0.contains_key(&child) && !(rest.is_empty() && import.is_some()) {
            return self.descend(&child, rest, seen);
        }
        if module.items.contains(name) {
            return Some(at.to_vec());
        }
        if let Some(import) = import {
            // `use bytes::bytes` names another crate, or a child.
            if import[0] == *name && !module.children.contains(name) {
                return None;
            }
            return self.definer(at, &[import, rest].concat(), seen);
        }
        for glob in &module.globs {
            let glob = self.definer(at, glob, seen);
            if let Some(glob) = glob.filter(|glob| self.0.get(glob).is_some_and(|module| module.names(name))) {
                return self.definer(&glob, path, seen);
            }
        }
        Some(at.to_vec())
    }
}

impl Module {
    fn new(file: &SourceFile) -> Self {
        let mut module = Self {
            shown: file.shown.clone(),
            paths: file.paths(),
            children: BTreeSet::new(),
            items: BTreeSet::new(),
            imports: BTreeMap::new(),
            globs: Vec::new(),
        };
        module.read_items(file.tokens());
        module.read_imports(file.tokens());
        module
    }

    fn names(&self, name: &str) -> bool {
        self.children.contains(name) || self.items.contains(name) || self.imports.contains_key(name)
    }

    /// Reads the names of the items at the top level.
    fn read_items(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            let TokenTree::Ident(keyword) = token else { continue };
            let keyword = keyword.to_string();
            match (keyword.as_str(), tokens.get(at + 1), tokens.get(at + 2)) {
                ("mod", Some(TokenTree::Ident(name)), Some(TokenTree::Punct(_))) => {
                    self.children.insert(name.to_string());
                }
                ("macro_rules", _, Some(TokenTree::Ident(name))) => {
                    self.items.insert(name.to_string());
                }
                ("const" | "enum" | "fn" | "mod" | "static" | "struct" | "trait" | "type", Some(TokenTree::Ident(name)), _) => {
                    self.items.insert(name.to_string());
                }
                _ => {}
            }
        }
    }

    /// Reads every `use`, wherever it is.
    fn read_imports(&mut self, tokens: TokenStream) {
        let tokens: Vec<_> = tokens.into_iter().collect();
        for (at, token) in tokens.iter().enumerate() {
            match token {
                TokenTree::Ident(ident) if ident == "use" => {
                    self.read_import(&tokens, at + 1, &[]);
                }
                TokenTree::Group(group) => self.read_imports(group.stream()),
                _ => {}
            }
        }
    }

    /// Reads the tree of a `use` that begins at `at`, with `prefix` before it; returns the index after it.
    fn read_import(&mut self, tokens: &[TokenTree], mut at: usize, prefix: &[String]) -> usize {
        let mut path = prefix.to_vec();
        loop {
            match tokens.get(at) {
                Some(TokenTree::Ident(segment)) => path.push(segment.to_string()),
                Some(TokenTree::Group(group)) => {
                    let (inner, mut place) = (group.stream().into_iter().collect::<Vec<_>>(), 0);
                    while place < inner.len() {
                        place = self.read_import(&inner, place, &path).max(place + 1);
                    }
                    return at + 1;
                }
                Some(TokenTree::Punct(punct)) if punct.as_char() == '*' => {
                    self.globs.push(path);
                    return at + 1;
                }
                _ => return at,
            }
            at += 1;
            if !is_double_colon(tokens, at) {
                break;
            }
            at += 2;
        }
        if path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let renamed = match (tokens.get(at), tokens.get(at + 1)) {
            (Some(TokenTree::Ident(ident)), Some(TokenTree::Ident(name))) if ident == "as" => Some(name.to_string()),
            _ => None,
        };
        at += if renamed.is_some() { 2 } else { 0 };
        if let Some(name) = renamed.or_else(|| path.last().cloned()) {
            self.imports.insert(name, path);
        }
        at
    }
}
