//! What the macros accept, and what they say when they do not: every file in `ui/` is compiled against the facade crate, and
//! what the compiler says to those in `fail` is compared with the `.stderr` beside them. The checked-in expansions of
//! `saga-macros` are compiled as well.
//!
//! Some of those texts quote the compiler itself and so hold for one version of it. With another compiler, only the texts
//! that are all ours are compared.

#![expect(clippy::print_stderr, reason = "a test tells its reader what it leaves out")]

use std::{fs, path::PathBuf, process::Command};

/// The compiler with which the `.stderr` files were written.
const WRITTEN_WITH: &str = "rustc 1.95.";

/// What marks a text that quotes the compiler.
const COMPILERS_WORDS: [&str; 3] = ["error[E", "= help:", "= note:"];

#[test]
fn the_macros_accept_and_explain() {
    let cases = trybuild::TestCases::new();
    cases.pass("event/pass/*.rs");
    cases.pass("handler/pass/*.rs");
    cases.pass("saga/pass/*.rs");
    cases.pass("../../saga-macros/tests/expand/event/*.expanded.rs");
    cases.pass("../../saga-macros/tests/expand/handler/*.expanded.rs");
    cases.pass("../../saga-macros/tests/expand/saga/*.expanded.rs");
    if compiler().starts_with(WRITTEN_WITH) {
        cases.compile_fail("event/fail/*.rs");
        cases.compile_fail("handler/fail/*.rs");
        cases.compile_fail("saga/fail/*.rs");
    } else {
        eprintln!("not {WRITTEN_WITH}x: texts that quote the compiler are not compared");
        let ours: Vec<PathBuf> = ["event/fail", "handler/fail", "saga/fail"].into_iter().flat_map(texts_of_ours).collect();
        assert!(ours.len() > 40, "most texts are ours");
        ours.iter().for_each(|case| cases.compile_fail(case));
    }
}

/// The cases in `folder` whose text quotes nobody.
fn texts_of_ours(folder: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(folder).expect("the cases are there").map(|file| file.expect("it can be listed").path());
    let cases = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let ours = |case: &PathBuf| {
        let text = fs::read_to_string(case.with_extension("stderr")).expect("every case has its text");
        !COMPILERS_WORDS.iter().any(|words| text.contains(words))
    };
    cases.filter(ours).collect()
}

fn compiler() -> String {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("the compiler says its version");
    String::from_utf8_lossy(&version.stdout).into_owned()
}
