//! The architecture rules, checked on the source: which module can use which, what the engine must not use, what the example can
//! see, how long a file can be.
//!
//! Paths are read from the tokens of each file, so comments, strings and documentation are ignored, and so are the module's tests
//! (`#[cfg(test)]`, `tests.rs`).

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// The modules of `saga-core` that a module can use. The most specific entry applies. A module without an entry is an error, so
/// that a new module is placed deliberately.
const ARROWS: &[(&str, &[&str])] = &[
    // The vocabulary: plain data.
    ("failure", &[]),
    ("time", &[]),
    ("settings", &[]),
    ("retry", &[]),
    ("sqlite", &[]),
    ("id", &["time"]),
    ("message", &["failure", "id", "time"]),
    ("saga", &["failure", "id", "message", "time"]),
    // Pure decisions without I/O.
    ("engine", &["failure", "id", "message", "retry", "saga", "settings", "time"]),
    // The ports, and their implementations below them.
    ("store", &["failure", "id", "message", "saga", "sqlite", "time"]),
    ("transport", &["id", "message", "sqlite", "time"]),
    // How an async fn becomes a handler.
    ("extract", &["failure", "handler", "id", "message", "saga", "store", "time"]),
    ("handler", &["extract", "failure", "id", "message", "retry", "saga", "store", "time"]),
    // Executes what the engine decides.
    (
        "runtime",
        &["engine", "extract", "failure", "handler", "id", "message", "retry", "saga", "settings", "store", "time", "transport"],
    ),
    // Built on the runtime.
    ("http", &["failure", "id", "message", "runtime", "saga", "store", "time"]),
    (
        "testing",
        &[
            "engine",
            "extract",
            "failure",
            "handler",
            "id",
            "message",
            "retry",
            "runtime",
            "saga",
            "settings",
            "store",
            "time",
            "transport",
        ],
    ),
    ("config", &[]),
    ("__private", &["extract", "failure", "handler", "message", "retry", "saga", "store", "time"]),
];

/// Modules with one additional dependency: `App` serves the routes that `http` creates for its services.
const EXCEPTIONS: &[(&str, &str)] = &[("runtime::app::serving", "http")];

/// Macros of `testing` that are at the root of the crate, because they are exported.
const EXPORTED_BY_TESTING: &[&str] = &["sharing_conformance", "store_conformance", "transport_conformance"];

/// Implementations behind a port, with the modules that can use them.
const IMPLEMENTATIONS: &[(&str, &[&str])] = &[
    ("store::memory", &["store", "testing"]),
    ("store::sqlite", &["store", "testing", "transport::embedded"]),
    ("store::postgres", &["store", "testing"]),
    ("transport::memory", &["transport", "testing"]),
    ("transport::embedded", &["transport", "testing"]),
];

/// What the engine must not use: it has no I/O, no clock, no tasks and no randomness of its own.
const IMPURE: &[&str] = &[
    "tokio",
    "futures_util",
    "sqlx",
    "fastrand",
    "uuid::Uuid::new_v4",
    "uuid::Uuid::now_v7",
    "std::time::SystemTime",
    "std::time::Instant",
    "std::thread",
    "std::fs",
    "std::net",
    "std::io",
    "std::env",
    "std::process",
    "crate::time::Clock",
    "crate::id::IdSource",
];

const LONGEST_FILE: usize = 600;

#[test]
fn modules_use_only_what_lies_beneath_them() {
    let mut wrong = BTreeSet::new();
    for file in sources("saga-core/src") {
        let Some(area) = file.module.first().cloned() else { continue };
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == area) else {
            wrong.insert(format!("{}: the module `{area}` has no place in ARROWS yet", file.shown));
            continue;
        };
        for path in file.paths() {
            let Some(used) = path.strip_prefix("crate::").and_then(|path| path.split("::").next()) else { continue };
            let used = if EXPORTED_BY_TESTING.contains(&used) { "testing" } else { used };
            let excepted = EXCEPTIONS.contains(&(file.module.join("::").as_str(), used));
            if used != area && !allowed.contains(&used) && !excepted {
                wrong.insert(format!("{}: `{area}` may not use `{path}`", file.shown));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn implementations_are_reached_through_their_port() {
    let mut wrong = BTreeSet::new();
    for file in sources("saga-core/src") {
        let module = file.module.join("::");
        for path in file.paths() {
            for (implementation, users) in IMPLEMENTATIONS {
                if is_within(&path, &format!("crate::{implementation}")) && !users.iter().any(|user| is_within(&module, user)) {
                    wrong.insert(format!("{}: `{module}` may not use `{path}`", file.shown));
                }
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn the_engine_is_pure() {
    let mut wrong = BTreeSet::new();
    let files = sources("saga-core/src/engine");
    assert!(!files.is_empty(), "there is an engine");
    for file in files {
        for path in file.paths() {
            if IMPURE.iter().any(|impure| is_within(&path, impure)) {
                wrong.insert(format!("{}: `{path}`", file.shown));
            }
        }
        for word in ["async", "await", "static"] {
            if file.has_word(word) {
                wrong.insert(format!("{}: `{word}`", file.shown));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn the_example_uses_only_the_public_api() {
    let mut wrong = BTreeSet::new();
    let files = sources("examples/ecommerce/src");
    assert!(!files.is_empty(), "there is an example");
    for file in files {
        for path in file.paths() {
            if ["saga_core", "saga_macros", "saga_kafka", "sagas::__private"].iter().any(|hidden| is_within(&path, hidden)) {
                wrong.insert(format!("{}: `{path}`", file.shown));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn nothing_is_unsafe_but_calls_of_librdkafka() {
    let mut wrong = BTreeSet::new();
    for file in everything() {
        // `#![forbid(unsafe_code)]` is another word; the test cases of the macros can contain anything.
        let native = ["saga-kafka/src/member/native.rs", "saga-kafka/tests/mock/native.rs"];
        let may = file.shown.contains("tests/ui/") || native.iter().any(|native| file.shown.ends_with(native));
        if !may && file.has_word("unsafe") {
            wrong.insert(file.shown.clone());
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn no_file_is_too_long() {
    let long: Vec<_> = everything()
        .into_iter()
        .map(|file| (file.text.lines().count(), file.shown))
        .filter(|(lines, _)| *lines > LONGEST_FILE)
        .collect();
    assert_eq!(long, []);
}

#[test]
fn every_module_says_what_it_is() {
    let mut silent = BTreeSet::new();
    for root in ["src", "saga-core/src", "saga-macros/src", "saga-kafka/src", "saga-schema/src", "examples/ecommerce/src"] {
        silent.extend(sources(root).into_iter().filter(|file| !file.text.starts_with("//! ")).map(|file| file.shown));
    }
    assert_eq!(silent, BTreeSet::new());
}

/// `scripts/test-real` runs the ignored tests and starts these servers.
#[test]
fn only_what_needs_a_server_is_ignored() {
    let known = ["scripts/kafka start", "scripts/postgres start"];
    let mut wrong = BTreeSet::new();
    for file in everything() {
        for (at, line) in file.text.lines().enumerate().filter(|(_, line)| line.trim_start().starts_with("#[ignore")) {
            if !line.contains("\"needs ") || !known.iter().any(|command| line.contains(command)) {
                wrong.insert(format!("{}:{}: {}", file.shown, at + 1, line.trim()));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
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

struct SourceFile {
    /// The path relative to the root of the workspace.
    shown: String,
    /// The module path relative to the root of its crate.
    module: Vec<String>,
    text: String,
}

impl SourceFile {
    /// Returns every path in the code; paths of its own crate begin with `crate`.
    fn paths(&self) -> BTreeSet<String> {
        let mut paths = BTreeSet::new();
        collect(self.tokens(), &mut |path| {
            paths.insert(self.absolute(path).join("::"));
        });
        paths
    }

    fn has_word(&self, word: &str) -> bool {
        has_word(self.tokens(), word)
    }

    fn tokens(&self) -> TokenStream {
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

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn everything() -> Vec<SourceFile> {
    ["src", "saga-core", "saga-macros", "saga-kafka", "saga-schema", "examples", "tests", "benches"]
        .into_iter()
        .flat_map(all)
        .collect()
}

/// Returns the Rust files below `folder`, without tests.
fn sources(folder: &str) -> Vec<SourceFile> {
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

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
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

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == ':');
    colon(at) && colon(at + 1)
}
