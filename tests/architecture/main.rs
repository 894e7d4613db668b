//! The architecture rules, checked on the source: which module can use which, what the engine must not use, what the example can
//! see, how long a file can be. [`circles`] has the rule about circles between modules.

mod circles;
mod facade;
mod modules;
mod source;

use std::collections::BTreeSet;

use source::{everything, sources};

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
    ("extract", &["failure", "id", "message", "saga", "store", "time"]),
    ("handler", &["extract", "failure", "id", "message", "retry", "saga", "store", "time"]),
    // Executes what the engine decides.
    (
        "runtime",
        &["engine", "extract", "failure", "handler", "id", "message", "retry", "saga", "settings", "store", "time", "transport"],
    ),
    // Built on the runtime.
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

/// What the core must not use: it serves no clients itself. `runtime::Server` is the port for what does.
const WEB: &[&str] = &["axum", "http", "hyper", "hyper_util", "saga_http", "tonic", "tower", "tower_service", "utoipa_axum"];

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
            if used != area && !allowed.contains(&used) {
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
fn the_core_knows_no_web_server() {
    let mut wrong = BTreeSet::new();
    for file in sources("saga-core/src") {
        for path in file.paths() {
            if WEB.iter().any(|web| is_within(&path, web)) {
                wrong.insert(format!("{}: `{path}`", file.shown));
            }
        }
    }
    assert_eq!(wrong, BTreeSet::new());
}

#[test]
fn programs_use_only_the_public_api() {
    let mut wrong = BTreeSet::new();
    for folder in ["examples/ecommerce/src", "src/bin"] {
        let files = sources(folder);
        assert!(!files.is_empty(), "{folder} has a program");
        for file in files {
            for path in file.paths() {
                if ["saga_core", "saga_http", "saga_macros", "saga_kafka", "sagas::__private"]
                    .iter()
                    .any(|hidden| is_within(&path, hidden))
                {
                    wrong.insert(format!("{}: `{path}`", file.shown));
                }
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
    for root in [
        "src",
        "saga-core/src",
        "saga-http/src",
        "saga-macros/src",
        "saga-kafka/src",
        "saga-schema/src",
        "examples/ecommerce/src",
    ] {
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

fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}
