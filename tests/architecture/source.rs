//! The Rust files of the workspace, and the paths in them.
//!
//! Paths are read from the tokens of each file, so comments, strings and documentation are ignored, and so are the module's tests
//! (`#[cfg(test)]`, `tests.rs`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

pub(crate) struct SourceFile {
    /// The path relative to the root of the workspace.
    pub(crate) shown: String,
    /// The module path relative to the root of its crate.
    pub(crate) module: Vec<String>,
    pub(crate) text: String,
}

impl SourceFile {
    /// Returns every path in the code; paths of its own crate begin with `crate`.
    pub(crate) fn paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        collect(self.tokens(), &mut |path| {
            paths.insert(self.absolute(path).join("::"));
        });
        paths
    }

    pub(crate) fn has_word(&self, word: &str) -> bool {
        has_word(self.tokens(), word)
    }

    pub(crate) fn tokens(&self) -> TokenStream {
        let tokens: TokenStream = self.text.parse().unwrap_or_else(|error| panic!("{} is no Rust: {error}", self.shown));
        without_tests(tokens)
    }

    fn absolute(&self, path: &[String]) -> Vec<String> {
        let ups = path.iter().take_while(|segment| *segment == "super").count();
        match path.first().map(String::as_str) {
            Some("super") => {
                let parents = &self.module[..self.module.len().saturating_sub(ups)];
                ["crate".to_owned()].iter().chain(parents).chain(&path[ups..]).cloned().collect()
            }
            Some("self") => ["crate".to_owned()].iter().chain(&self.module).chain(&path[1..]).cloned().collect(),
            _ => path.to_vec(),
        }
    }
}

pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn everything() -> Vec<SourceFile> {
    ["src", "saga-core", "saga-http", "saga-macros", "saga-kafka", "saga-schema", "examples", "tests", "benches"]
        .into_iter()
        .flat_map(all)
        .collect()
}

/// Returns the Rust files below `folder`, without tests.
pub(crate) fn sources(folder: &str) -> Vec<SourceFile> {
    all(folder).into_iter().filter(|file| !file.module.iter().any(|part| part == "tests")).collect()
}

fn all(folder: &str) -> Vec<SourceFile> {
    let (root, mut files, mut folders) = (root(), Vec::new(), vec![root().join(folder)]);
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a readable folder").path()) {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let shown = path.strip_prefix(&root).expect("below the root").display().to_string();
                files.push(SourceFile { module: module(&shown), text: fs::read_to_string(&path).expect("readable"), shown });
            }
        }
    }
    files
}

/// Returns the module of a file: `saga-core/src/store/memory/tx.rs` is `store::memory::tx`.
fn module(shown: &str) -> Vec<String> {
    let inside = shown.split_once("src/").map_or(shown, |(_, inside)| inside);
    let parts = inside.trim_end_matches(".rs").split('/').filter(|part| !["mod", "lib", "main"].contains(part));
    parts.map(str::to_owned).collect()
}

/// Removes the items with `#[cfg(test)]` or `#[cfg(all(test, ..))]`.
fn without_tests(tokens: TokenStream) -> TokenStream {
    let (mut kept, mut tokens) = (Vec::new(), tokens.into_iter());
    while let Some(token) = tokens.next() {
        let is_test = |attribute: &str| attribute == "cfg(test)" || attribute.starts_with("cfg(all(test,");
        let skip = matches!(&token, TokenTree::Group(group)
            if group.delimiter() == Delimiter::Bracket && is_test(&group.stream().to_string().replace(' ', "")));
        if !skip {
            kept.push(token);
            continue;
        }
        // An item ends with its braces or its semicolon, a field with its comma.
        for skipped in tokens.by_ref() {
            match skipped {
                TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => break,
                TokenTree::Punct(punct) if matches!(punct.as_char(), ';' | ',') => break,
                _ => {}
            }
        }
    }
    kept.into_iter().collect()
}

fn has_word(tokens: TokenStream, word: &str) -> bool {
    let mut lifetime = false;
    tokens.into_iter().any(|token| {
        let named_by_tick =
            std::mem::replace(&mut lifetime, matches!(&token, TokenTree::Punct(punct) if punct.as_char() == '\''));
        match token {
            TokenTree::Ident(ident) => ident == word && !named_by_tick,
            TokenTree::Group(group) => has_word(group.stream(), word),
            _ => false,
        }
    })
}

/// Calls `found` with every path of two or more segments; groups of a `use` are expanded.
fn collect(tokens: TokenStream, found: &mut impl FnMut(&[String])) {
    let tokens: Vec<_> = tokens.into_iter().collect();
    let mut at = 0;
    while at < tokens.len() {
        match &tokens[at] {
            TokenTree::Ident(_) => at = path(&tokens, at, &[], found),
            TokenTree::Group(group) => {
                collect(group.stream(), found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// Reads the path that begins at `at`, with `prefix` before it; returns the index after it.
fn path(tokens: &[TokenTree], mut at: usize, prefix: &[String], found: &mut impl FnMut(&[String])) -> usize {
    let mut segments = prefix.to_vec();
    while let Some(TokenTree::Ident(ident)) = tokens.get(at) {
        segments.push(ident.to_string());
        at += 1;
        if !is_double_colon(tokens, at) {
            break;
        }
        at += 2;
        if let Some(TokenTree::Group(group)) = tokens.get(at) {
            let inner: Vec<_> = group.stream().into_iter().collect();
            let mut place = 0;
            while place < inner.len() {
                place = match &inner[place] {
                    // The new name of an import.
                    TokenTree::Ident(ident) if ident == "as" => place + 2,
                    TokenTree::Ident(_) => path(&inner, place, &segments, found),
                    _ => place + 1,
                };
            }
            return at + 1;
        }
    }
    if segments.len() > 1 {
        found(&segments);
    }
    at
}

pub(crate) fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(at) && colon(at + 1)
}

#[test]
fn paths_are_read_from_tokens() {
    let file = SourceFile {
        shown: "store/memory/tx.rs".to_owned(),
        module: vec!["store".to_owned(), "memory".to_owned(), "tx".to_owned()],
        text: r#"
            //! See [`crate::runtime`].
            use crate::{id::MessageId, time::{Clock, Timestamp}};
            use super::{rows, super::Store};
            fn f() { let _ = "crate::http"; tokio::select! { _ = crate::handler::call() => {} } }
            #[cfg(test)]
            mod tests { use crate::testing::Pump; }
        "#
        .to_owned(),
    };
    let paths: Vec<_> = file.paths().into_iter().collect();
    let expected = [
        "crate::handler::call",
        "crate::id::MessageId",
        "crate::store::Store",
        "crate::store::memory::rows",
        "crate::time::Clock",
        "crate::time::Timestamp",
        "tokio::select",
    ];
    assert_eq!(paths, expected);
    assert!(file.has_word("fn") && !file.has_word("async"));
}
